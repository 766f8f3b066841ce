package lifecycle

import (
	"slices"
	"time"

	"golang.org/x/mod/semver"
)

// Identify handles the identification of a client. A client that identifies again has started over: it is not ready, and it
// stays the runner if it was.
func (f *Fleet) Identify(id ID, version string, now time.Time) []Action {
	c := f.clients[id]
	if c == nil {
		c = &client{id: id}
		f.clients[id] = c
	}
	*c = client{id: id, version: version, deadline: now.Add(f.config.ReadyTimeout), deploys: f.deploys}
	if f.runner == nil {
		f.assign(c)
	}
	return append([]Action{{Verb: Hello, To: id, Process: f.runner == c}}, f.examineNext(now)...)
}

// Ready handles a client's word that it could work.
func (f *Fleet) Ready(id ID, now time.Time) ([]Action, error) {
	c := f.clients[id]
	if c == nil || c.state == retired {
		return nil, ErrNotIdentified
	}
	if c.state == identified {
		f.readied++
		c.state, c.ready, c.deadline = standby, f.readied, time.Time{}
	}
	switch {
	case f.runner == c:
		return []Action{{Verb: OK, To: id}}, nil
	case f.runner == nil:
		f.assign(c)
		return []Action{{Verb: ProcessCommands, To: id}}, nil
	case c.state == examined || c.waits:
		return nil, nil
	case compare(c.version, f.runner.version) > 0:
		c.waits = true
		return f.examineNext(now), nil
	case f.config.RetireOutdated:
		return f.retire(c, Outdated), nil
	}
	return nil, nil
}

// HealthCheck handles a client's answer to a health check.
func (f *Fleet) HealthCheck(id ID, r Report, now time.Time) ([]Action, error) {
	c := f.clients[id]
	switch {
	case c == nil || c.state == retired:
		return nil, ErrNotIdentified
	case c.state != examined:
		return nil, ErrNotAsked
	}
	if reason, failed := f.judge(r); failed {
		actions := append(f.retire(c, reason), f.enqueue(Rollback)...)
		return append(actions, f.examineNext(now)...), nil
	}
	f.good, f.passed = Good{Version: c.version}, c.deploys
	c.state, c.deadline = standby, time.Time{}
	actions := f.replaceRunner(c, Replaced)
	actions = append(actions, f.enqueue(Revision)...)
	return append(actions, f.examineNext(now)...), nil
}

// judge returns why a client with that report may not run. A vital cog that the report doesn't name has failed.
func (f *Fleet) judge(r Report) (reason Reason, failed bool) {
	if r.OK {
		return "", false
	}
	for _, cog := range f.config.VitalCogs {
		if !r.Cogs[cog] {
			return VitalCogFailure, true
		}
	}
	if !(r.Percent >= f.config.HealthyPercent) { // NaN fails
		return HealthCheckFailure, true
	}
	return "", false
}

// Coma handles a client's word that it stopped working. It stands by.
func (f *Fleet) Coma(id ID, now time.Time) ([]Action, error) {
	c := f.clients[id]
	if c == nil || c.state == retired {
		return nil, ErrNotIdentified
	}
	if f.runner != c {
		return nil, nil
	}
	c.resting = true
	return f.lostRunner(now), nil
}

// ShutDown handles a client's word that it is about to end.
func (f *Fleet) ShutDown(id ID, now time.Time) ([]Action, error) {
	c := f.clients[id]
	if c == nil {
		return nil, ErrNotIdentified
	}
	return f.withdraw(c, now), nil
}

// Left handles the end of a client's connection. Any client may leave, identified or not.
func (f *Fleet) Left(id ID, now time.Time) []Action {
	c := f.clients[id]
	if c == nil {
		return nil
	}
	actions := f.withdraw(c, now)
	delete(f.clients, id)
	return actions
}

// Moved is Left for a client that was asked to connect elsewhere: no process is spawned in its place before it had the time.
func (f *Fleet) Moved(id ID, now time.Time) []Action {
	if c := f.clients[id]; c != nil && c == f.runner {
		f.await = now.Add(settle)
	}
	return f.Left(id, now)
}

