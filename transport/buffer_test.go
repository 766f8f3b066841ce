package transport

import (
	"bytes"
	"strings"
	"testing"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"

	"github.com/mastersocket/mastersocket/internal/handshake"
)

// TestBufferFrames has payloads around every size at which a header or a pool changes.
func TestBufferFrames(t *testing.T) {
	t.Parallel()
	sizes := []int{0, 1, 125, 126, 65535, 65536, 1 << 20}
	for class := minClass; class <= maxClass; class++ {
		for n := 1<<class - headroom - 2; n <= 1<<class-headroom; n++ {
			sizes = append(sizes, n)
		}
	}
	for _, n := range sizes {
		payload := bytes.Repeat([]byte("x"), n)
		b := NewMessage(payload)
		f := bytes.NewReader(b.wire(protocolWebSocket))
		h, err := ws.ReadHeader(f)
		if err != nil || h.Length != int64(n) || h.OpCode != ws.OpText || !h.Fin || h.Masked || h.Rsv != 0 || f.Len() != n ||
			len(b.wire(protocolWebSocket)) != ws.HeaderSize(h)+n {
			t.Errorf("%d bytes: header %+v, %v", n, h, err)
		}
		if !bytes.HasSuffix(b.wire(protocolWebSocket), payload) || !bytes.Equal(b.Payload(), payload) {
			t.Errorf("%d bytes: the payload changed", n)
		}
		if tcp := b.wire(protocolTCP); !bytes.Equal(tcp, append(payload, '\n')) {
			t.Errorf("%d bytes: %d on TCP", n, len(tcp))
		}
		b.Release()
	}
}

func TestBufferMisuse(t *testing.T) {
	t.Parallel()
	mustPanic := func(what string, f func()) {
		defer func() {
			if recover() == nil {
				t.Errorf("%s: no panic", what)
			}
		}()
		f()
	}
	mustPanic("outgrown", func() { AllocBuffer(10).Seal(make([]byte, 10_000)) })
	mustPanic("released twice", func() {
		b := NewMessage(make([]byte, 1<<maxClass)) // not from a pool, where it would do harm
		b.Release()
		b.Release()
	})
}

func TestCloseFrames(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		code         ws.StatusCode
		reason, want string
	}{
		{0, "ignored", "\x88\x00"},
		{1000, "", "\x88\x02\x03\xe8"},
		{4008, "SLOW_CONSUMER", "\x88\x0f\x0f\xa8SLOW_CONSUMER"},
		{1002, strings.Repeat("x", 200), "\x88\x7d\x03\xea" + strings.Repeat("x", 123)},
	} {
		b := newClose(tt.code, tt.reason)
		if got := string(b.wire(protocolWebSocket)); got != tt.want {
			t.Errorf("%d: %q", tt.code, got)
		}
		b.Release()
	}
}

// TestDiscard has a client that goes on sending when it was told to close: it is read for a while, and then not.
func TestDiscard(t *testing.T) {
	t.Parallel()
	l := bareLoop(t, testOptions())
	c, peer := bareConn(t, l, protocolWebSocket, quietSession{}, 0)
	defer unix.Close(peer)
	c.Close(1000, "", nil)
	l.flush()
	junk := make([]byte, 32<<10)
	read := 0
	for c.flags&flagNoRead == 0 && read < 2*maxDiscard {
		if n, err := unix.Write(peer, junk); err == nil {
			read += n
		}
		l.read(c)
	}
	if c.state != stateAwaitClose || read < maxDiscard || read > maxDiscard+2*readBytes {
		t.Errorf("%d bytes were read, state %d", read, c.state)
	}
}

func TestStats(t *testing.T) {
	t.Parallel()
	e := newTape()
	e.message = echo
	s := startServer(t, testOptions())
	c := connect(t, listen(t, s, e))
	r := e.expect(t, "open")
	c.write(text("hello"))
	c.expect(ws.OpText, "hello")
	bad := dial(t, listenTCP(t, s, e))
	bad.write([]byte("junk"))
	e.expect(t, "text hello", "open", "not JSON")
	onLoop(t, r.Loop(), func() {})
	onLoop(t, r.Loop(), func() {}) // the counts are those of the turn before
	st := s.Stats()
	l := st.Loops[r.Loop().Index()]
	if st.Connections() != 2 || st.Accepted != 2 || l.Connections != 1 || st.Gated {
		t.Errorf("stats %+v", st)
	}
	if in := uint64(len(upgradeRequest("")) + len(text("hello"))); l.BytesIn != in || l.BytesOut != handshake.AcceptBytes+7 || l.Writes != 2 || l.QueueBytes != 0 {
		t.Errorf("%d bytes in (want %d), %d out, %d writes, %d queued", l.BytesIn, in, l.BytesOut, l.Writes, l.QueueBytes)
	}
	var turns uint64
	for _, n := range l.Turns {
		turns += n
	}
	if turns == 0 || l.TurnTotal == 0 {
		t.Errorf("%d turns of %v", turns, l.TurnTotal)
	}
}
