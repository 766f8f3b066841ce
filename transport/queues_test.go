package transport

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// queueRig is connections whose clients don't read, on a loop that doesn't run.
type queueRig struct {
	l     *Loop
	conns []*Conn
	peers []int
	ended []*Conn // in this order
}

func newQueueRig(t *testing.T, total, conns int) *queueRig {
	t.Helper()
	o := testOptions()
	o.SendQueueTotal = total
	r := &queueRig{l: bareLoop(t, o)}
	h := &hooks{violation: func(c *Conn, v Violation) {
		if v != QueuesFull {
			t.Errorf("a session was told %s", violationNames[v])
		}
		r.ended = append(r.ended, c)
		c.Abort(1008, "", nil)
	}}
	for range conns {
		c, peer := bareConn(t, r.l, protocolWebSocket, h, 1)
		t.Cleanup(func() { _ = unix.Close(peer) })
		r.conns, r.peers = append(r.conns, c), append(r.peers, peer)
	}
	return r
}

// TestQueueTotal: the largest queues give way when all together take too much, and no more of them than must.
func TestQueueTotal(t *testing.T) {
	t.Parallel()
	const total = 1 << 20
	r := newQueueRig(t, total, 10)
	message := strings.Repeat("x", 16_000) // 16 KiB of memory with what is around it
	for round := range 10 {
		for i := round; i < 10; i++ { // the i-th gets i+1 messages
			if m := NewMessage([]byte(message)); true {
				r.conns[i].Send(m)
				m.Release()
			}
			r.l.flush()
			if r.l.out.kept > total {
				t.Fatalf("%d bytes are kept", r.l.out.kept)
			}
		}
	}
	if len(r.ended) > 0 {
		t.Fatalf("%d connections were ended with %d bytes", len(r.ended), r.l.out.kept)
	}
	for i := 0; len(r.ended) == 0 && i < 100; i++ {
		m := NewMessage([]byte(message))
		r.conns[i%10].Send(m)
		m.Release()
		r.l.flush()
	}
	if len(r.ended) == 0 || len(r.ended) > 2 || !slices.Contains(r.ended, r.conns[9]) {
		t.Errorf("%d connections were ended, the one with the largest queue among them: %v", len(r.ended), slices.Contains(r.ended, r.conns[9]))
	}
	if n := r.l.srv.refusals[slices.Index(causes[:], causeQueues)].Load(); n != uint64(len(r.ended)) {
		t.Errorf("%d are counted", n)
	}
}

// TestQueueTotalCountsMemory: a message for many receivers is in memory once.
func TestQueueTotalCountsMemory(t *testing.T) {
	t.Parallel()
	r := newQueueRig(t, 200_000, 50)
	for range 5 {
		m := NewMessage([]byte(strings.Repeat("x", 30_000)))
		for _, c := range r.conns {
			c.Send(m)
		}
		m.Release()
		r.l.flush()
	}
	if len(r.ended) > 0 {
		t.Errorf("%d connections were ended", len(r.ended))
	}
	if r.l.out.queued < 5_000_000 || r.l.out.kept > 200_000 {
		t.Errorf("%d bytes wait, %d are kept", r.l.out.queued, r.l.out.kept)
	}
}

// TestQueueTotalSparesReaders: what leaves within the turn does not count.
func TestQueueTotalSparesReaders(t *testing.T) {
	t.Parallel()
	r := newQueueRig(t, 100_000, 1)
	h := &hooks{violation: func(_ *Conn, v Violation) { t.Errorf("a reader was told %s", violationNames[v]) }}
	c, peer := bareConn(t, r.l, protocolWebSocket, h, 0)
	defer unix.Close(peer)
	for range 10 {
		for i := range 100 {
			m := NewMessage([]byte(numbered(i, 1200)))
			c.Send(m)
			m.Release()
		}
		r.l.flush()
		received(t, peer)
	}
}
