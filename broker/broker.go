// Package broker carries messages between the instances of one hub.
//
// An instance publishes what its own clients sent and other instances may need, and receives what the others'
// clients sent to its own. What an instance published never comes back to it: local delivery is the hub's.
//
// # Concurrency
//
// Every method of a Broker may be called from any goroutine once Start has returned, and none blocks, save Start,
// Gather and Close. A Broker calls its Handler from goroutines of its own; Deliver is called by one goroutine at a
// time, in the order that the package guarantees. A Handler's methods must not block, with one exception: Deliver may
// wait for room, which slows down the reading of what others publish and nothing else.
//
// # Order
//
// Messages that one instance published reach each other instance in the order of the Publish calls, at most once. A
// message that was published and doesn't arrive is counted, by the publisher (see Stats, Refused…) or by the instance
// that missed it (Missed).
package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// NodeID names an instance for the life of its process. It is random, unique among the live instances, never zero,
// and carried by the id of each client of that instance.
type NodeID uint32

// String returns the id as operators see it: eight hexadecimal digits.
func (id NodeID) String() string { return fmt.Sprintf("%08x", uint32(id)) }

// Kind says whom a message is for.
type Kind uint8

// The kinds that a hub publishes and is delivered.
const (
	KindGlobal   Kind = 1 + iota // every client of every instance
	KindGroup                    // every member of Group, on every instance
	KindDirect                   // the client Receiver of instance To
	KindAny                      // one member of Group (one client at all, where Group is empty) of instance To
	KindReturned                 // a KindAny that found nobody, back at the instance of its sender for another draw
)

// Flags are properties of a message that its delivery depends on. Bit 1 is the Broker's own, bits 0 and 3 are free, bits
// 4 to 7 are the hub's.
type Flags uint8

// FlagFence has a message delivered behind everything that any instance had published before it, as far as this
// instance gets it at all. Later messages may be delivered before it.
const FlagFence Flags = 1 << 2

// Message is one envelope on its way between instances.
type Message struct {
	Kind     Kind
	Flags    Flags
	From     NodeID    // the instance that published it; set by the Broker
	To       NodeID    // KindDirect, KindAny, KindReturned: the instance addressed
	Sender   uuid.UUID // the client that sent it
	Receiver uuid.UUID // KindDirect
	Seq      uint64    // the sender's own count of its messages; carried for the hub, not interpreted
	Group    []byte    // KindGroup, KindAny, KindReturned
	Payload  []byte    // the envelope as its receivers will read it
}

// Clone returns a copy of m that shares no memory with it.
func (m *Message) Clone() *Message {
	c := *m
	buf := append(append(make([]byte, 0, len(m.Group)+len(m.Payload)), m.Group...), m.Payload...)
	c.Group, c.Payload = buf[:len(m.Group):len(m.Group)], buf[len(m.Group):]
	return &c
}

// Completion learns, exactly once, what became of a published message.
type Completion interface {
	// Published reports how many other instances took the message, or why none could. None at all is final: nobody has
	// it and nobody will get it. While an instance that should have it may come back, the report waits. It may be one too
	// many for a message that crosses this instance's own joining or leaving of the group. It is called by a goroutine
	// of the Broker, or within Publish, and must not block.
	Published(instances int, err error)
}

// CompletionFunc is a function as a Completion.
type CompletionFunc func(instances int, err error)

// Published calls f.
func (f CompletionFunc) Published(instances int, err error) { f(instances, err) }

// Errors that a Completion or a call may get.
var (
	// ErrUnavailable: the broker is away and the message no longer fits the bounded buffer, or waited in it too long.
	ErrUnavailable = errors.New("broker unavailable")
	// ErrUnknown: the connection broke after the message was sent and it can't be known whether anybody got it.
	ErrUnknown = errors.New("broker connection lost, outcome unknown")
	// ErrNotStarted: Start was not called.
	ErrNotStarted = errors.New("broker not started")
	// ErrClosed: the Broker was closed.
	ErrClosed = errors.New("broker closed")
	// ErrNodeIDTaken: another live instance has the NodeID given to Start. Draw another and start a new Broker.
	ErrNodeIDTaken = errors.New("node id taken by another instance")
)

