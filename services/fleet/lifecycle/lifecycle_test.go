package lifecycle

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var start = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

// describe writes actions as the tables below do.
func describe(actions []Action) string {
	var all []string
	for _, a := range actions {
		var s string
		switch a.Verb {
		case Hello:
			s = fmt.Sprintf("%s hello %t", a.To, a.Process)
		case OK:
			s = string(a.To) + " ok"
		case ProcessCommands:
			s = string(a.To) + " process_commands"
		case HealthCheck:
			s = string(a.To) + " health_check"
		case Coma:
			s = fmt.Sprintf("%s coma %s", a.To, a.Reason)
		case Shutdown:
			s = fmt.Sprintf("%s shutdown %s", a.To, a.Reason)
		case Spawn:
			s = "spawn"
		case Rollback:
			s = strings.TrimSpace("rollback " + a.Version + " " + a.Revision)
		case Revision:
			s = "revision"
		case Keep:
			s = string(a.To) + " keep"
		case Deploy:
			s = "deploy"
		case Alarm:
			s = "alarm " + string(a.Reason)
		}
		all = append(all, s)
	}
	return strings.Join(all, ", ")
}

// input carries out one line of a table: a client or the word of an operator or agent, and what it says.
func input(t *testing.T, f *Fleet, line string, now *time.Time) string {
	t.Helper()
	words := strings.Fields(line)
	var actions []Action
	var err error
	id := ID(words[0])
	switch words[1] {
	case "identify":
		actions = f.Identify(id, words[2], *now)
	case "ready":
		actions, err = f.Ready(id, *now)
	case "healthy":
		actions, err = f.HealthCheck(id, Report{OK: true}, *now)
	case "percent": // with all vital cogs
		var percent float64
		if _, err := fmt.Sscan(words[2], &percent); err != nil {
			t.Fatal(err)
		}
		actions, err = f.HealthCheck(id, Report{Percent: percent, Cogs: map[string]bool{"vital": true, "other": false}}, *now)
	case "missing": // the vital cog
		actions, err = f.HealthCheck(id, Report{Percent: 100, Cogs: map[string]bool{"other": true}}, *now)
	case "coma":
		actions, err = f.Coma(id, *now)
	case "shutdown":
		actions, err = f.ShutDown(id, *now)
	case "left":
		actions = f.Left(id, *now)
	case "moved":
		actions = f.Moved(id, *now)
	case "promote":
		actions, err = f.Promote(id, *now)
	case "spawned":
		actions = f.Done(Spawn, Result{}, *now)
	case "unspawned":
		actions = f.Done(Spawn, Result{Outcome: Failed}, *now)
	case "away":
		actions = f.Done(Spawn, Result{Outcome: NoAgent}, *now)
	case "came":
		actions = f.AgentCame(*now)
	case "deploy":
		actions = f.DeployNow()
	case "deployed":
		actions = f.Done(Deploy, Result{}, *now)
	case "undeployed":
		actions = f.Done(Deploy, Result{Outcome: Failed}, *now)
	case "rollback":
		actions = f.RollBackNow()
	case "rolledback":
		actions = f.Done(Rollback, Result{}, *now)
	case "stuck":
		actions = f.Done(Rollback, Result{Outcome: Failed}, *now)
	case "revision":
		actions = f.Done(Revision, Result{Revision: words[2]}, *now)
	case "try_again":
		actions = f.TryAgain(*now)
	case "wait":
		d, err := time.ParseDuration(words[2])
		if err != nil {
			t.Fatal(err)
		}
		*now = now.Add(d)
		actions = f.Tick(*now)
	default:
		t.Fatalf("what is %q?", line)
	}
	if err != nil {
		return "error: " + err.Error()
	}
	return describe(actions)
}

