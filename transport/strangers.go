package transport

import (
	"math/bits"
	"net/netip"

	"github.com/mastersocket/mastersocket/internal/handshake"
)

// The buffers of connections that are not trusted are bounded by Options.UntrustedBytes together. When they pass the
// bound, one of some connections gives way: of those of the address that keeps most, the one that keeps most and, where
// several keep about as much, the oldest. So strangers that send a part of something large, and never the rest, don't
// keep out a client whose few bytes arrive in two reads.

const (
	candidates     = 16   // connections that are compared
	candidateSlots = 8192 // slots that are looked at to find them
)

// afford accounts for n bytes that were added to the buffers of a connection. It returns false if that was too much, in
// which case the connection is closing.
func (l *Loop) afford(c *Conn, n int) bool {
	l.charge(c, n)
	for c.flags&flagTrusted == 0 && l.in.untrusted > l.srv.opts.UntrustedBytes/len(l.srv.loops) {
		loser := l.loser(c)
		l.dropStranger(loser)
		if loser == c {
			return false
		}
	}
	return true
}

// dropStranger ends a connection for lack of memory.
func (l *Loop) dropStranger(c *Conn) {
	if c.flags&flagTLS != 0 && l.secureOf(c) == nil { // it can't be told
		l.srv.countRejection(handshake.RejectOverload, &Request{}, c.RemoteAddr())
		l.destroy(c, EndLocal)
		return
	}
	l.report(c, NoMemory)
}

// keeps returns how many bytes the connection's buffers count for in Options.UntrustedBytes.
func (c *Conn) keeps() int {
	if c.flags&flagTrusted != 0 {
		return 0
	}
	n := 0
	if c.rx != nil {
		n = cap(c.rx.buf) + cap(c.rx.msg)
	}
	if x, ok := c.session.(*Exchange); ok {
		n += cap(x.Body)
	}
	return n
}

// mayBeDropped reports whether the connection has not begun to close.
func (c *Conn) mayBeDropped() bool { return c.state != stateFree && c.state < stateClosing }

// loser returns the connection that gives way so that c may keep its buffers: c itself, perhaps.
func (l *Loop) loser(c *Conn) *Conn {
	var found [candidates]*Conn
	var from [candidates]netip.Addr
	found[0], from[0] = c, c.RemoteAddr().Addr()
	n, slots := 1, l.table.slots()
	for i := uint32(0); i < min(slots, candidateSlots) && n < candidates; i++ {
		l.in.cursor = (l.in.cursor + 1) % slots
		if o := l.table.at(l.in.cursor); o != c && o.mayBeDropped() && o.keeps() > 0 {
			found[n], from[n] = o, o.RemoteAddr().Addr()
			n++
		}
	}
	var most netip.Addr
	for i, bytes := 0, -1; i < n; i++ {
		sum := 0
		for k := range n {
			if from[k] == from[i] {
				sum += found[k].keeps()
			}
		}
		if sum > bytes {
			most, bytes = from[i], sum
		}
	}
	var loser *Conn
	for i, o := range found[:n] {
		if from[i] == most && (loser == nil || o.givesWayBefore(loser)) {
			loser = o
		}
	}
	return loser
}

// givesWayBefore compares two connections of one address.
func (c *Conn) givesWayBefore(other *Conn) bool {
	mine, theirs := bits.Len(uint(c.keeps())), bits.Len(uint(other.keeps()))
	if mine != theirs {
		return mine > theirs
	}
	return int32(c.since-other.since) < 0
}
