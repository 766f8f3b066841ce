package lifecycle

import "time"

// Found is what an instance knows of a client of a fleet that had another leader, or none.
type Found struct {
	ID      ID
	Version string
	Ready   bool
	Retired bool
	Resting bool
	Term    uint64 // of the leader that told it to work; 0 if it does not
}

// Memory is what a leader hands on to the next one.
type Memory struct {
	Good   Good
	Insane bool
}

// Memory returns what the next leader should know.
func (f *Fleet) Memory() Memory { return Memory{f.good, f.insane} }

// Adopt returns a fleet with the clients of one that had another leader. Of those that work, the one that was told so in the
// highest term goes on, and the others are told to stop.
func Adopt(c Config, m Memory, all []Found, now time.Time) (*Fleet, []Action) {
	f := New(c, now)
	f.good, f.insane = m.Good, m.Insane
	f.passed = f.deploys + 1 // unknown
	var highest *Found
	for i := range all {
		k := &all[i]
		f.add(k, now)
		if k.Term > 0 && !k.Retired && (highest == nil || k.Term > highest.Term || k.Term == highest.Term && k.ID < highest.ID) {
			highest = k
		}
	}
	var actions []Action
	for i := range all {
		if k := &all[i]; k.Term > 0 && !k.Retired && k != highest {
			actions = append(actions, Action{Verb: Coma, To: k.ID, Reason: Replaced})
		}
	}
	if highest != nil {
		f.assign(f.clients[highest.ID])
		actions = append(actions, Action{Verb: Keep, To: highest.ID})
	} else {
		actions = append(actions, f.restore(now)...)
	}
	for _, c := range f.sorted() {
		c.waits = f.runner != nil && c != f.runner && c.state == standby && compare(c.version, f.runner.version) > 0
	}
	return f, append(actions, f.examineNext(now)...)
}

// add adds a client that does not run.
func (f *Fleet) add(k *Found, now time.Time) *client {
	c := &client{id: k.ID, version: k.Version, resting: k.Resting}
	switch {
	case k.Retired:
		c.state = retired
	case k.Ready:
		f.readied++
		c.state, c.ready = standby, f.readied
	default:
		c.deadline = now.Add(f.config.ReadyTimeout)
	}
	f.clients[k.ID] = c
	return c
}

// Merge takes what an instance knows of its clients, which are all there: it was out of reach for a while. Clients that work
// without being the runner are told to stop.
func (f *Fleet) Merge(all []Found, now time.Time) []Action {
	var actions []Action
	for i := range all {
		k := &all[i]
		c := f.clients[k.ID]
		if c == nil {
			c = f.add(k, now)
			c.waits = f.runner != nil && c.state == standby && compare(c.version, f.runner.version) > 0
		}
		works := k.Term > 0 && !k.Retired
		switch {
		case works && f.runner == nil:
			f.assign(c)
			actions = append(actions, Action{Verb: Keep, To: c.id})
		case works && f.runner != c:
			actions = append(actions, Action{Verb: Coma, To: c.id, Reason: Replaced})
		case !works && f.runner == c: // it has not got the order, or was told to stop
			if c.state == identified {
				actions = append(actions, Action{Verb: Hello, To: c.id, Process: true})
			} else {
				actions = append(actions, Action{Verb: ProcessCommands, To: c.id})
			}
		}
	}
	actions = append(actions, f.restore(now)...)
	return append(actions, f.examineNext(now)...)
}
