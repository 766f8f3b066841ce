package hub

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/mastersocket/mastersocket/intent"
	"github.com/mastersocket/mastersocket/opcodes"
)

// Drop is why a message did not reach a receiver.
type Drop uint8

// The reasons to drop a message. DropClosing counts receivers, the others messages.
const (
	DropNoReceiver        Drop = iota // no client matched the intent
	DropReceiverGone                  // the one receiver left while the message was on its way
	DropForbidden                     // the sender's token may not send the intent
	DropClosing                       // a receiver was being disconnected, as a slow consumer for instance
	DropBrokerUnavailable             // not published: the broker is away and the buffer full, or its time over
	DropOutcomeUnknown                // published, but the broker's connection broke before the answer
	DropOverloaded                    // a FENCE: its sender sends too many, or too many wait already
	DropLate                          // a REPLY to a request that was over
	DropReservedMember                // a message to a group with history has a member that the hub adds
	DropOldRelease                    // an instance with receivers is of a release that can't select them
	numDrops              = iota
)

var dropNames = [numDrops]string{
	"no_receiver", "receiver_gone", "forbidden", "closing", "broker_unavailable", "outcome_unknown",
	"overloaded", "late", "reserved_member", "old_release",
}

// String returns the reason's name in metrics.
func (d Drop) String() string { return dropNames[d] }

// dropOf returns the reason to drop a message that goes with an error code.
func dropOf(code opcodes.ErrorCode) Drop {
	switch code {
	case opcodes.CodeReceiverGone:
		return DropReceiverGone
	case opcodes.CodeForbidden:
		return DropForbidden
	case opcodes.CodeBrokerUnavailable:
		return DropBrokerUnavailable
	case opcodes.CodeOutcomeUnknown:
		return DropOutcomeUnknown
	case opcodes.CodeReservedMember:
		return DropReservedMember
	case opcodes.CodeOldRelease:
		return DropOldRelease
	case opcodes.CodeOverloaded, opcodes.CodeTooManyRequests, opcodes.CodeDuplicateID:
		return DropOverloaded
	}
	return DropNoReceiver
}

// changeResults are what became of changes of clients' groups, in the order in which they are counted: done, or the code of
// the refusal. The last one stands for all others.
var changeResults = [numChangeResults]opcodes.ErrorCode{
	"", opcodes.CodeForbidden, opcodes.CodeTooManyGroups, opcodes.CodePrimaryGroup, opcodes.CodeConflict,
	opcodes.CodeBrokerUnavailable, "OTHER",
}

const numChangeResults = 7

// maxTypes is how many service types there can be, the hub's own included.
const maxTypes = 8

// numTargets is the number of intent targets, intent.None included.
const numTargets = int(intent.Any) + 1

// drainReasons are the reasons of DRAIN, in the order in which they are counted.
var drainReasons = [numDrainReasons]opcodes.DrainReason{
	opcodes.DrainRestart, opcodes.DrainRebalance, opcodes.DrainExpiry,
}

const numDrainReasons = 3

// counters are written by one loop each, so that counting never makes a cache line travel between cores.
type counters struct {
	types     [maxTypes]typeCounters
	drops     [numDrops]atomic.Uint64
	reasons   [opcodes.NumReasons]atomic.Uint64
	notices   [numDrainReasons]atomic.Uint64     // DRAINs sent
	fences    atomic.Uint64                      // FENCEs delivered
	held      atomic.Uint64                      // times that a client waited for one of its receivers
	published [numTargets]atomic.Uint64          // EVENT and REPLY of senders without a connection, by target
	changes   [2][numChangeResults]atomic.Uint64 // SUBSCRIBEs and UNSUBSCRIBEs, by their results
	requests  requestCounters
	movable   atomic.Int64 // clients that asked for DRAIN
	strangers atomic.Int64 // connections that have not identified
	presence  presenceCounters
	exclusive exclusiveCounters
	history   historyCounters
	_         [64]byte
}

// presenceCounters are what is counted of groups that are watched.
type presenceCounters struct {
	watched  atomic.Int64  // groups whose home is the loop
	watchers atomic.Int64  // groups that each client watches, all in all
	frames   atomic.Uint64 // PRESENCEs sent
	restarts atomic.Uint64 // of watchers that did not keep up
	sent     atomic.Uint64 // messages to other instances
	asks     atomic.Uint64 // of them, those that ask for members
	gaps     atomic.Uint64 // losses in what other instances sent
}