// Promote makes a ready client the one that runs, because an operator asks for it.
func (f *Fleet) Promote(id ID, now time.Time) ([]Action, error) {
	c := f.clients[id]
	switch {
	case c == nil:
		return nil, ErrUnknown
	case c == f.runner:
		return nil, ErrRuns
	case c.state != standby && c.state != examined:
		return nil, ErrNotReady
	}
	c.state, c.deadline, c.waits = standby, time.Time{}, false
	return append(f.replaceRunner(c, OperatorAsked), f.examineNext(now)...), nil
}

// withdraw takes the client out of the candidates, and finds another runner if it was that.
func (f *Fleet) withdraw(c *client, now time.Time) []Action {
	c.state, c.deadline, c.waits = retired, time.Time{}, false
	if f.runner != c {
		return append(f.restore(now), f.examineNext(now)...)
	}
	return append(f.lostRunner(now), f.examineNext(now)...)
}

// retire tells the client, which does not run, to shut down.
func (f *Fleet) retire(c *client, reason Reason) []Action {
	c.state, c.deadline, c.waits = retired, time.Time{}, false
	return []Action{{Verb: Shutdown, To: c.id, Reason: reason}}
}

// replaceRunner makes c the runner. The former one learns of it first: two never work at once by the fleet's word.
func (f *Fleet) replaceRunner(c *client, reason Reason) []Action {
	var actions []Action
	if old := f.runner; old != nil {
		if f.config.RetireOutdated {
			actions = f.retire(old, reason)
		} else {
			actions = []Action{{Verb: Coma, To: old.id, Reason: reason}}
		}
	}
	f.assign(c)
	return append(actions, Action{Verb: ProcessCommands, To: c.id})
}

// assign makes c the runner. What was spawned, or about to be, has come.
func (f *Fleet) assign(c *client) {
	f.runner = c
	c.waits = false
	f.spawnAt, f.await = time.Time{}, time.Time{}
	f.queue = slices.DeleteFunc(f.queue, func(v Verb) bool { return v == Spawn })
	for _, other := range f.clients {
		other.resting = false
	}
}

// lostRunner notes that the runner works no more, and finds another one.
func (f *Fleet) lostRunner(now time.Time) []Action {
	f.runner, f.agentless = nil, false
	return f.restore(now)
}

// restore finds a runner where there is none: the newest ready client, else one that has identified and may get ready in
// time, else a new process.
func (f *Fleet) restore(now time.Time) []Action {
	if f.runner != nil {
		return nil
	}
	var best *client
	comes := false
	for _, c := range f.clients {
		switch c.state {
		case standby, examined:
			if !c.resting && (best == nil || newer(c, best)) {
				best = c
			}
		case identified:
			comes = true
		}
	}
	switch {
	case best != nil:
		best.state, best.deadline = standby, time.Time{}
		f.assign(best)
		return []Action{{Verb: ProcessCommands, To: best.id}}
	case comes, f.agentless, !f.await.IsZero() && now.Before(f.await):
		return nil
	}
	return f.scheduleSpawn(now)
}

// newer reports whether a is to be preferred to b: the higher version, then the one that got ready later.
func newer(a, b *client) bool {
	if d := compare(a.version, b.version); d != 0 {
		return d > 0
	}
	return a.ready > b.ready
}

// examineNext asks the newest client that waits for a health check, unless one is being examined. Clients that are no
// newer than the runner by now wait no longer.
func (f *Fleet) examineNext(now time.Time) []Action {
	if f.runner == nil {
		return nil
	}
	var best *client
	for _, c := range f.clients {
		switch {
		case c.state == examined:
			return nil
		case !c.waits:
		case c == f.runner || compare(c.version, f.runner.version) <= 0:
			c.waits = false
		case best == nil || newer(c, best):
			best = c
		}
	}
	if best == nil {
		return nil
	}
	best.state, best.waits, best.deadline = examined, false, now.Add(f.config.HealthTimeout)
	return []Action{{Verb: HealthCheck, To: best.id}}
}

// compare compares two semantic versions, with or without a leading v. What is none is older than any.
func compare(a, b string) int { return semver.Compare(canonical(a), canonical(b)) }

func canonical(version string) string {
	if len(version) > 0 && version[0] != 'v' {
		return "v" + version
	}
	return version
}
