package transport

import (
	"strings"
	"sync/atomic"
	"time"

	"github.com/mastersocket/mastersocket/internal/handshake"
)

// TurnBuckets are the upper bounds of the histogram of the loops' turns, in seconds.
var TurnBuckets = [...]float64{0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1}

// turnStats counts on the loop's goroutine; publish makes the counts visible.
type turnStats struct {
	bytesIn, bytesOut, writes uint64
}

// publicStats is what others may read of a loop's counts.
type publicStats struct {
	bytesIn, bytesOut, writes atomic.Uint64
	queued, kept              atomic.Int64
	turns                     [len(TurnBuckets) + 1]atomic.Uint64
	turnNanos                 atomic.Uint64
}

// publish makes the counts of the turn that took d visible.
func (l *Loop) publish(d time.Duration) {
	p, s := &l.public, &l.stats
	p.bytesIn.Store(s.bytesIn)
	p.bytesOut.Store(s.bytesOut)
	p.writes.Store(s.writes)
	p.queued.Store(int64(l.out.queued))
	p.kept.Store(int64(l.out.kept))
	i, secs := 0, d.Seconds()
	for i < len(TurnBuckets) && secs > TurnBuckets[i] {
		i++
	}
	p.turns[i].Add(1)
	p.turnNanos.Add(uint64(d))
}

// Traffic is what passed over one connection since it was opened.
type Traffic struct {
	BytesIn     uint64 // read from the socket, the handshake included
	BytesOut    uint64 // written to the socket
	MessagesOut uint64 // messages, and control frames of RFC 6455 section 5.5, that left whole
}

// Traffic returns what passed over the connection so far.
func (c *Conn) Traffic() Traffic {
	t := *c.loop.table.trafficOf(c)
	if c.protocol == protocolWebSocket && t.MessagesOut > 0 {
		t.MessagesOut-- // the answer to the handshake
	}
	return t
}

// LoopStats are the counts of one loop since the server started.
type LoopStats struct {
	Connections int
	BytesIn     uint64 // read from sockets
	BytesOut    uint64 // written to sockets
	Writes      uint64 // system calls that wrote
	QueueBytes  int64  // unsent backlog of all connections, at the end of the last turn
	QueueMemory int64  // what it takes of Options.SendQueueTotal: messages for many receivers count once
	InboxBytes  int    // mail that waits
	// Turns counts turns by how long they took: how long anything else on the loop had to wait. Turns[i] is not
	// cumulative; the last element counts those longer than the last bound of TurnBuckets.
	Turns     [len(TurnBuckets) + 1]uint64
	TurnTotal time.Duration
}

// Stats are the counts of a server since it started.
type Stats struct {
	Loops      []LoopStats
	Accepted   uint64            // connections taken from the listeners
	Refusals   map[string]uint64 // handshakes, frames and connections refused by the transport, by cause
	Gated      bool              // nothing is read from clients at the moment
	Limit      int               // connections that may be open at the same time
	QueueLimit int               // Options.SendQueueTotal
	TLS        TLSStats
}

// Connections returns the number of connections, those still shaking hands or closing included.
func (s *Stats) Connections() int {
	n := 0
	for _, l := range s.Loops {
		n += l.Connections
	}
	return n
}

// Stats returns the server's counts. Any goroutine may call it.
func (s *Server) Stats() Stats {
	st := Stats{
		Accepted: s.accepted.Load(), Refusals: make(map[string]uint64), Gated: s.gate.Closed(),
		Limit: min(s.opts.MaxConnections, int(s.maxFDs)), TLS: s.tls.snapshot(), QueueLimit: s.opts.SendQueueTotal,
	}
	for i, c := range causes {
		st.Refusals[strings.ReplaceAll(string(c), " ", "_")] = s.refusals[i].Load()
	}
	for i, r := range handshake.Rejections() {
		st.Refusals[r.Cause] += s.rejected[i].Load()
	}
	for _, l := range s.loops {
		st.Loops = append(st.Loops, l.snapshot())
	}
	return st
}

func (l *Loop) snapshot() LoopStats {
	p := &l.public
	st := LoopStats{
		Connections: int(l.conns.Load()),
		BytesIn:     p.bytesIn.Load(),
		BytesOut:    p.bytesOut.Load(),
		Writes:      p.writes.Load(),
		QueueBytes:  p.queued.Load(),
		QueueMemory: p.kept.Load(),
		InboxBytes:  l.inbox.backlog(),
		TurnTotal:   time.Duration(p.turnNanos.Load()),
	}
	for i := range p.turns {
		st.Turns[i] = p.turns[i].Load()
	}
	return st
}