func TestLifecycle(t *testing.T) {
	t.Parallel()
	plain := Config{VitalCogs: []string{"vital"}}
	retiring := Config{VitalCogs: []string{"vital"}, RetireOutdated: true}
	lenient := Config{VitalCogs: []string{"vital"}, HealthyPercent: 80}
	running := "a identify 1.0.0 → a hello true; a ready → a ok; "
	for name, c := range map[string]struct {
		config Config
		script string
	}{
		"the first one works":                      {plain, `a identify 1.0.0 → a hello true; a ready → a ok; a ready → a ok`},
		"the second one stands by":                 {plain, running + `b identify 1.0.0 → b hello false; b ready →`},
		"an older one stands by":                   {plain, running + `b identify 0.9.9 → b hello false; b ready →`},
		"versions are no text":                     {plain, `a identify 0.9.0 → a hello true; a ready → a ok; b identify 0.10.0 → b hello false; b ready → b health_check`},
		"a version that is none is older":          {plain, running + `b identify newest → b hello false; b ready →`},
		"an outdated one ends":                     {retiring, running + `b identify 1.0.0 → b hello false; b ready → b shutdown outdated; b ready → error: the client has not identified`},
		"the runner identifies again":              {plain, running + `a identify 1.0.0 → a hello true; a ready → a ok`},
		"a newer one takes over":                   {plain, running + `b identify 1.1.0 → b hello false; b ready → b health_check; b healthy → a coma replaced, b process_commands, revision; b ready → b ok`},
		"a newer one takes over, the old one ends": {retiring, running + `b identify 1.1.0 → b hello false; b ready → b health_check; b healthy → a shutdown replaced, b process_commands, revision`},
		"nearly all is well":                       {lenient, running + `b identify 1.1.0 → b hello false; b ready → b health_check; b percent 80 → a coma replaced, b process_commands, revision`},
		"too little is well":                       {lenient, running + `b identify 1.1.0 → b hello false; b ready → b health_check; b percent 79.9 → b shutdown health_check_failure, rollback; agent rolledback →`},
		"no percentage is well":                    {lenient, running + `b identify 1.1.0 → b hello false; b ready → b health_check; b percent NaN → b shutdown health_check_failure, rollback`},
		"a vital cog is missing":                   {plain, running + `b identify 1.1.0 → b hello false; b ready → b health_check; b missing → b shutdown vital_cog_failure, rollback; b left →`},
		"rollback names the last good version": {plain, running + `b identify 1.1.0 → b hello false; b ready → b health_check; b healthy → a coma replaced, b process_commands, revision; agent revision 3f2a →;
			c identify 1.2.0 → c hello false; c ready → c health_check; c missing → c shutdown vital_cog_failure, rollback 1.1.0 3f2a`},
		"the revision of a later deploy is not the good one": {plain, running + `b identify 1.1.0 → b hello false; b ready → b health_check; operator deploy → deploy; b healthy → a coma replaced, b process_commands; agent undeployed →;
			operator rollback → rollback 1.1.0`},
		"a failed rollback": {plain, running + `b identify 1.1.0 → b hello false; b ready → b health_check; b missing → b shutdown vital_cog_failure, rollback; agent stuck → alarm rollback_failed;
			a left →; operator try_again → spawn`},
		"a health check that was not asked for":      {plain, running + `a healthy → error: no health check was asked for; b identify 1.1.0 → b hello false; b healthy → error: no health check was asked for`},
		"words before identify":                      {plain, `a ready → error: the client has not identified; a healthy → error: the client has not identified; a coma → error: the client has not identified; a shutdown → error: the client has not identified; a left →`},
		"one health check at a time":                 {plain, running + `b identify 1.1.0 → b hello false; c identify 1.2.0 → c hello false; b ready → b health_check; c ready →; b healthy → a coma replaced, b process_commands, revision, c health_check; c healthy → b coma replaced, c process_commands`},
		"the one that waits is outdated meanwhile":   {plain, running + `b identify 1.2.0 → b hello false; c identify 1.1.0 → c hello false; b ready → b health_check; c ready →; b healthy → a coma replaced, b process_commands, revision`},
		"the examined one leaves":                    {plain, running + `b identify 1.1.0 → b hello false; c identify 1.1.0 → c hello false; b ready → b health_check; c ready →; b left → c health_check`},
		"the runner leaves":                          {plain, running + `b identify 1.0.0 → b hello false; b ready →; c identify 0.9.0 → c hello false; c ready →; a left → b process_commands; b left → c process_commands; c left → spawn`},
		"the runner moves":                           {plain, running + `a moved →; op wait 4s →; c identify 1.0.0 → c hello true`},
		"the runner moves and does not come":         {plain, running + `a moved →; op wait 4s →; op wait 1s → spawn`},
		"the runner moves, another one is ready":     {plain, running + `b identify 1.0.0 → b hello false; b ready →; a moved → b process_commands`},
		"the runner leaves in a health check":        {plain, running + `b identify 1.1.0 → b hello false; b ready → b health_check; a left → b process_commands; b healthy → error: no health check was asked for`},
		"one that was sent into coma is ready still": {plain, running + `b identify 1.1.0 → b hello false; b ready → b health_check; b healthy → a coma replaced, b process_commands, revision; a coma →; b left → a process_commands`},
		"the runner goes into coma":                  {plain, running + `b identify 1.0.0 → b hello false; b ready →; a coma → b process_commands; b left → a process_commands`},
		"the only one goes into coma":                {plain, running + `a coma → spawn; agent spawned →; a ready → a process_commands`},
		"the runner shuts down":                      {plain, running + `b identify 1.0.0 → b hello false; b ready →; a shutdown → b process_commands; b shutdown → spawn; a identify 1.0.0 → a hello true`},
		"the reserved one never gets ready":          {plain, `a identify 1.0.0 → a hello true; b identify 1.0.0 → b hello false; b ready →; op wait 60s → a shutdown ready_timeout, b process_commands`},
		"a further one never gets ready":             {plain, running + `b identify 1.0.0 → b hello false; op wait 59s →; op wait 1s → b shutdown ready_timeout`},
		"one that identified is waited for":          {plain, running + `b identify 1.0.0 → b hello false; a left →; b ready → b process_commands`},
		"one that identified is waited for in vain":  {plain, running + `b identify 1.0.0 → b hello false; a left →; b left → spawn`},
		"a health check without an answer":           {plain, running + `b identify 1.1.0 → b hello false; b ready → b health_check; op wait 30s → b shutdown health_check_timeout, rollback; b healthy → error: the client has not identified`},
		"nobody comes":                               {plain, `op wait 4s →; op wait 1s → spawn; agent spawned →; op wait 60s →; op wait 1s → spawn; agent spawned →; a identify 1.0.0 → a hello true`},
		"spawning fails": {plain, `op wait 5s → spawn; agent unspawned →; op wait 1s → spawn; agent unspawned →; op wait 1s →; op wait 1s → spawn; agent unspawned →; op wait 4s → spawn; agent unspawned →; op wait 8s → spawn;
			agent unspawned → alarm too_many_spawns; op wait 1h →; operator try_again → spawn`},
		"no agent":                         {plain, `op wait 5s → spawn; agent away →; op wait 1h →; agent came → spawn; agent spawned →; a identify 1.0.0 → a hello true; a left →; op wait 1s → spawn`},
		"a deploy":                         {plain, running + `operator deploy → deploy; operator deploy →; agent deployed → deploy; agent deployed → spawn; agent spawned →; b identify 1.1.0 → b hello false`},
		"a deploy finishes before a spawn": {plain, running + `operator deploy → deploy; a left →; agent undeployed → spawn`},
		"a deploy that fails":              {plain, running + `operator deploy → deploy; agent undeployed →`},
		"an operator promotes":             {plain, running + `b identify 0.9.0 → b hello false; b promote → error: the client is not ready; b ready →; b promote → a coma operator, b process_commands; b promote → error: the client runs already; x promote → error: no such client`},
		"an operator rolls back":           {plain, running + `operator rollback → rollback; agent rolledback →`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			now := start
			f := New(c.config, now)
			for _, line := range strings.Split(c.script, ";") {
				in, want, _ := strings.Cut(line, "→")
				if got := input(t, f, in, &now); got != strings.TrimSpace(want) {
					t.Fatalf("%s → %s\nwant %s", strings.TrimSpace(in), got, strings.TrimSpace(want))
				}
			}
		})
	}
}

