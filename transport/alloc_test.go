package transport

import (
	"bytes"
	"net"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// rawClient is a connected WebSocket client of a blocking descriptor, which allocates nothing to read and write.
type rawClient struct {
	t   testing.TB
	fd  int
	buf [64 << 10]byte
}

func dialRaw(t testing.TB, addr net.Addr) *rawClient {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	late := unix.Timeval{Sec: int64(patience.Seconds())}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &late); err != nil {
		t.Fatal(err)
	}
	sa := &unix.SockaddrInet4{Port: addr.(*net.TCPAddr).Port, Addr: [4]byte{127, 0, 0, 1}}
	if err := unix.Connect(fd, sa); err != nil {
		t.Fatal(err)
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	c := &rawClient{t: t, fd: fd}
	c.write([]byte(upgradeRequest("")))
	for n := 0; !bytes.HasSuffix(c.buf[:n], []byte("\r\n\r\n")); {
		n += c.readSome(c.buf[n:])
	}
	return c
}

func (c *rawClient) write(p []byte) {
	if n, err := unix.Write(c.fd, p); err != nil || n != len(p) {
		c.t.Fatalf("wrote %d of %d bytes: %v", n, len(p), err)
	}
}

func (c *rawClient) readSome(p []byte) int {
	n, err := unix.Read(c.fd, p)
	for err == unix.EINTR {
		n, err = unix.Read(c.fd, p)
	}
	if err != nil || n == 0 {
		c.t.Fatalf("read %d bytes: %v", n, err)
	}
	return n
}

// read reads n bytes.
func (c *rawClient) read(n int) {
	for n > 0 {
		n -= c.readSome(c.buf[:min(n, len(c.buf))])
	}
}

// crowd is an Endpoint that sends each message to all of its connections, which are on one loop.
type crowd struct{ members []*Conn }

func (e *crowd) Open(c *Conn, _ *Request) (Session, *Rejection) {
	e.members = append(e.members, c)
	return e, nil
}

func (e *crowd) Message(_ *Conn, _ bool, p []byte) {
	b := AllocBuffer(len(p))
	b.Seal(append(b.Room(), p...))
	for _, c := range e.members {
		c.Send(b)
	}
	b.Release()
}

func (e *crowd) Violation(*Conn, Violation) {}
func (e *crowd) Sweep(*Conn)                {}
func (e *crowd) Closed(*Conn, End)          {}

// TestSteadyStateAllocations: a message costs no allocation, neither for one receiver nor for many, nor in fragments.
func TestSteadyStateAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	payload := strings.Repeat("x", 250)
	fragments := append(clientFrame(false, 1, payload[:100]), append(clientFrame(true, 9, "ping"), clientFrame(true, 0, payload[100:])...)...)
	for _, tt := range []struct {
		name      string
		receivers int
		message   []byte
		answers   int // bytes that each receiver gets
		pong      int // bytes that the sender gets beside them
	}{
		{"echo", 1, text(payload), 254, 0},
		{"echo of fragments around a ping", 1, fragments, 254, 6},
		{"fan-out to 100", 100, text(payload), 254, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := testOptions()
			o.Loops = 1
			addr := listen(t, startServer(t, o), &crowd{})
			clients := make([]*rawClient, tt.receivers)
			for i := range clients {
				clients[i] = dialRaw(t, addr)
			}
			if n := testing.AllocsPerRun(200, func() {
				clients[0].write(tt.message)
				clients[0].read(tt.pong)
				for _, c := range clients {
					c.read(tt.answers)
				}
			}); n != 0 {
				t.Errorf("%v allocations per message", n)
			}
		})
	}
}

// TestReadAllocations: whole frames, cut ones and JSON values are read without allocation.
func TestReadAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	l := bareLoop(t, testOptions())
	message := text(strings.Repeat("x", 250))
	value := []byte(`{"x":"` + strings.Repeat("x", 250) + `"}`)
	for _, tt := range []struct {
		name   string
		p      protocol
		stream []byte
		cut    int
	}{
		{"frame", protocolWebSocket, message, 0},
		{"frame cut in its header", protocolWebSocket, message, 3},
		{"frame cut in its payload", protocolWebSocket, message, 100},
		{"value", protocolTCP, value, 0},
		{"value cut", protocolTCP, value, 100},
	} {
		c, peer := bareConn(t, l, tt.p, quietSession{}, 0)
		defer unix.Close(peer)
		buf := make([]byte, len(tt.stream))
		if n := testing.AllocsPerRun(1000, func() {
			copy(buf, tt.stream)
			l.feed(c, buf[:tt.cut])
			l.feed(c, buf[tt.cut:])
		}); n != 0 || c.rx != nil || c.state != stateOpen {
			t.Errorf("%s: %v allocations, rx %v, state %d", tt.name, n, c.rx, c.state)
		}
	}
}

// TestIdleConnSize keeps the Conn in one cache line, and an idle connection without any buffer.
func TestIdleConnSize(t *testing.T) {
	t.Parallel()
	if n := unsafe.Sizeof(Conn{}); n > 64 {
		t.Errorf("a Conn takes %d bytes", n)
	}
	e := newTape()
	e.message = echo
	c := connect(t, listen(t, startServer(t, testOptions()), e))
	c.write(text("hello")[:4])
	c.write(text("hello")[4:])
	r := e.expect(t, "open", "text hello")
	c.expect(1, "hello")
	onLoop(t, r.Loop(), func() {
		if conn := r.Conn(); conn.rx != nil || conn.tx != nil {
			t.Errorf("an idle connection keeps %v and %v", conn.rx, conn.tx)
		}
	})
}
