package fleet

import (
	"crypto/rand"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/mastersocket/mastersocket/intent"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/services/fleet/lifecycle"
)

// Times of the link between instances.
const (
	pulseInterval = 500 * time.Millisecond
	suspectAfter  = 2 * time.Second  // without a pulse: is the instance there still?
	forgetAfter   = 40 * time.Second // without a pulse
	resendAfter   = time.Second      // of an order that is not carried out
)

// link is this instance's tie to the others. It belongs to the first loop.
type link struct {
	s     *Service
	me    string            // the name of this instance's inbox
	alive leadership        // the group that says that this instance is not cut off; nil before the hub runs
	next  time.Time         // of the next pulse
	peers map[string]*peer  // by their inboxes
	told  map[string]uint64 // by fleets that are not served here: the term of the leader that knows
}

// peer is what this instance knows of another one.
type peer struct {
	node  string
	heard time.Time // its last pulse
}

// pulse is what every instance tells all others, again and again.
type pulse struct {
	From  string         `json:"from"`
	Node  string         `json:"node"`
	Leads map[string]led `json:"leads,omitzero"` // the fleets that the instance leads, or is about to
}

// led is a fleet in a pulse of its leader.
type led struct {
	Term   uint64           `json:"term"`
	Memory lifecycle.Memory `json:"memory"`
}

// The kinds of mail between a leader and an instance with bots.
const (
	mailRoster = "roster" // to the leader: all bots of an instance
	mailWord   = "word"   // to the leader
	mailAnswer = "answer" // of a word
	mailOrder  = "order"  // of the leader
	mailDone   = "done"   // of an order
	mailResync = "resync" // of the leader: it needs the roster
)

// mail is what an instance sends to the inbox of another one.
type mail struct {
	Kind    string            `json:"kind"`
	Fleet   string            `json:"fleet"`
	Term    uint64            `json:"term"`
	From    string            `json:"from"`
	N       uint64            `json:"n,omitzero"` // of the word or order
	Word    *word             `json:"word,omitzero"`
	Code    string            `json:"code,omitzero"`
	Message string            `json:"message,omitzero"`
	To      lifecycle.ID      `json:"to,omitzero"`
	Order   *order            `json:"order,omitzero"`
	Node    string            `json:"node,omitzero"` // of a roster
	Bots    []lifecycle.Found `json:"bots,omitzero"`
	Memory  lifecycle.Memory  `json:"memory,omitzero"` // of a roster: what the last leader handed on
	Last    uint64            `json:"last,omitzero"`   // of a roster: that leader's term
}

// Groups between instances.
const (
	eventPulse = "pulse"
	eventMail  = "mail"
)

func newLink(s *Service) *link {
	return &link{s: s, me: strings.ToLower(rand.Text()), peers: make(map[string]*peer), told: make(map[string]uint64)}
}

// inboxOf returns the group of an instance's inbox.
func inboxOf(name string) string { return statePrefix + "inbox." + name }

// pulsesGroup is the group of pulses.
const pulsesGroup = statePrefix + "pulses"

// publish sends a value to a group. failed, where not nil, is called if it did not reach the group's instances.
func (k *link) publish(group, event string, v any, failed func()) {
	data, err := json.Marshal(v)
	if err != nil { // texts of bots are valid, since they were read from JSON
		return
	}
	m := &opcodes.Message{Op: opcodes.Event, Event: event, Data: data, Target: intent.Group, Group: []byte(group)}
	if failed == nil {
		k.s.first.Publish(m)
		return
	}
	k.s.first.PublishAndHear(m, func(_ int, code opcodes.ErrorCode) {
		if code != "" {
			failed()
		}
	})
}

// post sends mail to an instance.
func (k *link) post(to string, m *mail, failed func()) {
	m.From = k.me
	k.publish(inboxOf(to), eventMail, m, failed)
}