// TestAtMostOneWorks plays any inputs and holds what clients were told last against the rule: at most one works.
func TestAtMostOneWorks(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		now := start
		config := Config{VitalCogs: []string{"vital"}, RetireOutdated: rapid.Bool().Draw(r, "retire")}
		f := New(config, now)
		works, there := map[ID]bool{}, map[ID]bool{}
		known, term := map[ID]*Found{}, uint64(1) // what the clients' instances know, and the term of the leader
		tasks := 0
		for range rapid.IntRange(1, 60).Draw(r, "inputs") {
			id := ID(rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(r, "client"))
			var actions []Action
			var err error
			k := known[id]
			switch rapid.IntRange(0, 15).Draw(r, "input") {
			case 0, 1:
				works[id], there[id] = false, true
				version := rapid.SampledFrom([]string{"1.0.0", "1.1.0", "1.10.0", "x"}).Draw(r, "version")
				known[id] = &Found{ID: id, Version: version}
				actions = f.Identify(id, version, now)
			case 2, 3:
				if actions, err = f.Ready(id, now); err == nil {
					k.Ready = true
				}
			case 4:
				actions, _ = f.HealthCheck(id, Report{OK: rapid.Bool().Draw(r, "ok")}, now)
			case 5:
				if runner, ok := f.Runner(); ok && runner == id {
					works[id] = false
					k.Resting, k.Term = true, 0
				}
				actions, _ = f.Coma(id, now)
			case 6:
				works[id] = false
				if actions, err = f.ShutDown(id, now); err == nil {
					k.Retired, k.Term = true, 0
				}
			case 7:
				works[id], there[id] = false, false
				delete(known, id)
				actions = f.Left(id, now)
			case 8:
				now = now.Add(time.Duration(rapid.IntRange(0, 70).Draw(r, "seconds")) * time.Second)
				actions = f.Tick(now)
			case 9:
				actions, _ = f.Promote(id, now)
			case 10:
				actions = f.DeployNow()
			case 11:
				task := f.pending
				if task == 0 {
					continue
				}
				tasks--
				actions = f.Done(task, Result{Outcome: Outcome(rapid.IntRange(0, 2).Draw(r, "outcome"))}, now)
			case 12:
				actions = f.TryAgain(now)
			case 13:
				actions = f.AgentCame(now)
			case 14: // another instance leads; tasks of the former leader are none of it
				var all []Found
				for _, k := range known {
					all = append(all, *k)
				}
				term++
				tasks = 0
				f, actions = Adopt(config, f.Memory(), all, now)
			case 15: // an instance was out of reach, stopped its client, and comes back
				if k == nil {
					continue
				}
				if rapid.Bool().Draw(r, "cut off") {
					works[id], k.Term = false, 0
				}
				actions = f.Merge([]Found{*k}, now)
			}
			for _, a := range actions {
				switch a.Verb {
				case Hello:
					works[a.To] = a.Process
					known[a.To].Term = 0
					if a.Process {
						known[a.To].Term = term
					}
				case ProcessCommands, OK, Keep:
					if a.Verb == Keep && !works[a.To] {
						r.Fatalf("%s is kept, which tells it nothing, and does not work", a.To)
					}
					works[a.To] = true
					known[a.To].Term, known[a.To].Resting = term, false
				case Coma, Shutdown:
					works[a.To] = false
					known[a.To].Term = 0
					known[a.To].Retired = known[a.To].Retired || a.Verb == Shutdown
				case Spawn, Rollback, Deploy, Revision:
					tasks++
				}
				if a.To != "" && !there[a.To] {
					r.Fatalf("%s is told something, and is not there", a.To)
				}
				n := 0
				for id, yes := range works {
					if yes {
						n++
						if runner, ok := f.Runner(); !ok || runner != id && a.Verb != Coma && a.Verb != Shutdown {
							r.Logf("%s works, the fleet says %s", id, runner)
						}
					}
				}
				if n > 1 {
					r.Fatalf("%d work after %s", n, describe(actions))
				}
			}
			if tasks > 1 {
				r.Fatalf("the agent has %d tasks at once", tasks)
			}
			if runner, ok := f.Runner(); ok && !works[runner] {
				r.Fatalf("%s is to work and was not told", runner)
			}
		}
	})
}

