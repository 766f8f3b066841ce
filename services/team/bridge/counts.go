package bridge

import "sync/atomic"

// Words that counts are kept by. They are labels of metrics: each set is fixed.

// badInput is something that the server should not have sent.
type badInput string

const (
	badMalformed    badInput = "malformed"     // no frame at all
	badBinary       badInput = "binary"        // a binary message
	badUnknownType  badInput = "unknown_type"  // a frame of no known type
	badMisplaced    badInput = "misplaced"     // a frame that doesn't belong on this connection
	badUnknownTeam  badInput = "unknown_team"  // about a team that never joined, or has left
	badUnasked      badInput = "unasked"       // an answer that nobody waits for
	badPong         badInput = "unasked_pong"  // a pong to no ping that is open
	badTooManyTeams badInput = "too_many"      // a join beyond the number of teams
	badServerError  badInput = "server_error"  // an error event
	badRepeatedJoin badInput = "repeated_join" // a join of a team that is there, which is fine
)

var badInputs = []badInput{
	badMalformed, badBinary, badUnknownType, badMisplaced, badUnknownTeam, badUnasked, badPong, badTooManyTeams,
	badServerError, badRepeatedJoin,
}

// Reason is why a team's connection ended, or could not be made.
type Reason string

// Reasons for which an open connection ended: the "reason" of team.disconnected.
const (
	ReasonLeft        Reason = "left"         // the team has left
	ReasonGoodbye     Reason = "goodbye"      // the server said goodbye
	ReasonShutdown    Reason = "shutdown"     // the bridge ends
	ReasonClosed      Reason = "closed"       // the server closed the WebSocket
	ReasonLost        Reason = "lost"         // the network broke
	ReasonPongTimeout Reason = "pong_timeout" // a ping was not answered in time
	ReasonTooBig      Reason = "too_big"      // a message beyond the greatest
	ReasonMemory      Reason = "memory"       // too many large messages at once
	ReasonSlow        Reason = "slow"         // a message was not complete in time
	ReasonProtocol    Reason = "protocol"     // the WebSocket protocol was broken
)

// Reasons for which an attempt to connect failed.
const (
	ReasonNoAnswer   Reason = "no_answer"   // team.connect was not answered in time
	ReasonRefused    Reason = "refused"     // it was answered with an error
	ReasonBadURL     Reason = "bad_url"     // it was answered without a URL that can be used
	ReasonNotAllowed Reason = "not_allowed" // the URL points to a host or address that is not allowed
	ReasonDial       Reason = "dial"        // there was no connection
	ReasonHandshake  Reason = "handshake"   // there was no WebSocket
	ReasonNoHello    Reason = "no_hello"    // it was open, and not a word was said in time
	ReasonGlobalLost Reason = "global_lost" // the Global connection was lost while the answer was awaited
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

// outcome is what became of an event.
type outcome string

const (
	outPublished  outcome = "published"       // the hub acknowledged it
	outNoReceiver outcome = "no_receiver"     // the hub had nobody to give it to
	outUnknown    outcome = "outcome_unknown" // the connection to the hub broke with it on its way
	outForbidden  outcome = "forbidden"       // the token may not send there
	outBroker     outcome = "broker_unavailable"
	outTooBig     outcome = "too_big"     // more than the hub takes
	outQueueFull  outcome = "queue_full"  // dropped, the oldest first, while the hub was away
	outBadTarget  outcome = "bad_target"  // the team's id does not fit into the template
	outUndeliverd outcome = "not_flushed" // still queued when the bridge ended
	outFailed     outcome = "failed"      // anything else
)

var outcomes = []outcome{
	outPublished, outNoReceiver, outUnknown, outForbidden, outBroker, outTooBig, outQueueFull, outBadTarget,
	outUndeliverd, outFailed,
}

// counters counts by word. The words are given when it is made.
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

// counts is all that the bridge counts.
type counts struct {
	received, props        atomic.Uint64 // messages from teams
	connects, reconnects   atomic.Uint64 // team connections made, and those among them that were not the team's first
	globals                atomic.Uint64 // Global connections made
	healthchecks           atomic.Uint64 // answered
	evicted                atomic.Uint64 // teams forgotten
	presumed               atomic.Uint64 // teams that were taken to have left
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

// outcome counts what became of an event.
func (c *counts) outcome(name string, o outcome) {
	if name == eventMessage {
		c.messages.add(o)
		return
	}
	c.otherOutcome.add(o)
}
