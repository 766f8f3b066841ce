package bridge

import "sync/atomic"

// Labels of counts and metrics. Each set is fixed.

// badInput is a kind of invalid input from the server.
type badInput string

const (
	badMalformed    badInput = "malformed"     // not a frame
	badBinary       badInput = "binary"        // a binary message
	badUnknownType  badInput = "unknown_type"  // a frame of an unknown type
	badMisplaced    badInput = "misplaced"     // a frame that doesn't belong on this connection
	badUnknownTeam  badInput = "unknown_team"  // about a team that never joined or has left
	badUnasked      badInput = "unasked"       // an answer without a question
	badPong         badInput = "unasked_pong"  // a pong without an open ping
	badTooManyTeams badInput = "too_many"      // a join beyond MaxTeams
	badServerError  badInput = "server_error"  // an error event
	badRepeatedJoin badInput = "repeated_join" // a join of a present team, which is harmless
)

var badInputs = []badInput{
	badMalformed, badBinary, badUnknownType, badMisplaced, badUnknownTeam, badUnasked, badPong, badTooManyTeams,
	badServerError, badRepeatedJoin,
}

// Reason is the cause for which a team's connection ended or could not be made.
type Reason string

// Reasons for which an open connection ended: the "reason" of team.disconnected.
const (
	ReasonLeft        Reason = "left"         // the team has left
	ReasonGoodbye     Reason = "goodbye"      // the server said goodbye
	ReasonShutdown    Reason = "shutdown"     // the bridge ends
	ReasonClosed      Reason = "closed"       // the server closed the WebSocket
	ReasonLost        Reason = "lost"         // the network broke
	ReasonPongTimeout Reason = "pong_timeout" // a ping was not answered in time
	ReasonTooBig      Reason = "too_big"      // a message beyond MaxFrameBytes
	ReasonMemory      Reason = "memory"       // too many large messages at once
	ReasonSlow        Reason = "slow"         // a message was not complete in time
	ReasonProtocol    Reason = "protocol"     // the server violated the WebSocket protocol
)

// Reasons for which an attempt to connect failed.
const (
	ReasonNoAnswer   Reason = "no_answer"   // team.connect was not answered in time
	ReasonRefused    Reason = "refused"     // team.connect was answered with an error
	ReasonBadURL     Reason = "bad_url"     // team.connect was answered without a usable URL
	ReasonNotAllowed Reason = "not_allowed" // the URL points to a host or address that is not allowed
	ReasonDial       Reason = "dial"        // the dial failed
	ReasonHandshake  Reason = "handshake"   // the handshake failed
	ReasonNoHello    Reason = "no_hello"    // it was open, but no frame came in time
	ReasonGlobalLost Reason = "global_lost" // the Global connection was lost before the answer
)

var (
	endReasons = []Reason{
		ReasonLeft, ReasonGoodbye, ReasonShutdown, ReasonClosed, ReasonLost, ReasonPongTimeout, ReasonTooBig,
		ReasonMemory, ReasonSlow, ReasonProtocol,
	}
	failReasons = append([]Reason{
		ReasonNoAnswer, ReasonRefused, ReasonBadURL, ReasonNotAllowed, ReasonDial, ReasonHandshake, ReasonNoHello,
		ReasonGlobalLost,
	}, endReasons...)
)

// outcome is the outcome of an event.
type outcome string

const (
	outPublished  outcome = "published"       // the hub acknowledged it
	outNoReceiver outcome = "no_receiver"     // the hub had no receiver for it
	outUnknown    outcome = "outcome_unknown" // the connection to the hub broke before the acknowledgement
	outForbidden  outcome = "forbidden"       // the token may not send there
	outBroker     outcome = "broker_unavailable"
	outTooBig     outcome = "too_big"     // beyond the hub's message size limit
	outQueueFull  outcome = "queue_full"  // dropped, the oldest first, while the hub was away
	outBadTarget  outcome = "bad_target"  // the team's id does not fit into the template
	outUndeliverd outcome = "not_flushed" // still queued when the bridge ended
	outFailed     outcome = "failed"      // anything else
)

var outcomes = []outcome{
	outPublished, outNoReceiver, outUnknown, outForbidden, outBroker, outTooBig, outQueueFull, outBadTarget,
	outUndeliverd, outFailed,
}

// counters counts by label. Its set of labels is fixed.
type counters[K ~string] map[K]*atomic.Uint64

func newCounters[K ~string](keys []K) counters[K] {
	c := make(counters[K], len(keys))
	for _, k := range keys {
		c[k] = new(atomic.Uint64)
	}
	return c
}

func (c counters[K]) add(k K) { c[k].Add(1) }

func (c counters[K]) snapshot() map[K]uint64 {
	m := make(map[K]uint64, len(c))
	for k, n := range c {
		m[k] = n.Load()
	}
	return m
}

// counts holds all counts of the bridge.
type counts struct {
	received, props        atomic.Uint64 // messages from teams
	connects, reconnects   atomic.Uint64 // team connections made, and those that were not the team's first
	globals                atomic.Uint64 // Global connections made
	healthchecks           atomic.Uint64 // answered
	evicted                atomic.Uint64 // teams forgotten
	presumed               atomic.Uint64 // teams presumed to have left
	bad                    counters[badInput]
	failed, ended          counters[Reason]  // attempts to connect; connections
	messages, otherOutcome counters[outcome] // of team.message, of all other events
}

func newCounts() *counts {
	return &counts{
		bad: newCounters(badInputs), failed: newCounters(failReasons), ended: newCounters(endReasons),
		messages: newCounters(outcomes), otherOutcome: newCounters(outcomes),
	}
}

// outcome counts the outcome of an event.
func (c *counts) outcome(name string, o outcome) {
	if name == eventMessage {
		c.messages.add(o)
		return
	}
	c.otherOutcome.add(o)
}
