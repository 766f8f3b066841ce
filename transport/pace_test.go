package transport

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"
)

// pacedConn returns a connection of a loop that doesn't run, whose rests end when the test says so.
func pacedConn(t *testing.T, o Options, s Session, buffer int) (*Loop, *Conn, int) {
	t.Helper()
	o.TCPGap = time.Hour
	l := bareLoop(t, o)
	c, peer := bareConn(t, l, protocolPacedTCP, s, buffer)
	t.Cleanup(func() { _ = unix.Close(peer) })
	return l, c, peer
}

// endAllRests does what the loop does when the rests are over.
func endAllRests(l *Loop) {
	l.endRests(l.srv.Clock() + 2*l.pacer.gap)
	l.flush()
}

// TestPacedMessages: one message leaves, and the next when the rest is over, however they were queued.
func TestPacedMessages(t *testing.T) {
	t.Parallel()
	l, c, peer := pacedConn(t, testOptions(), quietSession{}, 0)
	sendNumbered(c, 0, 3, 20)
	l.flush()
	sendNumbered(c, 3, 1, 20)
	l.flush()
	c.Close(ws.StatusNormalClosure, "", NewMessage([]byte("last")))
	l.flush()
	for i, want := range []string{numbered(0, 20), numbered(1, 20), numbered(2, 20), numbered(3, 20), "last"} {
		if got := string(received(t, peer)); got != want+"\n" {
			t.Fatalf("chunk %d is %q, want %q", i, got, want)
		}
		if wait := l.pacer.untilRestEnds(l.srv.Clock(), 5); wait != 5 {
			t.Errorf("the loop would wait %d ms", wait)
		}
		if c.flags&flagWantWrite != 0 {
			t.Error("a resting connection waits for the socket")
		}
		endAllRests(l)
	}
	if n, err := unix.Read(peer, make([]byte, 1)); n != 0 || err != nil {
		t.Errorf("behind the last message: %d, %v; want the end", n, err)
	}
	if n := len(l.pacer.resting); n != 0 {
		t.Errorf("%d connections are kept as resting", n)
	}
}

// TestPacedPartialWrite: a message that the socket takes in part is one message all the same.
func TestPacedPartialWrite(t *testing.T) {
	t.Parallel()
	l, c, peer := pacedConn(t, testOptions(), quietSession{}, 1)
	first, second := strings.Repeat("a", 30_000), strings.Repeat("b", 100)
	c.Send(NewMessage([]byte(first)))
	c.Send(NewMessage([]byte(second)))
	l.flush()
	var got []byte
	for len(got) < len(first)+1 {
		got = append(got, received(t, peer)...)
		c.markDirty() // as EPOLLOUT does
		l.flush()
	}
	if want := first + "\n"; string(got) != want {
		t.Fatalf("got %d bytes, want the %d of one message", len(got), len(want))
	}
	endAllRests(l)
	if got := received(t, peer); string(got) != second+"\n" {
		t.Errorf("got %q", got)
	}
}

// TestUnpace: what waits leaves at once for a client that splits the stream itself.
func TestUnpace(t *testing.T) {
	t.Parallel()
	l, c, peer := pacedConn(t, testOptions(), quietSession{}, 0)
	sendNumbered(c, 0, 3, 20)
	l.flush()
	c.Unpace()
	l.flush()
	if got := bytes.Count(received(t, peer), []byte("\n")); got != 3 {
		t.Errorf("%d messages arrived, want 3", got)
	}
}

// TestPacedBacklogIsBounded: a message that finds no room makes a slow consumer, at rest or not.
func TestPacedBacklogIsBounded(t *testing.T) {
	t.Parallel()
	var told []Violation
	h := &hooks{violation: func(c *Conn, v Violation) {
		told = append(told, v)
		c.Abort(ws.StatusPolicyViolation, "", NewMessage([]byte("too slow")))
	}}
	o := testOptions()
	o.SendQueueBytes = 10 * minFrameBytes
	l, c, peer := pacedConn(t, o, h, 0)
	for i := 0; c.Send(NewMessage([]byte(fmt.Sprint(i)))); i++ {
		l.flush()
	}
	l.flush()
	if len(told) != 1 || told[0] != SlowConsumer {
		t.Fatalf("the session was told %v", told)
	}
	if got := string(received(t, peer)); got != "0\n" {
		t.Errorf("got %q", got)
	}
	endAllRests(l)
	if got := string(received(t, peer)); got != "too slow\n" {
		t.Errorf("got %q", got)
	}
}

// shortening is a Session whose messages may be shortened to short.
type shortening struct {
	quietSession
	short string
}

func (s shortening) AppendShort(dst, _ []byte) []byte { return append(dst, s.short...) }

// TestPacedChunk: nothing longer than the client reads at once is sent. A longer message is sent in its shorter form,
// where that fits.
func TestPacedChunk(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", maxChunk)
	for _, tt := range []struct {
		name, payload string
		session       Session
		want          string
	}{
		{"fits", long[1:], shortening{short: "unused"}, long[1:] + "\n"},
		{"shortened", long, shortening{short: "short"}, "short"},
		{"shortened to the limit", long, shortening{short: long}, long},
		{"shortened too little", long, shortening{short: long + "x"}, ""},
		{"no shorter form", long, shortening{}, ""},
		{"a session without shorter forms", long, quietSession{}, ""},
	} {
		l, c, peer := pacedConn(t, testOptions(), tt.session, 0)
		if sent := c.Send(NewMessage([]byte(tt.payload))); sent != (tt.want != "") {
			t.Errorf("%s: Send returns %v", tt.name, sent)
		}
		l.flush()
		if got := string(received(t, peer)); got != tt.want {
			t.Errorf("%s: got %d bytes, want %d", tt.name, len(got), len(tt.want))
		}
		refused := uint64(0)
		if tt.want == "" {
			refused = 1
		}
		if n := l.srv.refusals[slices.Index(causes[:], causeChunk)].Load(); n != refused {
			t.Errorf("%s: %d refusals are counted", tt.name, n)
		}
	}
}