func TestAdopt(t *testing.T) {
	t.Parallel()
	plain := Config{VitalCogs: []string{"vital"}}
	for name, c := range map[string]struct {
		found  []Found
		memory Memory
		want   string
		script string
	}{
		"nobody": {nil, Memory{}, "", `op wait 4s →; op wait 1s → spawn`},
		"the runner goes on": {[]Found{{ID: "a", Version: "1.0.0", Ready: true, Term: 7}, {ID: "b", Version: "1.0.0", Ready: true}}, Memory{}, "a keep",
			`a ready → a ok; a left → b process_commands`},
		"of two the one of the higher term": {[]Found{{ID: "a", Version: "1.0.0", Ready: true, Term: 7}, {ID: "b", Version: "0.9.0", Ready: true, Term: 8}}, Memory{},
			"a coma replaced, b keep, a health_check", `a healthy → b coma replaced, a process_commands, revision`},
		"the newest standby is promoted": {[]Found{{ID: "a", Version: "1.9.0", Ready: true}, {ID: "b", Version: "1.10.0", Ready: true}, {ID: "c", Version: "2.0.0", Ready: true, Retired: true}}, Memory{},
			"b process_commands", ``},
		"one that rests is not":             {[]Found{{ID: "a", Version: "1.9.0", Ready: true, Resting: true}}, Memory{}, "", `op wait 5s → spawn`},
		"one that starts is awaited":        {[]Found{{ID: "a", Version: "1.9.0"}}, Memory{}, "", `op wait 59s →; a ready → a process_commands`},
		"the reserved one never gets ready": {[]Found{{ID: "a", Version: "1.9.0", Term: 3}}, Memory{}, "a keep", `op wait 60s → a shutdown ready_timeout, spawn`},
		"what was good":                     {[]Found{{ID: "a", Version: "1.0.0", Ready: true, Term: 1}}, Memory{Good: Good{"1.0.0", "3f2a"}}, "a keep", `operator rollback → rollback 1.0.0 3f2a`},
		"not sane":                          {nil, Memory{Insane: true}, "", `op wait 1h →; operator try_again → spawn`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			now := start
			f, actions := Adopt(plain, c.memory, c.found, now)
			if got := describe(actions); got != c.want {
				t.Fatalf("adopting: %s\nwant %s", got, c.want)
			}
			for line := range strings.SplitSeq(c.script, ";") {
				in, want, _ := strings.Cut(line, "→")
				if strings.TrimSpace(in) == "" {
					continue
				}
				if got := input(t, f, in, &now); got != strings.TrimSpace(want) {
					t.Fatalf("%s → %s\nwant %s", strings.TrimSpace(in), got, strings.TrimSpace(want))
				}
			}
		})
	}
}
