// Package broker is the interface between a hub and what carries messages between its instances. Package memory
// implements it within a process, package redis over a Redis server.
//
// An instance publishes messages of its own clients that other instances may need, and receives messages of their
// clients. A Broker never returns a published message to its publisher: local delivery belongs to the hub. Messages that
// are appended to a group with history reach all instances the same way: see Historian.
//
// # Concurrency
//
// Every method of a Broker may be called from any goroutine once Start has returned. None blocks, except Start, Gather,
// Retire and Close. A Broker calls its Handler from goroutines of its own. One goroutine at a time calls Deliver, in
// the order that the package guarantees. A Handler's methods must not block, with one exception: Deliver may wait for
// room, which slows down the reading of other instances' messages and nothing else.
//
// # Order
//
// Messages of one publisher reach each other instance in the order of the Publish calls, at most once. A published
// message that doesn't arrive is counted, by the publisher (the Refused… fields of Stats) or by the instance that
// missed it (Missed).
package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// NodeID names an instance for the life of its process. It is random, unique among the live instances and never zero.
// The id of each client carries the NodeID of its instance.
type NodeID uint32

// String returns the id as operators see it: eight hexadecimal digits.
func (id NodeID) String() string { return fmt.Sprintf("%08x", uint32(id)) }

// Kind is the kind of a message's receivers.
type Kind uint8

// The kinds of a hub's messages.
const (
	KindGlobal Kind = 1 + iota // every client of every instance
	KindGroup                  // every member of Group, on every instance
	KindDirect                 // the client Receiver of instance To
	KindAny                    // one member of Group (one of all clients, where Group is empty) of instance To
	// KindReturned is a KindAny or a KindDirect that found no receiver, on its way back to To, the instance of its sender.
	// Receiver is set in a returned KindDirect, and zero in a returned KindAny.
	KindReturned
	// KindPresence is for instance To itself: who is in a group that is watched. Group is set where the receiver needs it. An
	// instance that doesn't know this kind gets none: see Node.LastKind.
	KindPresence
	// KindTracking is for instance To itself: what is known of a request that clients answer. An instance that doesn't know
	// this kind gets none.
	KindTracking
	// KindSelection is of no message: an instance that knows it understands messages of KindGlobal, KindGroup and KindDirect
	// whose Flags say that the payload selects the receivers.
	KindSelection
)

// LastKind is the last of the kinds that this release knows.
const LastKind = KindSelection

// Flags are properties of a message. Bits 1 and 3 belong to the Broker, bits 4 to 7 to the hub; bit 0 is free.
type Flags uint8

// FlagFence marks a message that must be delivered behind every message that any instance had published before it, as
// far as this instance gets those. Later messages may be delivered before it.
const FlagFence Flags = 1 << 2

// Message is one envelope on its way between instances.
type Message struct {
	Kind     Kind
	Flags    Flags
	From     NodeID    // the publisher; set by the Broker
	To       NodeID    // all but KindGlobal and KindGroup: the instance addressed
	Sender   uuid.UUID // the client that sent it
	Receiver uuid.UUID // KindDirect, and KindReturned of one
	Seq      uint64    // the sender's own count of its messages; carried for the hub, not interpreted
	Group    []byte    // KindGroup, KindAny, KindReturned of one, and KindPresence; at most 255 bytes
	Payload  []byte    // the envelope in the form that its receivers read
	Extra    []byte    // the hub's own, for an instance that knows KindTracking; an earlier release does not see it
}

// MaxExtra bounds Message.Extra, in bytes.
const MaxExtra = 8 << 10

// Clone returns a copy of m that shares no memory with it.
func (m *Message) Clone() *Message {
	c := *m
	buf := append(append(make([]byte, 0, len(m.Group)+len(m.Payload)+len(m.Extra)), m.Group...), m.Payload...)
	end := len(buf)
	buf = append(buf, m.Extra...)
	c.Group, c.Payload, c.Extra = buf[:len(m.Group):len(m.Group)], buf[len(m.Group):end:end], buf[end:]
	return &c
}

// Completion gets the outcome of one published message.
type Completion interface {
	// Published is called once, by a goroutine of the Broker or within Publish. It must not block.
	//
	// instances is the number of other instances that took the message. Zero is final: no instance has it, and none will
	// deliver it. While an instance that should have it may come back, the call waits. The number may be one too many for
	// a message that crosses an instance's joining or leaving of the group.
	Published(instances int, err error)
}

// CompletionFunc is a function as a Completion.
type CompletionFunc func(instances int, err error)

// Published calls f.
func (f CompletionFunc) Published(instances int, err error) { f(instances, err) }

// Errors of a Completion or a call.
var (
	// ErrUnavailable: the broker is away, and the message doesn't fit the bounded buffer or waited in it too long.
	ErrUnavailable = errors.New("broker unavailable")
	// ErrUnknown: the connection broke after the message was sent, and whether an instance got it can't be known.
	ErrUnknown = errors.New("broker connection lost, outcome unknown")
	// ErrNotStarted: Start was not called.
	ErrNotStarted = errors.New("broker not started")
	// ErrClosed: the Broker was closed.
	ErrClosed = errors.New("broker closed")
	// ErrTooManyWaiters: MaxWaiters claims wait for the group.
	ErrTooManyWaiters = errors.New("too many clients wait for the group")
	// ErrNodeIDTaken: another live instance has the NodeID given to Start. Draw another and start a new Broker.
	ErrNodeIDTaken = errors.New("node id taken by another instance")
)

