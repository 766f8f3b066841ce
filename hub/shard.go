package hub

import (
	"math/rand/v2"
	"time"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/hub/internal/bucket"
	"github.com/mastersocket/mastersocket/hub/internal/clientid"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

// shard is a loop's share of the hub. It belongs to the loop's goroutine.
type shard struct {
	hub    *Hub
	loop   *transport.Loop
	index  int
	count  *counters
	random *rand.Rand

	scan     opcodes.Envelope // of the message that is being handled
	outgoing broker.Message   // the message that is being published

	// Used again, as each connection needs them once.
	change  *change         // of an IDENTIFY that is over; nil for none
	changed opcodes.Changed // the answer to an IDENTIFY; empty between two

	// The message that is being delivered to service types, and what they do meanwhile.
	parsed    *transport.Buffer // what delivered was read from; nil for nothing
	delivered opcodes.Envelope
	deferral  deferral

	agents   []*sender             // of service types: what no client sends
	awaited  map[uuid.UUID]awaited // senders whose callers wait for a receipt
	receipts receipts              // of them

	owed     *owed             // the parts of clients in requests; nil for none so far
	requests *requests         // of clients; nil for none so far
	known    []broker.Standing // what was last asked of the broker

	numberings      map[*sender]*numbering // senders whose messages to groups with history are on their way
	spareNumberings []*numbering
	recovering      recovering // of groups with history
	recentBytes     int        // of the recent messages of all timelines

	marks      marks
	selections uint64 // messages with several targets, or exceptions, that were published
	terms      []byte // of the groups of the last one

	waiting   map[uuid.UUID]*session // senders of this instance that wait for a client of this loop
	strangers []*session             // connections that have not identified
	held      heldAnys
	ending    string    // why the client leaves its groups that is being ended; empty: none is
	presence  *presence // the watched groups whose home the loop is; nil for none so far
	goodbyes  []goodbye // clients that are disconnected in their slots, in the order of these

	traffic traffic
	probes  []*probe // what operators watch of clients; nil for nothing

	refusals   bucket.Bucket // of connections that had not identified, for the event log
	unrecorded uint32        // such since the last one that was recorded
}

// awaited is a sender without a connection, and what hears of its message.
type awaited struct {
	sender *sender
	hearer hearer
}

// heldAnys are ANYs of other instances that wait for clients which are about to join.
type heldAnys struct {
	of    map[*session][]*mail
	bytes int
}

// goodbye is a client that is disconnected in its slot.
type goodbye struct {
	session *session
	at      time.Time
}

// client returns the identified client of that id on this loop, or nil.
func (sh *shard) client(id *uuid.UUID) *session {
	c := sh.loop.Conn(clientid.Locate(id).Slot)
	if c == nil {
		return nil
	}
	s, ok := c.Session().(*session)
	if !ok || s.phase != phaseIdentified || s.id != *id {
		return nil
	}
	return s
}

// senderOf returns the sender of messages on this loop with that id, nil if it is gone.
func (sh *shard) senderOf(id *uuid.UUID) *sender {
	for _, a := range sh.agents {
		if a.id == *id {
			return a
		}
	}
	if a, ok := sh.awaited[*id]; ok {
		return a.sender
	}
	if s := sh.client(id); s != nil {
		return &s.sender
	}
	return nil
}

// task is a function as mail.
type task func()

// Deliver implements transport.Mail.
func (t task) Deliver(*transport.Loop) { t() }

// Size implements transport.Mail.
func (task) Size() int { return 64 }