// aliveGroup returns the exclusive group that an instance holds while it is not cut off. Another one that claims it is granted it once the
// instance's lease has ended, by when the instance has told its bots to stop.
func aliveGroup(node string) string { return statePrefix + "alive." + node }

// isReached reports whether this instance is not cut off for certain, so that bots may work here.
func (k *link) isReached() bool { return k.alive != nil && k.alive.Left() >= leaseMargin }

// tick sends a pulse when it is due. An instance without others sends none.
func (k *link) tick(now time.Time) {
	if k.alive == nil {
		k.alive = k.s.first.Hold(aliveGroup(k.s.node()), func(uint64) { k.s.reached() }, func() {})
	}
	for name, p := range k.peers {
		if now.Sub(p.heard) > forgetAfter {
			delete(k.peers, name)
		}
	}
	if !now.Before(k.next) {
		k.pulse(now)
	}
}

// pulse tells the others what this instance leads.
func (k *link) pulse(now time.Time) {
	k.next = now.Add(pulseInterval)
	if !k.s.hub.ReachesOthers() {
		return
	}
	p := pulse{From: k.me, Node: k.s.node(), Leads: make(map[string]led)}
	for _, f := range k.s.fleets() {
		switch {
		case f.lead != nil:
			p.Leads[f.name] = led{f.lead.term, f.lead.state.Memory()}
		case f.gathering != nil:
			p.Leads[f.name] = led{f.gathering.term, f.memory}
		}
	}
	k.publish(pulsesGroup, eventPulse, &p, nil)
}

// isSilent reports whether an instance has sent no pulse for a while.
func (k *link) isSilent(name string, now time.Time) bool {
	p := k.peers[name]
	return p == nil || now.Sub(p.heard) > suspectAfter
}

// others returns the nodes of the instances that may be there, besides this one.
func (k *link) others() []string {
	all := make(map[string]bool)
	for _, n := range k.s.hub.Nodes() {
		all[n.ID.String()] = true
	}
	for _, p := range k.peers {
		all[p.node] = true
	}
	delete(all, k.s.node())
	return slices.Collect(maps.Keys(all))
}

// reached notes that this instance is not cut off any more.
func (s *Service) reached() {
	for _, f := range s.fleets() {
		if f.lead == nil { // the leader may have given this instance up
			f.resync()
			f.sendRoster()
		}
		f.flush()
	}
}

// onPulse handles the pulses of all instances, this one included.
func (s *Service) onPulse(m *opcodes.Envelope) {
	var p pulse
	if string(m.Event) != eventPulse || json.Unmarshal(m.Data, &p) != nil || p.From == s.link.me || p.From == "" {
		return
	}
	now := time.Now()
	k := s.link
	k.peers[p.From] = &peer{p.Node, now}
	for name, l := range p.Leads {
		if f := (*s.served.Load())[name]; f != nil {
			f.led(p.From, l)
		} else if k.told[name] < l.Term { // there are no bots of it here
			k.told[name] = l.Term
			k.post(p.From, &mail{Kind: mailRoster, Fleet: name, Term: l.Term, Node: s.node()}, nil)
		}
	}
}

// onMail handles the mail to this instance.
func (s *Service) onMail(e *opcodes.Envelope) {
	var m mail
	if string(e.Event) != eventMail || json.Unmarshal(e.Data, &m) != nil {
		return
	}
	f := (*s.served.Load())[m.Fleet]
	if f == nil {
		return
	}
	switch now := time.Now(); m.Kind {
	case mailRoster, mailWord, mailDone:
		f.toLeader(&m, now)
	case mailAnswer:
		if m.Term == f.leaderTerm && m.From == f.leader {
			f.answered(m.N, m.Code, m.Message)
		}
	case mailOrder:
		f.ordered(&m)
	case mailResync:
		if m.Term == f.leaderTerm && m.From == f.leader {
			f.resync()
		}
	}
}

// node returns the id of this instance.
func (s *Service) node() string { return s.hub.Node().ID.String() }
