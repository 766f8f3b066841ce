package broker

import (
	"errors"
	"fmt"
	"time"
)

// # Groups with history
//
// A message that is appended to a group gets the next number, its offset, and is kept. Every instance that has subscribed
// to the group delivers the numbered messages of the group by DeliverNumbered, those of its own clients included: in one
// order, each once, without gaps. An instance that misses some reads them before it delivers what comes after them. Where
// that can't be done it says so by Gap, before the next message.
//
// An epoch is a stretch of numbers in which nothing was lost: a new one begins when the broker is another process than
// before, or its data are gone. Numbers go on over epochs, unless the data are gone: then they begin at 1. A Position is good
// if its epoch reached its offset in what the broker has now.
//
// What is kept of a group is bounded by the Limits that its last Append or Extent came with. The numbers and epochs outlive
// the last of these calls by the age of the limits and KeepPositions. The data count as gone then: a position of before is
// void, as nothing tells it from one of a broker that lost everything.
//
// # Order
//
// Messages of one sender to one group are numbered in the order of the Append calls. Append has no order with Publish, nor
// with Append to another group: a hub that needs one waits for the completion, which is called behind the delivery to its
// own Handler. What it publishes then reaches every instance behind the numbered message.

// Measures of groups with history that every Broker keeps.
const (
	// MaxOnce bounds Appending.Once, in bytes.
	MaxOnce = 128
	// OnceFor is for how long an append with a Once is remembered.
	OnceFor = 2 * time.Minute
	// PageBytes bounds the payloads of a Page, in bytes, unless it has one message only.
	PageBytes = 256 << 10
	// MaxEpochs is how many epochs of a group are remembered: a position of an older one is void.
	MaxEpochs = 16
	// KeepPositions is for how long the numbers of a group outlive the age of its last message.
	KeepPositions = 7 * 24 * time.Hour
)

// ErrRefused is wrapped by the error for an append that the broker refused for good: it has no memory for it, or no permission.
var ErrRefused = errors.New("broker refused the message")

// Limits bound what is kept of a group. Each of them must be positive.
type Limits struct {
	Messages int           // no more are kept; up to 128 that are not read any more may take room
	Age      time.Duration // older messages are not kept; they are dropped when the group is used
	Bytes    int64         // of the messages, with about 110 bytes for each; the newest is kept whatever its size
}

// Position is a place in the messages of a group: behind the message with that number.
type Position struct {
	Epoch  string // at most 16 letters and digits; empty: not known
	Offset uint64 // zero: before the first
}

// String returns the position as operators see it.
func (p Position) String() string { return fmt.Sprintf("%s:%d", p.Epoch, p.Offset) }

// Extent is what is kept of a group.
type Extent struct {
	Epoch string // in force
	First uint64 // the oldest message that is kept; Last+1 where none is
	Last  uint64 // the newest message that was appended; zero before the first
	Bytes int64  // of what is kept, in the measure of Limits.Bytes
}

// Numbered is a message of a group with history. Message.From, Sender, Seq, Flags, Group, Payload and Extra are set.
type Numbered struct {
	Position
	Message Message
}

// GapReason says why messages of a group are missing.
type GapReason uint8

// The reasons.
const (
	GapTrimmed     GapReason = 1 + iota // they are not kept any more
	GapEpoch                            // what was seen behind Gap.Offset is void: its epoch didn't reach so far in what the broker has
	GapUnavailable                      // they couldn't be read in time
)

// String returns the reason as clients see it.
func (r GapReason) String() string {
	switch r {
	case GapTrimmed:
		return "TRIMMED"
	case GapEpoch:
		return "EPOCH"
	case GapUnavailable:
		return "UNAVAILABLE"
	}
	return fmt.Sprintf("GapReason(%d)", uint8(r))
}

// Gap is a break in the messages of a group. The next message that follows is Offset+1: for GapEpoch that may be lower than
// the last one seen, for the others it is higher.
type Gap struct {
	Reason GapReason
	Position
}

// Page is a stretch of what is kept of a group. It is shared between all who read it, and immutable.
type Page struct {
	Extent              // when the page was read
	Gap      *Gap       // between the position that was asked for and the messages; nil: they follow it
	Messages []Numbered // the next ones, by offset without gaps; none: the position is Extent.Last, or Gap says where it is now
}

// Appending is how a message is to be appended.
type Appending struct {
	Limits
	// Once, where not empty, is an id: while an append to the group with the same id is remembered, the message is not
	// appended. At most MaxOnce bytes.
	Once string
}

// AppendCompletion gets the outcome of an append.
type AppendCompletion interface {
	// Appended is called once, by a goroutine of the Broker or within Append. It must not block. Completions of one group
	// are called in the order of the Append calls as long as they have offsets.
	//
	// offset is the number of the message; where duplicate is set, of the earlier one with the same Once. Where this instance
	// has subscribed to the group, the message has been handed to DeliverNumbered before, unless that takes longer
	// than AppendTimeout or a gap takes its place.
	//
	// An error is one of ErrUnavailable, ErrClosed, ErrNotStarted and ErrRefused (wrapped): the message has no number and
	// never gets one. ErrUnknown: it may have been appended, once.
	Appended(offset uint64, duplicate bool, err error)
}

// AppendTimeout bounds the wait of an append, a read, and of what is missing before a numbered message. While the broker
// is known to be away, they get ErrUnavailable at once.
const AppendTimeout = 5 * time.Second

// Historian is the part of a Broker for groups with history. Its methods may be called by any goroutine once Start has
// returned, and don't block. Where done is not called within the method, a goroutine of the Broker calls it; it must
// not block. No done is called while a lock is held that a method takes.
type Historian interface {
	// Append appends m, whose Kind is KindGroup, to its group, and sends it to all instances that have subscribed, this one
	// included. The Broker keeps no reference to m after the return. done may be nil.
	Append(m *Message, a Appending, done AppendCompletion)

	// Extent returns what is kept of a group, after what is too old for l was dropped. A group without messages gets an
	// epoch by it. Where this instance had subscribed to the group before the call, no message behind Last is skipped without
	// a Gap from then on, even if the connection breaks before the next message.
	Extent(group string, l Limits, done func(Extent, error))

	// Read reads the messages behind the position from: at most PageBytes of them, off the path of DeliverNumbered. An empty
	// Epoch is good for any offset; with offset zero it means all that is kept, and is no gap. Readers of the same messages
	// share one reading. It promises for messages behind Page.Last what Extent does. A group without messages has no epoch
	// then, unless Extent was called.
	Read(group string, from Position, done func(*Page, error))

	// Purge drops all messages of a group. Its numbers and epochs stay. The Extent is that of afterwards.
	Purge(group string, done func(Extent, error))
}
