package fleet

import (
	"crypto/rand"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/mastersocket/mastersocket/intent"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/services/fleet/lifecycle"
)

// Times of the link between instances. A bot of an instance that is cut off is told to stop cutOffAfter after the instance has sent the
// last pulse that the leader is known to have heard; the leader gives the bots of an instance up goneAfter after it has heard
// its last pulse, which is later. The difference is more than clocks may run apart.
const (
	pulseInterval = 500 * time.Millisecond
	cutOffAfter   = 3 * time.Second
	goneAfter     = 4 * time.Second
	resendAfter   = time.Second // of an order that is not carried out
)

// link is this instance's tie to the others. It belongs to the first loop.
type link struct {
	s     *Service
	me    string           // the name of this instance's inbox
	n     uint64           // of the last pulse
	sent  [16]time.Time    // when the last pulses were sent, by their numbers modulo the length
	next  time.Time        // of the next pulse
	peers map[string]*peer // by their inboxes
}

// peer is what this instance knows of another one.
type peer struct {
	node  string
	heard time.Time // its last pulse
	n     uint64    // of that
	acked uint64    // the number of the last pulse of this instance that it has heard
}

// pulse is what every instance tells all others, again and again.
type pulse struct {
	From  string            `json:"from"`
	Node  string            `json:"node"`
	N     uint64            `json:"n"`
	Heard map[string]uint64 `json:"heard,omitzero"` // the number of the last pulse of each other instance
	Leads map[string]led    `json:"leads,omitzero"` // the fleets that the instance leads, or is about to
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
	return &link{s: s, me: strings.ToLower(rand.Text()), peers: make(map[string]*peer)}
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

// tick sends a pulse when it is due. An instance without others sends none.
func (k *link) tick(now time.Time) {
	for name, p := range k.peers {
		if now.Sub(p.heard) > 10*goneAfter {
			delete(k.peers, name)
		}
	}
	if !now.Before(k.next) {
		k.pulseNow(now)
	}
}

// pulseNow sends a pulse, unless there are no others.
func (k *link) pulseNow(now time.Time) {
	if !k.s.hub.Alone() {
		k.pulse(now)
	}
}

// pulse tells the others what this instance has heard and leads.
func (k *link) pulse(now time.Time) {
	k.next = now.Add(pulseInterval)
	k.n++
	k.sent[k.n%uint64(len(k.sent))] = now
	p := pulse{From: k.me, Node: k.s.node(), N: k.n, Heard: make(map[string]uint64), Leads: make(map[string]led)}
	for name, other := range k.peers {
		if now.Sub(other.heard) <= goneAfter {
			p.Heard[name] = other.n
		}
	}
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

// ackedAt returns when this instance sent the last of its pulses that the other one is known to have heard; zero for never.
func (k *link) ackedAt(name string) time.Time {
	p := k.peers[name]
	if p == nil || p.acked == 0 || k.n-p.acked >= uint64(len(k.sent)) {
		return time.Time{}
	}
	return k.sent[p.acked%uint64(len(k.sent))]
}

// onPulse handles the pulses of all instances, this one included.
func (s *Service) onPulse(m *opcodes.Envelope) {
	var p pulse
	if string(m.Event) != eventPulse || json.Unmarshal(m.Data, &p) != nil || p.From == s.link.me || p.From == "" {
		return
	}
	now := time.Now()
	other := s.link.peers[p.From]
	if other == nil {
		other = &peer{}
		s.link.peers[p.From] = other
	}
	other.node, other.heard, other.n = p.Node, now, p.N
	if n := p.Heard[s.link.me]; n <= s.link.n {
		other.acked = n
	}
	for _, f := range s.fleets() {
		if l, ok := p.Leads[f.name]; ok {
			f.led(p.From, l, now)
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
