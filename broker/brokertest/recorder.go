// Package brokertest holds what every implementation of broker.Broker is tested with: Conform, which is what each must
// do, and the instances and recorders that its tests and those of the implementations are made of.
package brokertest

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker"
)

// Patience bounds every wait of a test; only a failing test takes so long.
const Patience = 30 * time.Second

// Delivery is a message as a Recorder keeps it.
type Delivery struct {
	Kind    broker.Kind
	Flags   broker.Flags
	From    broker.NodeID
	Sender  uuid.UUID
	Seq     uint64
	Group   string
	Payload string
	Extra   string
}

// Told is what a Recorder got of a group with history: a message, or a gap.
type Told struct {
	broker.Position
	Reason  broker.GapReason // zero for a message
	Payload string
}

// Recorder is a broker.Handler that keeps what it gets.
type Recorder struct {
	OnQuery func(query []byte) []byte // answers queries; nil: with nothing. Set before the first query

	mu        sync.Mutex
	Got       []Delivery        // guarded by mu, as are States and Pressures: read them in Await and Within
	States    []broker.State    // of StateChanged
	Pressures []bool            // of Pressure
	Gone      []broker.NodeID   // of NodeGone
	Numbered  map[string][]Told // of DeliverNumbered and Gap, by group
	change    chan struct{}     // closed and replaced with each event

	// The payloads of Deliver and DeliverNumbered by sender, in order; guarded by mu.
	BySender map[uuid.UUID][]string
}

// NewRecorder makes an empty Recorder.
func NewRecorder() *Recorder {
	return &Recorder{
		change: make(chan struct{}), Numbered: make(map[string][]Told), BySender: make(map[uuid.UUID][]string),
	}
}

func (r *Recorder) event(record func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	record()
	close(r.change)
	r.change = make(chan struct{})
}

// Deliver implements broker.Handler.
func (r *Recorder) Deliver(m *broker.Message) {
	d := Delivery{m.Kind, m.Flags, m.From, m.Sender, m.Seq, string(m.Group), string(m.Payload), string(m.Extra)}
	r.event(func() {
		r.Got = append(r.Got, d)
		r.bySender(d.Sender, d.Payload)
	})
}

// bySender notes a message of a client.
func (r *Recorder) bySender(sender uuid.UUID, payload string) {
	if sender != (uuid.UUID{}) {
		r.BySender[sender] = append(r.BySender[sender], payload)
	}
}

// DeliverNumbered implements broker.Handler.
func (r *Recorder) DeliverNumbered(m *broker.Message, at broker.Position) {
	group, told := string(m.Group), Told{Position: at, Payload: string(m.Payload)}
	r.event(func() {
		r.Numbered[group] = append(r.Numbered[group], told)
		r.bySender(m.Sender, told.Payload)
	})
}

// Gap implements broker.Handler.
func (r *Recorder) Gap(group string, g broker.Gap) {
	r.event(func() { r.Numbered[group] = append(r.Numbered[group], Told{Position: g.Position, Reason: g.Reason}) })
}

// Of returns a copy of what the Recorder got of a group with history.
func (r *Recorder) Of(group string) []Told {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.Numbered[group])
}

// Pressure implements broker.Handler.
func (r *Recorder) Pressure(on bool) { r.event(func() { r.Pressures = append(r.Pressures, on) }) }

// NodeGone implements broker.Handler.
func (r *Recorder) NodeGone(n broker.Node) { r.event(func() { r.Gone = append(r.Gone, n.ID) }) }

// StateChanged implements broker.Handler.
func (r *Recorder) StateChanged(s broker.State) { r.event(func() { r.States = append(r.States, s) }) }

// Answer implements broker.Handler.
func (r *Recorder) Answer(query []byte) []byte {
	if r.OnQuery == nil {
		return nil
	}
	return r.OnQuery(query)
}

// Await waits until cond is true, and fails the test after Patience. cond may read Got, States and Pressures.
func (r *Recorder) Await(t testing.TB, what string, cond func() bool) {
	t.Helper()
	if !r.Within(Patience, cond) {
		t.Fatalf("waited in vain for %s", what)
	}
}

// Within waits for cond as Await does, for at most d, and returns whether it became true.
func (r *Recorder) Within(d time.Duration, cond func() bool) bool {
	timeout := time.After(d)
	for {
		r.mu.Lock()
		ok, change := cond(), r.change
		r.mu.Unlock()
		if ok {
			return true
		}
		select {
		case <-change:
		case <-timeout:
			return false
		}
	}
}

// Deliveries returns a copy of Got.
func (r *Recorder) Deliveries() []Delivery {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.Got)
}

// SlowHandler is a Recorder whose Deliver waits until Hold is closed.
type SlowHandler struct {
	*Recorder
	Hold chan struct{}
}

// Deliver implements broker.Handler.
func (h *SlowHandler) Deliver(m *broker.Message) {
	<-h.Hold
	h.Recorder.Deliver(m)
}