// Handler is the hub, as its Broker sees it.
type Handler interface {
	// Deliver hands over a message of another instance. m and its memory are valid only during the call.
	Deliver(m *Message)
	// Pressure(true) asks the hub to stop reading from its clients: the broker is available, and publishing can't keep
	// up. Pressure(false) ends that. While the broker is away, Pressure is not called: messages that don't fit are
	// refused with ErrUnavailable.
	Pressure(on bool)
	// StateChanged reports that the broker became available or unavailable.
	StateChanged(s State)
	// DeliverNumbered hands over a message of a group with history, of whatever instance, this one included. It is called by
	// the goroutine that calls Deliver. m and its memory are valid only during the call; at is its place in the group.
	DeliverNumbered(m *Message, at Position)
	// Gap reports, as DeliverNumbered does, that messages of the group are missing before the next one.
	Gap(group string, g Gap)
	// NodeGone reports that another instance is gone: it has left, or its lease has ended. Everything that it published and
	// that arrives here at all has been delivered, unless it was only silent. n is what was known of it.
	NodeGone(n Node)
	// Answer answers another instance's Gather. The result is sent whole; nil sends an empty answer.
	Answer(query []byte) []byte
}

// State is the state of the broker for operators.
type State struct {
	Available bool      // a round trip succeeded within the last probe intervals
	Since     time.Time // the last change of Available
	Err       string    // the reason why it is not available
}

// Node describes a live instance.
type Node struct {
	ID      NodeID
	Name    string
	Version string
	Address string // the URL at which other instances reach its listener; empty where it advertises none
	Started time.Time
	Clients int // identified clients, at its last report
	// LastKind is the last kind of message that the instance knows: an older release may count others as missed. Start sets
	// it for this instance.
	LastKind Kind
}

// These stand in the place of a number of members.
const (
	Expected = -1 // the group has no members to draw yet, but a client is about to join it, or to be drawn again
	Watched  = -2 // the group has no members, but this instance needs its messages: it counts as a receiver
)

// Standing is how many members of a group another instance has, as SetMembers said there.
type Standing struct {
	Node    NodeID
	Members int
}

// The bounds of a Gather that every Broker keeps.
const (
	GatherTimeout     = 30 * time.Second // ends a Gather whose ctx ends later, or never
	MaxPendingQueries = 16               // queries that wait for one instance's answer; further ones get none
)

// Broker carries messages between instances.
type Broker interface {
	Historian

	// Start joins the cluster as self and begins to deliver to h. It returns once this instance can receive. Where the
	// broker is away, it returns nil after the first attempt, whose error is in State, and the Broker keeps trying. A
	// configuration that can never work is an error.
	Start(ctx context.Context, self Node, h Handler) error

	// Publish sends m to the other instances concerned. The Broker keeps no reference to m after the return. done, where
	// not nil, gets the outcome.
	Publish(m *Message, done Completion)

	// Subscribe declares that this instance has members in group. confirmed is called once, perhaps before Subscribe
	// returns: from then on no message to the group is missed. While the broker is away, confirmed waits for the
	// subscription, or gets ErrUnavailable when the Broker's deadline passes; the group remains subscribed even then,
	// until Unsubscribe. A group is subscribed once, with any number of calls. Where it is subscribed already, confirmed
	// is called before Subscribe returns.
	Subscribe(group string, confirmed func(error))
	// Unsubscribe declares that this instance has no members in group any more.
	Unsubscribe(group string)

	// SetMembers tells the other instances how many members of group this instance has, each as often as its weight says;
	// group "" stands for all its clients. n may be Expected or Watched, except for "". A group's first member, or Expected, that is set before
	// Subscribe is known to the other instances when that is confirmed. An instance that subscribes to a group without a
	// member, Expected or Watched gets its messages, but no publisher counts it as a receiver.
	SetMembers(group string, n int)
	// Draw picks an instance with a probability proportional to its members in group ("" for all clients). own is the
	// number for this instance, random a uniformly distributed number. Where no instance has members, one that expects
	// some is picked; if there is none either, Draw returns false.
	// While the broker is away, Draw picks this instance if own is not zero: the others can't be reached.
	Draw(group []byte, own int, random uint64) (NodeID, bool)

	// Claim asks for the exclusive group for a client of this instance, which has no claim to it yet. c hears what becomes of
	// it. Where the broker gives the claim no place within its deadline, c gets ErrUnavailable.
	Claim(group string, client uuid.UUID, c Claimant)
	// Release gives up what the client holds, or its place among those who wait. The group goes to the first of these. No
	// call of the Claimant begins after Release has returned.
	Release(group string, client uuid.UUID)
	// HandOver gives what the client holds to the client to of instance at, if that waits for it: that is then the end of the
	// claim, with no further call of the Claimant. Otherwise nothing changes.
	HandOver(group string, client, to uuid.UUID, at NodeID)
	// Standings appends the other live instances that have members of group, or expect one, to dst.
	Standings(group []byte, dst []Standing) []Standing
	// Knows reports whether the instance knows messages of that kind, as far as is known: see Node.LastKind.
	Knows(id NodeID, k Kind) bool

	// Nodes lists the live instances, including this one, by id.
	Nodes() []Node
	// Gather sends query to the instances among, or to every other live instance where that is nil, waits for their answers
	// until ctx ends, and calls each with one answer at a time. missing lists, by id, the instances asked that did not
	// answer. This instance is not asked.
	Gather(ctx context.Context, among []NodeID, query []byte, each func(from NodeID, answer []byte)) (missing []NodeID, err error)

	// Retire ends the reception of messages that are addressed to this instance; Close must follow soon. It returns when
	// the Handler has got all of those that came, at once where the broker is away, or with an error when ctx ends.
	// Completions of later ones are told zero instances when this instance closes.
	Retire(ctx context.Context) error
	// State returns the broker's state.
	State() State
	// Close publishes the messages that wait, until ctx ends, and leaves the cluster.
	Close(ctx context.Context) error
}
