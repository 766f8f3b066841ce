package team

import (
	"github.com/go-json-experiment/json"
	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/services/team/rtm"
)

// What instances tell each other in the group stateGroup.
const (
	eventOpened = "opened" // []opened: these are the connections of their teams now
	eventFacts  = "facts"  // []fact: what others have missed
)

// stateBatch is how many entries such a message has at most.
const stateBatch = 200

// opened says that a team has a connection.
type opened struct {
	ID     rtm.ID    `json:"id"`
	Rank   uint64    `json:"rank"`
	Client uuid.UUID `json:"client"`
}

// announce tells the other instances of connections here.
func (l *loop) announce(all []opened) { tellInBatches(l, eventOpened, all) }

// tellInBatches tells the other instances something.
func tellInBatches[T any](l *loop, event string, all []T) {
	for len(all) > 0 {
		n := min(len(all), stateBatch)
		data, err := json.Marshal(all[:n])
		if err == nil { // ids are valid UTF-8: it can't fail
			l.send(stateGroup, event, data)
		}
		all = all[n:]
	}
}

// state is told of what instances say, this one included.
func (l *loop) state(m *opcodes.Envelope) {
	switch string(m.Event) {
	case eventOpened:
		var all []opened
		if json.Unmarshal(m.Data, &all) == nil {
			l.rivals(all)
		}
	case eventFacts:
		var facts []fact
		if json.Unmarshal(m.Data, &facts) == nil {
			l.s.store.merge(facts, noEpoch)
		}
	}
}

// rivals compares connections of other instances with those here: of two, the one of lower rank goes.
func (l *loop) rivals(all []opened) {
	var stay []opened
	for _, o := range all {
		if !validTeam(o.ID) {
			continue
		}
		here, replaced := l.s.store.rival(o.ID, o.Rank, o.Client)
		switch {
		case here == nil:
		case replaced:
			here.replace()
		default: // the other one is to learn of it
			stay = append(stay, opened{o.ID, here.rank, here.client})
		}
	}
	l.announce(stay)
}
