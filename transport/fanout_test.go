package transport

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// TestFanOut sends messages to random sets of connections whose sockets take random parts of them, so that frames are
// gathered, shared, cut and dropped in all combinations, and compares what arrives with a model.
func TestFanOut(t *testing.T) {
	t.Parallel()
	l := bareLoop(t, testOptions())
	rapid.Check(t, func(r *rapid.T) { fanOutModel(t, r, l) })
}

// receiver is a connection with what must arrive at its other end.
type receiver struct {
	c       *Conn
	fd      int
	want    strings.Builder
	got     strings.Builder
	aborted bool
}

func fanOutModel(t *testing.T, r *rapid.T, l *Loop) {
	var all []*receiver
	for range rapid.IntRange(1, 6).Draw(r, "receivers") {
		p := rapid.SampledFrom([]protocol{protocolWebSocket, protocolWebSocket, protocolTCP}).Draw(r, "protocol")
		x := &receiver{}
		x.c, x.fd = bareConn(t, l, p, quietSession{}, rapid.SampledFrom([]int{1, 0}).Draw(r, "buffer"))
		defer unix.Close(x.fd)
		all = append(all, x)
	}
	message := func() *Buffer {
		n := rapid.SampledFrom([]int{0, 1, 100, 126, 1000, 5000}).Draw(r, "size")
		return NewMessage([]byte(strings.Repeat(rapid.StringMatching("[a-z]").Draw(r, "letter"), n)))
	}
	for range rapid.IntRange(1, 60).Draw(r, "steps") {
		switch rapid.IntRange(0, 9).Draw(r, "step") {
		case 0, 1, 2, 3, 4:
			b := message()
			for range rapid.IntRange(1, 2).Draw(r, "rounds") {
				for _, x := range all {
					if rapid.IntRange(0, 3).Draw(r, "skip") > 0 && x.c.Send(b) {
						x.want.Write(b.wire(x.c.protocol))
					}
				}
			}
			b.Release()
		case 5, 6, 7:
			l.flush()
		case 8:
			x := rapid.SampledFrom(all).Draw(r, "reader")
			buf := make([]byte, rapid.IntRange(1, 20_000).Draw(r, "read"))
			if n, err := unix.Read(x.fd, buf); err == nil {
				x.got.Write(buf[:n])
				x.c.markDirty() // as EPOLLOUT does
			}
		case 9:
			if rapid.IntRange(0, 5).Draw(r, "really") > 0 {
				continue
			}
			x := rapid.SampledFrom(all).Draw(r, "aborted")
			x.abort(message())
		}
	}
	for _, x := range all {
		x.finish(t, r, l)
	}
	if l.out.queued != 0 || l.out.held != nil {
		r.Fatalf("queued %d, hold %v", l.out.queued, l.out.held)
	}
}

// abort drops what is unsent, but for a frame that is partly sent.
func (x *receiver) abort(last *Buffer) {
	if x.c.state != stateOpen {
		last.Release()
		return
	}
	x.aborted = true
	if tx := x.c.tx; tx != nil {
		unsent := tx.bytes
		if tx.offset > 0 {
			unsent -= len(tx.frames[tx.head].buf.wire(x.c.protocol)) - tx.offset
		}
		kept := x.want.String()[:x.want.Len()-unsent]
		x.want.Reset()
		x.want.WriteString(kept)
	}
	x.want.Write(last.wire(x.c.protocol))
	if x.c.protocol == protocolWebSocket {
		x.want.WriteString("\x88\x02\x0f\xa8")
	}
	x.c.Abort(4008, "", last)
}

// finish reads the rest and compares.
func (x *receiver) finish(t *testing.T, r *rapid.T, l *Loop) {
	for x.c.tx != nil {
		l.flush()
		x.got.Write(received(t, x.fd))
		if x.c.tx != nil {
			x.c.markDirty()
		}
	}
	x.got.Write(received(t, x.fd))
	if x.got.String() != x.want.String() {
		r.Fatalf("got %d bytes, want %d; aborted %v", x.got.Len(), x.want.Len(), x.aborted)
	}
	l.destroy(x.c, EndLocal)
}