// exclusiveCounters are what is counted of exclusive groups.
type exclusiveCounters struct {
	granted atomic.Uint64
	lost    atomic.Uint64
}

// HistoryRefusal is why a message to a group with history got no number.
type HistoryRefusal uint8

// The reasons.
const (
	RefusedUnavailable HistoryRefusal = iota // the broker is away
	RefusedUnknown                           // the broker's connection broke before the answer: it may have a number
	RefusedBroker                            // the broker has no memory, or no permission
	RefusedGroups                            // the rule's groups are too many
	RefusedReserved                          // it has a member that the hub adds
	numHistoryRefusals = iota
)

var historyRefusalNames = [numHistoryRefusals]string{"broker_unavailable", "outcome_unknown", "broker_refused", "too_many_groups", "reserved_member"}

// String returns the reason's name in metrics.
func (r HistoryRefusal) String() string { return historyRefusalNames[r] }

// historyGaps is how many reasons of gaps there are.
const historyGaps = 3

// historyCounters are what is counted of groups with history.
type historyCounters struct {
	appended       atomic.Uint64
	duplicates     atomic.Uint64
	refused        [numHistoryRefusals]atomic.Uint64
	readers        atomic.Int64  // members that recover
	caughtUp       atomic.Uint64 // that went over to live
	recovered      atomic.Uint64 // messages that these were sent
	recoveredBytes atomic.Uint64
	gaps           [historyGaps]atomic.Uint64 // by broker.GapReason less 1: on loops and of members that recover
}

// typeCounters are what is counted for each service type.
type typeCounters struct {
	clients    atomic.Int64              // identified
	received   [numTargets]atomic.Uint64 // EVENT and REPLY accepted, by target
	deliveries atomic.Uint64
}

func (c *counters) drop(d Drop) { c.drops[d].Add(1) }

// change counts a change of a client's groups, which was refused with a code unless that is empty.
func (c *counters) change(op opcodes.Op, code opcodes.ErrorCode) {
	i := slices.Index(changeResults[:], code)
	if i < 0 {
		i = numChangeResults - 1
	}
	c.changes[op-opcodes.Subscribe][i].Add(1)
}

// RequestOutcome is how a request ended.
type RequestOutcome uint8

// The outcomes.
const (
	RequestAnswered       RequestOutcome = iota // every receiver answered, or the one of an ANY
	RequestAnsweredInPart                       // some receivers did
	RequestUnanswered                           // all receivers passed or went
	RequestUndelivered                          // no client got it that could answer
	RequestTimedOut                             // its time was over before
	RequestCancelled                            // its sender wanted no answer any more
	numRequestOutcomes    = iota
)

var requestOutcomeNames = [numRequestOutcomes]string{
	"answered", "answered_in_part", "unanswered", "undelivered", "timed_out", "cancelled",
}

// String returns the outcome's name in metrics.
func (o RequestOutcome) String() string { return requestOutcomeNames[o] }

// SettleBounds are the upper bounds of the histogram of the time that requests take.
var SettleBounds = [...]time.Duration{
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond,
	50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second,
	2500 * time.Millisecond, 5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute,
}

// requestCounters are what is counted of requests.
type requestCounters struct {
	open     atomic.Int64
	times    [numRequestOutcomes]settleTimes
	retries  atomic.Uint64 // times that an ANY was handed on to another member
	passed   atomic.Uint64 // receivers that said that they don't answer
	expired  atomic.Uint64 // messages that were not delivered, because their time was over
	released atomic.Uint64 // parts that were never cancelled, and ended long after their time
}

// settleTimes are how long the requests of one outcome took.
type settleTimes struct {
	buckets [len(SettleBounds) + 1]atomic.Uint64
	sum     atomic.Int64 // in nanoseconds
}

// settled counts a request that took so long.
func (c *requestCounters) settled(o RequestOutcome, took time.Duration) {
	t := &c.times[o]
	i := 0
	for i < len(SettleBounds) && took > SettleBounds[i] {
		i++
	}
	t.buckets[i].Add(1)
	t.sum.Add(int64(took))
}
