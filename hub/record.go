package hub

import (
	"fmt"
	"time"

	"github.com/mastersocket/mastersocket/hub/internal/journal"
	"github.com/mastersocket/mastersocket/hub/internal/roster"
	"github.com/mastersocket/mastersocket/opcodes"
)

// This file records what happens, for the event log that operators read.

// LogKind is a kind of event in the event log.
type LogKind uint8

// The kinds.
const (
	LogConnected      LogKind = iota // a client has identified
	LogIdentifyFailed                // a connection ended before it had identified
	LogDisconnected
	LogSlowConsumer // disconnected, because it did not read
	LogKicked       // disconnected by an operator
	LogBroker       // the connection to the other instances was lost, or is back
	LogNode         // another instance is gone
	LogDrain        // this instance drains, or its last client has gone
	LogRebalance    // this instance tells clients to go to others
	LogReload       // of the configuration
	LogOperation    // what an operator did by the admin API of this instance
	numLogKinds     = iota
)

var logKindNames = [numLogKinds]string{
	"connected", "identify_failed", "disconnected", "slow_consumer", "kicked", "broker", "node", "drain", "rebalance", "reload",
	"operation",
}

// String returns the kind's name in the API.
func (k LogKind) String() string { return logKindNames[k] }

// refusalsRecorded is how many ends of connections that had not identified a loop records in a second: strangers could
// push out the rest otherwise. The others are counted in the next entry.
const refusalsRecorded = 10

// Record adds an event of the instance, not of a client, to the event log. by is the name of the operator's token, or empty.
func (h *Hub) Record(k LogKind, reason, detail, by string) {
	h.journal.Add(time.Now(), &journal.Entry{Kind: uint8(k), Rare: true, Reason: reason, Detail: detail, By: by})
}

// recordConnected adds that the client has identified.
func (s *session) recordConnected(now time.Time) {
	e := journal.Entry{Kind: uint8(LogConnected)}
	if n := len(s.more()); n > 0 {
		e.Detail = fmt.Sprintf("in %d groups", n+1)
	}
	s.record(now, &e)
}

// recordEnd adds that the connection ends. The session is still what it was.
func (s *session) recordEnd(r opcodes.Reason) {
	e := journal.Entry{Kind: uint8(LogDisconnected), Reason: r.String()}
	switch {
	case s.phase == phaseOver:
		return
	case s.phase != phaseIdentified:
		if r == opcodes.NoReason || r == opcodes.ServerRestart {
			return // it went by itself, or this instance goes
		}
		sh := s.shard
		if !sh.refusals.Take(sh.loop.Clock()) {
			sh.unrecorded++
			return
		}
		e.Kind, e.Rare, e.Omitted, sh.unrecorded = uint8(LogIdentifyFailed), true, sh.unrecorded, 0
	case r == opcodes.SlowConsumer:
		e.Kind, e.Rare = uint8(LogSlowConsumer), true
		e.Detail = fmt.Sprintf("%d bytes unsent, none left for %v", s.conn.QueueBytes(), s.conn.Stalled().Round(time.Millisecond))
	case r == opcodes.Kicked:
		e.Kind, e.Rare = uint8(LogKicked), true
	case r == opcodes.NoReason && s.shard.ending == roster.Lost:
		e.Detail = "connection lost"
	case r != opcodes.NoReason && r != opcodes.ServerRestart:
		e.Rare = true
	}
	s.record(time.Now(), &e)
}

// record adds an event of the client.
func (s *session) record(now time.Time, e *journal.Entry) {
	e.Type, e.Client, e.Address, e.Token = s.kind, s.id, s.conn.RemoteAddr(), s.tokenName()
	if s.about != nil {
		e.Name, e.Subject = s.about.name, s.about.subject
	}
	if s.first.group != nil {
		e.Group = s.first.group.name
	}
	s.shard.hub.journal.Add(now, e)
}
