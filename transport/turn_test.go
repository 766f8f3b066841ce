package transport

import (
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"
)

// TestStaleEvent: an event of a connection that is gone does not concern the one that has its slot now.
func TestStaleEvent(t *testing.T) {
	t.Parallel()
	l := bareLoop(t, testOptions())
	c, peer := bareConn(t, l, protocolWebSocket, quietSession{}, 0)
	stale := unix.EpollEvent{Fd: int32(c.slot), Pad: int32(c.gen), Events: unix.EPOLLIN | unix.EPOLLHUP}
	old := c.Ref()
	l.destroy(c, EndLocal)
	_ = unix.Close(peer)
	l.handleEvent(&stale) // the slot is free
	again, peer := bareConn(t, l, protocolWebSocket, quietSession{}, 0)
	_ = unix.Close(peer) // reading would end it
	if again.slot != uint32(stale.Fd) {
		t.Fatal("the slot was not used again")
	}
	l.handleEvent(&stale)
	if again.state != stateOpen || old.Conn() != nil || again.Ref().Conn() != again || l.Conn(again.Slot()) != again {
		t.Errorf("state %d; the old name finds %v", again.state, old.Conn())
	}
}

// TestRefOfNothing: a Ref that names no connection finds none.
func TestRefOfNothing(t *testing.T) {
	t.Parallel()
	l := bareLoop(t, testOptions())
	if (Ref{}).Conn() != nil || (Ref{}).Loop() != nil || (Ref{loop: l, slot: 1 << 30}).Conn() != nil || l.Conn(7) != nil {
		t.Error("found a connection")
	}
}

// fill makes a connection's socket take no more.
func fill(c *Conn) {
	for {
		if _, err := unix.Write(int(c.fd), []byte("x")); err != nil {
			return
		}
	}
}

// TestGatheredCut has one connection that is in the middle of a frame and one that is before it, with the same frames:
// they can't share a copy.
func TestGatheredCut(t *testing.T) {
	t.Parallel()
	l := bareLoop(t, testOptions())
	a, peerA := bareConn(t, l, protocolWebSocket, quietSession{}, 1)
	b, peerB := bareConn(t, l, protocolWebSocket, quietSession{}, 1)
	defer unix.Close(peerA)
	defer unix.Close(peerB)
	fill(b)
	both := func(payload string) {
		m := NewMessage([]byte(payload))
		a.Send(m)
		b.Send(m)
		m.Release()
	}
	both(strings.Repeat("1", 30_000))
	l.flush()
	if a.tx.offset == 0 || b.tx.offset != 0 {
		t.Fatalf("offsets %d and %d: the test tests nothing", a.tx.offset, b.tx.offset)
	}
	both("2")
	want := frameOf(ws.OpText, strings.Repeat("1", 30_000)) + frameOf(ws.OpText, "2")
	received(t, peerB)
	var gotA, gotB string
	for a.tx != nil || b.tx != nil {
		gotA += string(received(t, peerA))
		a.markDirty()
		b.markDirty()
		l.flush()
		gotB += string(received(t, peerB))
	}
	if gotA += string(received(t, peerA)); gotA != want || gotB != want {
		t.Errorf("%d and %d bytes arrived, want %d", len(gotA), len(gotB), len(want))
	}
}

// TestWriteProgress: only a backlog that stands still makes a slow consumer, not one that is old.
func TestWriteProgress(t *testing.T) {
	t.Parallel()
	o := testOptions()
	timeout := uint32(o.WriteTimeout / time.Millisecond)
	slow := 0
	s := &hooks{violation: func(*Conn, Violation) { slow++ }}
	l := bareLoop(t, o)
	c, peer := bareConn(t, l, protocolWebSocket, s, 1)
	defer unix.Close(peer)
	turn := func() {
		c.markDirty()
		l.flush()
	}
	sendNumbered(c, 0, 1, 8) // the state that this used is kept for the next backlog
	turn()
	l.clock.now += 2 * timeout
	fill(c)
	sendNumbered(c, 1, 100, 1000)
	turn()
	l.clock.now += timeout - 1
	l.check(c)
	received(t, peer)
	turn()
	l.clock.now += timeout - 1
	l.check(c)
	if slow != 0 || c.tx == nil {
		t.Fatalf("slow %d times, backlog %v", slow, c.tx)
	}
	l.clock.now += 2
	l.check(c)
	if slow != 1 || c.state != stateClosing {
		t.Errorf("slow %d times, state %d", slow, c.state)
	}
}

// TestPendingIsBounded: what one read makes a session send leaves in between.
func TestPendingIsBounded(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.SendQueueBytes = 1 << 30
	l := bareLoop(t, o)
	m := NewMessage(nil)
	defer m.Release()
	most := 0
	s := &hooks{message: func(c *Conn, _ bool, _ []byte) {
		for range 100 {
			c.Send(m)
		}
		most = max(most, l.out.pending)
	}}
	c, peer := bareConn(t, l, protocolWebSocket, s, 0)
	defer unix.Close(peer)
	l.feed(c, []byte(strings.Repeat(string(text("")), 2000)))
	if most == 0 || most > maxPending+100 {
		t.Errorf("%d frames were queued at once", most)
	}
}

// TestBrokenWithinSend: a Send that finds its connection broken ends nothing; the loop does, at the end of the turn.
func TestBrokenWithinSend(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.SendQueueBytes = 4 << 10
	var ends []End
	l := bareLoop(t, o)
	c, peer := bareConn(t, l, protocolWebSocket, &hooks{closed: func(_ *Conn, end End) { ends = append(ends, end) }}, 0)
	_ = unix.Close(peer)
	if n := sendNumbered(c, 0, 100, 1000); n == 0 || n == 100 {
		t.Errorf("queued %d messages", n)
	}
	if c.state != stateOpen || c.flags&flagBroken == 0 || len(ends) != 0 || c.Ref().Conn() == nil {
		t.Errorf("state %d, flags %b, ends %v", c.state, c.flags, ends)
	}
	c.Close(1000, "", NewMessage([]byte("in vain")))
	l.flush()
	if c.state != stateFree || len(ends) != 1 {
		t.Errorf("state %d, ends %v", c.state, ends)
	}
}
