package transport

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"
)

// TestAcceptedSocket checks the options of an accepted socket: small messages leave at once.
func TestAcceptedSocket(t *testing.T) {
	t.Parallel()
	e := newTape()
	r := func() Ref {
		connect(t, listen(t, startServer(t, testOptions()), e))
		return e.expect(t, "open")
	}()
	onLoop(t, r.Loop(), func() {
		fd := int(r.Conn().fd)
		if on, err := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY); err != nil || on == 0 {
			t.Errorf("TCP_NODELAY: %d, %v", on, err)
		}
		if p, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL); err != nil || p != unix.IPPROTO_TCP {
			t.Errorf("protocol %d, %v", p, err)
		}
	})
}

func TestRemoteAddr(t *testing.T) {
	t.Parallel()
	e := newTape()
	c := connect(t, listen(t, startServer(t, testOptions()), e))
	r := e.expect(t, "open")
	onLoop(t, r.Loop(), func() {
		if got := r.Conn().RemoteAddr().String(); got != c.LocalAddr().String() {
			t.Errorf("remote address %s, want %v", got, c.LocalAddr())
		}
	})
}

func TestListenErrors(t *testing.T) {
	t.Parallel()
	s, err := NewServer(testOptions())
	if err != nil {
		t.Fatal(err)
	}
	addr := listen(t, s, newTape())
	if _, err := s.ListenTCP(context.Background(), addr.String(), newTape()); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("listening twice: %v", err)
	}
	if _, err := s.ListenTCP(context.Background(), "127.0.0.1:nowhere", newTape()); err == nil {
		t.Error("listening nowhere")
	}
	s.Close()
	s.Close()
	if _, err := s.ListenTCP(context.Background(), "127.0.0.1:0", newTape()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("listening on a closed server: %v", err)
	}
	if s.Loops()[0].Post(job(func(*Loop) {})) || s.Loops()[1].PostWait(job(func(*Loop) {})) {
		t.Error("a closed server took mail")
	}
	s.Gate().Hold()
	s.Gate().Release()
}

// TestStopListening: later connections are refused, existing ones stay.
func TestStopListening(t *testing.T) {
	t.Parallel()
	for range 30 {
		e := newTape()
		e.message = echo
		s := startServer(t, testOptions())
		addr := listen(t, s, e)
		c := connect(t, addr)
		s.StopListening()
		if nc, err := net.Dial("tcp", addr.String()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dial: %v", err)
			if err == nil {
				_ = nc.Close()
			}
		}
		c.write(text("still here"))
		c.expect(ws.OpText, "still here")
		if _, err := s.ListenWebSocket(context.Background(), addr.String(), nil); err != nil {
			t.Errorf("listening again: %v", err)
		}
	}
}

func TestExcess(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.MaxConnections = 3
	e := newTape()
	e.open = func(c *Conn, _ *Request) *Rejection {
		if c.Excess() {
			e.add(c, "excess")
			c.Close(1013, "", nil)
		}
		return nil
	}
	s := startServer(t, o)
	addr := listen(t, s, e)
	var first *client
	for range 3 {
		first = connect(t, addr)
		e.expect(t, "open")
	}
	c := connect(t, addr)
	c.expectClose(1013)
	_ = c.Close()
	e.expect(t, "excess", "open", "closed by us")
	if st := s.Stats(); st.Limit != 3 || st.Refusals["connection_limit"] != 1 {
		t.Errorf("limit %d, beyond it %d; want 3, 1", st.Limit, st.Refusals["connection_limit"])
	}
	first.reset()
	e.expect(t, "closed by an error")
	eventually(t, s, func() bool { return s.Connections() <= 2 })
	connect(t, addr)
	e.expect(t, "open")
}

func TestBalance(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.Loops = 4
	e := newTape()
	s := startServer(t, o)
	addr := listen(t, s, e)
	count := make(map[*Loop]int)
	clients := make(map[Ref]*client)
	for range 40 {
		c := connect(t, addr)
		r := e.expect(t, "open")
		count[r.Loop()]++
		clients[r] = c
	}
	for l, n := range count {
		if n != 10 {
			t.Errorf("loop %d has %d of 40 connections", l.Index(), n)
		}
	}
	for r, c := range clients { // those of one loop leave; their successors go there
		if r.Loop() == s.Loops()[2] {
			c.reset()
			e.expect(t, "closed by an error")
		}
	}
	for range 10 {
		connect(t, addr)
		if r := e.expect(t, "open"); r.Loop() != s.Loops()[2] {
			t.Errorf("a connection went to loop %d", r.Loop().Index())
		}
	}
}

// TestCloseWhileTrafficFlows ends a server whose loops are busy, listeners and all.
func TestCloseWhileTrafficFlows(t *testing.T) {
	t.Parallel()
	for range 5 {
		e := &flood{}
		s, err := NewServer(testOptions())
		if err != nil {
			t.Fatal(err)
		}
		addr, tcp := listen(t, s, e), listenTCP(t, s, e)
		var clients sync.WaitGroup
		for i := range 20 {
			clients.Go(func() {
				for {
					a, m := addr, text(`{"n":1}`)
					if i%2 == 0 {
						a, m = tcp, []byte(`{"n":1}`)
					}
					nc, err := net.Dial("tcp", a.String())
					if err != nil {
						return
					}
					if i%2 != 0 {
						_, _ = nc.Write([]byte(upgradeRequest("")))
					}
					for range 100 {
						if _, err := nc.Write(m); err != nil {
							break
						}
					}
					_ = nc.Close()
				}
			})
		}
		for e.messages.Load() < 1000 {
			onLoop(t, s.Loops()[0], func() {})
		}
		s.Close()
		clients.Wait()
		checkEmpty(t, s)
		if e.opened.Load() != e.closed.Load() {
			t.Errorf("%d sessions were opened, %d closed", e.opened.Load(), e.closed.Load())
		}
	}
}

