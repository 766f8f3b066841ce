package lifecycle

import (
	"slices"
	"time"
)

// Result is how a task of the agent ended.
type Result struct {
	Outcome  Outcome
	Revision string // of Revision
}

// Done handles the result of the agent's task, which is over. A task that found no agent is no failure: the fleet goes on
// without.
func (f *Fleet) Done(task Verb, r Result, now time.Time) []Action {
	if f.pending != task {
		return nil
	}
	f.pending = 0
	outcome := r.Outcome
	var actions []Action
	switch {
	case task == Rollback && outcome == Failed:
		actions = f.lose(RollbackFailed)
	case task == Revision && outcome == Succeeded && f.passed == f.deploys:
		f.good.Revision = r.Revision
	case task == Deploy && outcome == Succeeded:
		actions = f.spawnNow(now)
	case task == Spawn && outcome == Succeeded && f.runner == nil:
		f.await = now.Add(f.config.ReadyTimeout)
	case task == Spawn && outcome == NoAgent:
		f.agentless = true
		f.spawns = f.spawns[:max(0, len(f.spawns)-1)]
	}
	actions = append(actions, f.restore(now)...)
	return append(actions, f.startNext()...)
}

// AgentCame notes that an agent takes tasks from now on.
func (f *Fleet) AgentCame(now time.Time) []Action {
	f.agentless = false
	return f.restore(now)
}

// Outcome is how a task of the agent ended.
type Outcome uint8

// The outcomes.
const (
	Succeeded Outcome = iota
	Failed
	NoAgent
)

// TryAgain makes the fleet sane, and spawns a process if none works.
func (f *Fleet) TryAgain(now time.Time) []Action {
	f.insane, f.agentless, f.spawns, f.backoff = false, false, nil, 0
	if f.runner != nil {
		return nil
	}
	return f.spawnNow(now)
}

// DeployNow has the agent fetch the newest version and then spawn it.
func (f *Fleet) DeployNow() []Action { return f.enqueue(Deploy) }

// RollBackNow has the agent set the program back to the last good version.
func (f *Fleet) RollBackNow() []Action { return f.enqueue(Rollback) }

// enqueue gives the agent a task. It carries out one at a time; a task that waits already is not asked for twice, and a
// spawn waits for all others.
func (f *Fleet) enqueue(task Verb) []Action {
	if !slices.Contains(f.queue, task) {
		at := len(f.queue)
		if i := slices.Index(f.queue, Spawn); i >= 0 {
			at = i
		}
		f.queue = slices.Insert(f.queue, at, task)
	}
	return f.startNext()
}

// startNext starts the next task if none is under way.
func (f *Fleet) startNext() []Action {
	if f.passed != f.deploys { // too late to ask: something else is in place
		f.queue = slices.DeleteFunc(f.queue, func(v Verb) bool { return v == Revision })
	}
	if f.pending != 0 || len(f.queue) == 0 {
		return nil
	}
	f.pending, f.queue = f.queue[0], f.queue[1:]
	a := Action{Verb: f.pending}
	switch a.Verb {
	case Rollback:
		f.deploys++
		a.Version, a.Revision = f.good.Version, f.good.Revision
	case Deploy:
		f.deploys++
	}
	return []Action{a}
}

// scheduleSpawn spawns a process when the backoff is over, if the fleet is sane.
func (f *Fleet) scheduleSpawn(now time.Time) []Action {
	if f.insane || !f.spawnAt.IsZero() || f.pending == Spawn || slices.Contains(f.queue, Spawn) {
		return nil
	}
	f.spawns = slices.DeleteFunc(f.spawns, func(at time.Time) bool { return now.Sub(at) >= f.config.SpawnWindow })
	switch {
	case len(f.spawns) >= f.config.MaxSpawns:
		return f.lose(TooManySpawns)
	case len(f.spawns) == 0:
		f.backoff = 0
		return f.spawnNow(now)
	}
	f.backoff = min(max(2*f.backoff, f.config.MinBackoff), f.config.MaxBackoff)
	f.spawnAt = now.Add(f.backoff)
	return nil
}

func (f *Fleet) spawnNow(now time.Time) []Action {
	f.spawnAt, f.await = time.Time{}, time.Time{}
	f.spawns = append(f.spawns, now)
	return f.enqueue(Spawn)
}

// lose makes the fleet insane.
func (f *Fleet) lose(reason Reason) []Action {
	if f.insane {
		return nil
	}
	f.insane, f.spawnAt = true, time.Time{}
	f.queue = slices.DeleteFunc(f.queue, func(v Verb) bool { return v == Spawn })
	return []Action{{Verb: Alarm, Reason: reason}}
}

// Tick looks at the deadlines that are over. It should be called about once a second.
func (f *Fleet) Tick(now time.Time) []Action {
	var actions []Action
	for _, c := range f.sorted() {
		if c.deadline.IsZero() || now.Before(c.deadline) {
			continue
		}
		switch c.state {
		case examined:
			actions = append(actions, f.retire(c, HealthCheckTimeout)...)
			actions = append(actions, f.enqueue(Rollback)...)
		case identified:
			actions = append(actions, f.retire(c, ReadyTimeout)...)
			if f.runner == c {
				actions = append(actions, f.lostRunner(now)...)
			}
		}
	}
	if f.runner == nil && !f.spawnAt.IsZero() && !now.Before(f.spawnAt) {
		actions = append(actions, f.spawnNow(now)...)
	}
	actions = append(actions, f.restore(now)...)
	return append(actions, f.examineNext(now)...)
}

// sorted returns the clients by id, so that equal inputs give equal actions.
func (f *Fleet) sorted() []*client {
	all := make([]*client, 0, len(f.clients))
	for _, c := range f.clients {
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b *client) int {
		if a.id < b.id {
			return -1
		}
		return 1
	})
	return all
}