// Handler is the hub as its Broker sees it.
type Handler interface {
	// Deliver hands over a message of another instance. m and all its memory are valid only during the call.
	Deliver(m *Message)
	// Pressure(true) asks the hub to stop reading from its clients because publishing can't keep up although the
	// broker is there; Pressure(false) ends that. It is not called while the broker is away: what doesn't fit then is
	// refused with ErrUnavailable.
	Pressure(on bool)
	// StateChanged reports that the broker went away or came back.
	StateChanged(s State)
	// Answer answers another instance's Gather. The result is sent to it whole; nil sends an empty answer.
	Answer(query []byte) []byte
}

// State is what an operator wants to know of the broker.
type State struct {
	Available bool      // a round trip succeeded within the last probe intervals
	Since     time.Time // when Available last changed
	Err       string    // why it is not available
}

// Node describes a live instance.
type Node struct {
	ID      NodeID
	Name    string
	Version string
	Started time.Time
	Clients int // identified clients, at its last report
}

// Expected, in the place of a number of members, says that nobody is in the group yet, but somebody is about to be.
const Expected = -1

// The bounds of a Gather that every Broker keeps.
const (
	GatherTimeout     = 30 * time.Second // of a Gather whose ctx ends later, or never
	MaxPendingQueries = 16               // that wait for one instance's answer; further ones are not answered
)

// Broker carries messages between instances.
type Broker interface {
	// Start joins the cluster as self and begins to deliver to h. It returns once this instance can receive, or, where
	// the broker is away, once the first attempt failed with the reason in State: the Broker keeps trying by itself.
	// A configuration that can never work is an error.
	Start(ctx context.Context, self Node, h Handler) error

	// Publish sends m to the other instances concerned. The Broker copies what it keeps of m before it returns. done,
	// where not nil, is told the outcome.
	Publish(m *Message, done Completion)

	// Subscribe declares that this instance has members in group. confirmed is called once, perhaps before Subscribe
	// returns: from then on nothing that others publish to the group is missed. If the broker is away it is called once
	// the subscription is made after its return, or with ErrUnavailable if that takes longer than the Broker's own
	// deadline; the group remains subscribed for all that until Unsubscribe. Each group is subscribed once, however
	// often it is asked for. Where the group is subscribed already, confirmed is called before Subscribe returns.
	Subscribe(group string, confirmed func(error))
	// Unsubscribe declares that this instance has no member in group any more.
	Unsubscribe(group string)

	// SetMembers tells the others how many members of group this instance has; group "" stands for all its clients.
	// n may be Expected, but not for "". A group's first member, also one that is only expected, that is set before
	// Subscribe is known to the others when that is confirmed.
	SetMembers(group string, n int)
	// Draw picks an instance with a probability proportional to its members in group ("" for all clients), counting
	// own members for this instance; random is a uniformly distributed number. Where nobody has any, an instance that
	// expects some is picked; if there is none either, it returns false.
	// While the broker is away it picks this instance if own is not zero, as the others can't be reached.
	Draw(group []byte, own int, random uint64) (NodeID, bool)

	// Nodes lists the live instances, this one included.
	Nodes() []Node
	// Gather asks every other live instance, waits for their answers until ctx ends, and calls each for one answer at
	// a time. missing names the live instances that did not answer.
	Gather(ctx context.Context, query []byte, each func(from NodeID, answer []byte)) (missing []NodeID, err error)

	// Retire gives up what is for this instance alone, ahead of Close: it returns once everything that came for it has been
	// given to the Handler, at once where the broker is away, or with an error when ctx ends. What is published to it after
	// that was received by nobody, as its publisher is told when this instance closes, which has to follow soon.
	Retire(ctx context.Context) error
	// State reports the broker's state.
	State() State
	// Close leaves the cluster, publishing what still waits until ctx ends.
	Close(ctx context.Context) error
}