// TestAdoptWhileStopping: what was accepted while the server ends is closed and not counted.
func TestAdoptWhileStopping(t *testing.T) {
	t.Parallel()
	l := bareLoop(t, testOptions())
	c, peer := bareConn(t, l, protocolTCP, quietSession{}, 0)
	defer unix.Close(peer)
	fd, err := unix.Dup(int(c.fd))
	if err != nil {
		t.Fatal(err)
	}
	l.destroy(c, EndLocal)
	l.stopping = true
	l.srv.open.Add(1)
	l.conns.Add(1)
	l.adopt(accepted{fd: int32(fd)})
}

// TestUntrustedBytes bounds what connections can make the server keep before they are trusted.
func TestUntrustedBytes(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.Loops = 1
	o.UntrustedBytes = 100_000
	e := newTape()
	trusted := 0
	e.message = func(c *Conn, _ bool, p []byte) { c.Trust(); c.Trust(); trusted++ }
	s := startServer(t, o)
	addr := listen(t, s, e)
	part := clientFrame(false, ws.OpText, strings.Repeat("x", 20_000))

	for range 10 { // trusted ones have no part in it
		c := connect(t, addr)
		c.write(part, clientFrame(true, ws.OpContinuation, ""))
		e.expect(t, "open", "text "+strings.Repeat("x", 20_000))
		c.write(part)
	}
	refused := 0
	for range 10 {
		c := connect(t, addr)
		n := e.next(t)
		for ; n.what != "open"; n = e.next(t) {
			if n.what == "no memory" {
				refused++
			}
		}
		r := n.ref
		c.write(part)
		c.write(clientFrame(true, ws.OpPing, ""))
		_, _, _ = c.frame()
		onLoop(t, r.Loop(), func() {
			if n := r.Loop().in.untrusted; n > o.UntrustedBytes {
				t.Errorf("%d bytes are kept for untrusted connections", n)
			}
		})
	}
	// A part that arrives in pieces, as over TLS, takes more than 40 kB: in the buffer of its frame, and in that of its message.
	if refused == 0 || refused > 8 {
		t.Errorf("%d of 10 had to give way", refused)
	}
}

// TestUntrustedHandshake refuses a head that does not fit.
func TestUntrustedHandshake(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.Loops = 1
	o.UntrustedBytes = 4000
	addr := listen(t, startServer(t, o), newTape())
	c := dial(t, addr)
	c.write([]byte("GET / HTTP/1.1\r\nX: " + strings.Repeat("x", 8000)))
	if res := c.response(); res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("got %v", res.Status)
	}
	connect(t, addr)
}

// TestUntrustedStash counts also what waits while a connection is paused.
func TestUntrustedStash(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.UntrustedBytes = 10_000
	violations := 0
	l := bareLoop(t, o)
	s := &hooks{violation: func(c *Conn, v Violation) { violations++ }, message: func(c *Conn, _ bool, p []byte) { c.Pause() }}
	for range 10 {
		c, peer := bareConn(t, l, protocolWebSocket, s, 0)
		defer unix.Close(peer)
		l.feed(c, append(text("pause"), text(strings.Repeat("x", 2000))...))
	}
	if l.in.untrusted > o.UntrustedBytes || violations == 0 {
		t.Errorf("%d bytes are kept, %d violations", l.in.untrusted, violations)
	}
	l.flush()
}

// TestPooledBuffersAreSmall: what a connection leaves to the next is bounded, also if it is closed by its own message.
func TestPooledBuffersAreSmall(t *testing.T) {
	t.Parallel()
	l := bareLoop(t, testOptions())
	s := &hooks{message: func(c *Conn, _ bool, p []byte) { c.Close(1000, "", nil) }}
	c, peer := bareConn(t, l, protocolWebSocket, s, 0)
	defer unix.Close(peer)
	big := strings.Repeat("x", 15_000)
	l.feed(c, append(clientFrame(false, ws.OpText, big), clientFrame(true, ws.OpContinuation, big)...))
	for _, rx := range l.in.free {
		if cap(rx.msg) > maxIdlePartial || cap(rx.buf) > maxIdlePartial {
			t.Errorf("buffers of %d and %d bytes are kept", cap(rx.msg), cap(rx.buf))
		}
	}
	l.flush()
}

// TestLingerTime: a client has all of its time to answer the close frame, and all of CloseTimeout to close its side, however
// long it took to send it the rest.
func TestLingerTime(t *testing.T) {
	t.Parallel()
	o := testOptions()
	l := bareLoop(t, o)
	c, peer := bareConn(t, l, protocolWebSocket, quietSession{}, 0)
	defer unix.Close(peer)
	c.Close(1000, "", nil)
	l.clock.now += uint32(o.CloseTimeout/time.Millisecond) - 1
	l.flush()
	l.clock.now += 2
	l.check(c)
	if c.state != stateAwaitClose {
		t.Errorf("state %d", c.state)
	}
	l.clock.now += uint32(o.CloseFrameTimeout / time.Millisecond)
	l.check(c)
	if c.state != stateLinger {
		t.Errorf("state %d without an answer to the close frame", c.state)
	}
	l.clock.now += uint32(o.CloseTimeout/time.Millisecond) + 1
	l.check(c)
	if c.state != stateFree {
		t.Errorf("state %d after the time", c.state)
	}
}
