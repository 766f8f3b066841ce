package transport

import (
	"crypto/tls"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/mastersocket/mastersocket/internal/tlstest"
)

// fdConn is the client's end of a socket pair as a net.Conn that allocates nothing. Reads wait.
type fdConn struct {
	chopped
	fd int
}

func (c *fdConn) Read(p []byte) (int, error) {
	for {
		n, err := unix.Read(c.fd, p)
		if err != unix.EINTR && err != unix.EAGAIN {
			return max(n, 0), err
		}
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLIN}}, 1000)
	}
}

func (c *fdConn) Write(p []byte) (int, error)      { return unix.Write(c.fd, p) }
func (c *fdConn) Close() error                     { return nil }
func (c *fdConn) SetDeadline(time.Time) error      { return nil }
func (c *fdConn) SetReadDeadline(time.Time) error  { return nil }
func (c *fdConn) SetWriteDeadline(time.Time) error { return nil }

// bareTLS opens a connection over TLS on a loop that doesn't run, and returns it with its client and the client's
// descriptor.
func bareTLS(t *testing.T, l *Loop, s Session) (*Conn, *tls.Conn, int) {
	t.Helper()
	ca := tlstest.NewAuthority(t)
	cfg := NewTLSConfig(ca.Issue(t, tlstest.Template{}), nil)
	c, peer := bareConn(t, l, protocolWebSocket, nil, 0)
	t.Cleanup(func() { _ = unix.Close(peer) })
	c.session = &listener{tls: &tlsListener{config: func() *tls.Config { return cfg }, compute: make(chan struct{}, 1)}}
	c.state = stateHandshake
	c.flags |= flagTLS
	client := tls.Client(&fdConn{fd: peer}, &tls.Config{RootCAs: ca.Pool(), ServerName: "127.0.0.1"})
	done := make(chan error, 1)
	go func() { done <- client.Handshake() }()
	for sc := l.secureOf(c); sc == nil || sc.hand != nil; sc = l.secureOf(c) {
		l.read(c)
		mail, _ := l.takeMail(nil, nil)
		for _, m := range mail {
			m.Deliver(l)
		}
		l.flush()
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	c.state = stateOpen
	c.session = s
	return c, client, peer
}

// TestTLSAllocations: encrypting allocates nothing. crypto/tls allocates a reader twice for each read from a socket,
// however many records and messages are in it.
func TestTLSAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	l := bareLoop(t, testOptions())
	c, client, peer := bareTLS(t, l, quietSession{})
	b := NewMessage([]byte(strings.Repeat("x", 250)))
	defer b.Release()
	l.flush()
	received(t, peer) // tickets
	buf := make([]byte, 64<<10)
	if n := testing.AllocsPerRun(500, func() {
		c.Send(b)
		l.flush()
		if n, err := unix.Read(peer, buf); err != nil || n < 250 {
			t.Fatalf("read %d, %v", n, err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for each message sent", n)
	}
	message := text(strings.Repeat("x", 250))
	if n := testing.AllocsPerRun(500, func() {
		for range 3 {
			if _, err := client.Write(message); err != nil {
				t.Fatal(err)
			}
		}
		l.read(c)
	}); n > 4 {
		t.Errorf("%v allocations for each read", n)
	} else {
		t.Logf("%v allocations for each read of three records", n)
	}
	if c.rx != nil || c.tx != nil || c.state != stateOpen {
		t.Errorf("the connection keeps %v and %v in state %d", c.rx, c.tx, c.state)
	}
}

// TestIdleTLSSize: a connection over TLS keeps little of ours beside what crypto/tls keeps, and no buffer.
func TestIdleTLSSize(t *testing.T) {
	t.Parallel()
	if n := unsafe.Sizeof(secureConn{}); n > 96 {
		t.Errorf("a secureConn takes %d bytes", n)
	}
	l := bareLoop(t, testOptions())
	c, client, _ := bareTLS(t, l, quietSession{})
	if _, err := client.Write(text("hello")); err != nil {
		t.Fatal(err)
	}
	l.read(c)
	l.flush()
	if sc := l.secureOf(c); sc.left != nil || sc.in != nil || sc.plain != 0 || c.rx != nil || c.tx != nil {
		t.Errorf("an idle connection keeps %+v", sc)
	}
}

// TestAbortTLS: what is encrypted leaves though the backlog is dropped, so that what follows can be read.
func TestAbortTLS(t *testing.T) {
	t.Parallel()
	l := bareLoop(t, testOptions())
	c, _, _ := bareTLS(t, l, quietSession{})
	sendNumbered(c, 0, 900, 1000)
	l.flush()
	sc := l.secureOf(c)
	if sc.left == nil || sc.plain == 0 {
		t.Skip("the kernel took it all")
	}
	held := c.begunFrames(c.tx)
	c.Abort(1000, "", nil)
	if n := len(c.tx.frames) - c.tx.head; n != held+1 { // and the close frame
		t.Errorf("%d frames remain, want %d", n, held+1)
	}
}
