package team

import (
	"github.com/go-json-experiment/json"
	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/services/team/rtm"
)

// Events between instances, in the group stateGroup.
const (
	eventOpened = "opened" // []opened: connections opened on the sender's instance
	eventFacts  = "facts"  // []fact: changes that other instances missed
)

// stateBatch bounds the entries of such a message.
const stateBatch = 200

// opened is a team's open connection.
type opened struct {
	ID     rtm.ID    `json:"id"`
	Rank   uint64    `json:"rank"`
	Client uuid.UUID `json:"client"`
}

// announce sends connections of this instance to the others.
func (l *loop) announce(all []opened) { publishState(l, eventOpened, all) }

// publishState publishes entries to the other instances, in batches.
func publishState[T any](l *loop, event string, all []T) {
	for len(all) > 0 {
		n := min(len(all), stateBatch)
		data, err := json.Marshal(all[:n])
		if err == nil { // ids are valid UTF-8, so this can't fail
			l.publishTo(stateGroup, event, data)
		}
		all = all[n:]
	}
}

// onStateEvent handles state from all instances, including this one.
func (l *loop) onStateEvent(m *opcodes.Envelope) {
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

// rivals compares connections of other instances with those here. Of two connections of a team the lower rank ends.
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
		default: // the other instance must end its connection
			stay = append(stay, opened{o.ID, here.rank, here.client})
		}
	}
	l.announce(stay)
}
