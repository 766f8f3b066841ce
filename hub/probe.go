package hub

import (
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/hub/internal/bucket"
	"github.com/mastersocket/mastersocket/transport"
)

// Bounds of what waits for the reader of a tap.
const (
	tapQueue = 256     // messages
	tapBytes = 2 << 20 // their memory
)

// probe shows what the clients of this instance send and get that it is about: one client, or those of one token. What it
// costs a loop is bounded, and nothing ever waits for it.
type probe struct {
	client uuid.UUID // zero: those of token
	token  string

	mu      sync.Mutex
	show    bucket.Bucket
	shown   []ProbeMessage // that wait for the reader
	bytes   int            // of these
	seen    uint64
	leftOut uint64
}

// ProbeMessage is a message that a probe shows.
type ProbeMessage struct {
	At      time.Time `json:"at"`
	Out     bool      `json:"out,omitempty"` // to the client, as it gets it; else from it, as it sent it
	Client  uuid.UUID `json:"client"`
	Name    string    `json:"name,omitempty"` // of the client
	Node    string    `json:"node"`           // of its instance
	Message []byte    `json:"message"`
}

// isAbout reports whether the probe shows the client's messages.
func (p *probe) isAbout(s *session) bool {
	if p.client != uuid.Nil {
		return p.client == s.id
	}
	return s.grant != nil && s.grant.Name == p.token
}

// add shows a message of the client, or counts it.
func (p *probe) add(s *session, out bool, message []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen++
	if !p.show.Take(s.shard.hub.now()) || p.bytes+len(message) > tapBytes || len(p.shown) >= tapQueue {
		p.leftOut++
		return
	}
	p.bytes += len(message)
	m := ProbeMessage{At: time.Now().UTC(), Out: out, Client: s.id, Node: s.shard.hub.node.Name, Message: slices.Clone(message)}
	if s.about != nil {
		m.Name = s.about.name
	}
	p.shown = append(p.shown, m)
}

// take returns the messages that wait, and the counts of all so far.
func (p *probe) take() (shown []ProbeMessage, seen, leftOut uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	shown, p.shown, p.bytes = p.shown, nil, 0
	return shown, p.seen, p.leftOut
}

// probeIn shows a message that the client sent. It is called where the loop has probes.
func (s *session) probeIn(message []byte) {
	for _, p := range s.shard.probes {
		if p.isAbout(s) {
			p.add(s, false, message)
		}
	}
}

// probeOut shows a message that was queued for the client. It is called where the loop has probes.
func (sh *shard) probeOut(s *session, b *transport.Buffer) {
	for _, p := range sh.probes {
		if p.isAbout(s) {
			p.add(s, true, b.Payload())
		}
	}
}

// probeSpread shows a message that was queued for the group's members on the loop but one. It is called where the loop has
// probes.
func (sh *shard) probeSpread(g *group, except *session, b *transport.Buffer) {
	for _, s := range g.local[sh.index].list {
		if s != except {
			sh.probeOut(s, b)
		}
	}
}

// setProbe puts a probe on the loop, or takes it off.
func (sh *shard) setProbe(p *probe, on bool) {
	sh.probes = slices.DeleteFunc(sh.probes, func(o *probe) bool { return o == p })
	if on {
		sh.probes = append(sh.probes, p)
	}
	if len(sh.probes) == 0 {
		sh.probes = nil // the loop looks no further
	}
}
