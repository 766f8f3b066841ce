//go:build linux

package load

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// relay is a small server for tests: S subscribes, P goes to all subscribers, D to the next one in the ring. It can be
// told to do wrong.
type relay struct {
	fault func(delivery int) (copies int) // how often a delivery is written; nil: once

	mu          sync.Mutex
	subscribers []net.Conn
	deliveries  int
}

func (r *relay) start(t *testing.T) netip.AddrPort {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return r.serveAll(t, listener)
}

func (r *relay) serveAll(t *testing.T, listener net.Listener) netip.AddrPort {
	var all sync.WaitGroup
	t.Cleanup(func() { listener.Close(); all.Wait() })
	all.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			all.Go(func() { defer conn.Close(); r.serve(conn) })
		}
	})
	return listener.Addr().(*net.TCPAddr).AddrPort()
}

func (r *relay) serve(conn net.Conn) {
	in := bufio.NewReader(conn)
	if _, err := http.ReadRequest(in); err != nil {
		return
	}
	io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
	number := -1
	for {
		head := make([]byte, 6)
		if _, err := io.ReadFull(in, head); err != nil {
			return
		}
		payload := make([]byte, head[1]&0x7f)
		if _, err := io.ReadFull(in, payload); err != nil {
			return
		}
		r.mu.Lock()
		switch payload[0] ^ head[2] {
		case 'S':
			number = len(r.subscribers)
			r.subscribers = append(r.subscribers, conn)
			conn.Write(serverFrame(TextFrame, []byte("S")))
		case 'P':
			for _, to := range r.subscribers {
				r.deliver(to)
			}
		case 'D':
			r.deliver(r.subscribers[(number+1)%len(r.subscribers)])
		}
		r.mu.Unlock()
	}
}

func (r *relay) deliver(to net.Conn) {
	copies := 1
	if r.fault != nil {
		copies = r.fault(r.deliveries)
	}
	r.deliveries++
	for range copies {
		to.Write(serverFrame(TextFrame, make([]byte, 100)))
	}
}

type relayDialect struct{ scripted }

func (*relayDialect) Request(*Client) []byte { return []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n") }
func (*relayDialect) Join(c *Client) []byte {
	if c.Role == Publisher {
		c.Ready = true
		return nil
	}
	return AppendFrame(nil, TextFrame, []byte("S"))
}
func (*relayDialect) Message(c *Client, _ []byte) ([]byte, error) {
	c.Ready = true
	return nil, nil
}
func (*relayDialect) Publish(*Client, int) []byte    { return AppendFrame(nil, TextFrame, []byte("P")) }
func (*relayDialect) Direct(*Client, *Client) []byte { return AppendFrame(nil, TextFrame, []byte("D")) }

func connected(t *testing.T, r *relay, role Role, n int) *Loop {
	t.Helper()
	l, err := New(&relayDialect{}, r.start(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	if role == Subscriber {
		err = l.Connect(1, 1, Publisher, time.Minute)
	}
	// One at a time, so that the relay's order is that of the ring.
	if err = errors.Join(err, l.Connect(n, 1, role, time.Minute)); err != nil {
		t.Fatal(err)
	}
	return l
}

func noClock() (time.Duration, error) { return 0, nil }

func TestSaturateAndPaceCountEveryDelivery(t *testing.T) {
	t.Parallel()
	r := &relay{}
	l := connected(t, r, Subscriber, 10)
	if _, err := l.Saturate(8, 50*time.Millisecond, noClock); err != nil {
		t.Fatal(err)
	}
	h := NewHistogram()
	result, err := l.Pace(200, 50*time.Millisecond, noClock, h)
	if err != nil {
		t.Fatal(err)
	}
	if result.Sent != 10 || result.Delivered != 100 || h.TotalCount() != 100 {
		t.Errorf("sent %d, delivered %d, %d latencies", result.Sent, result.Delivered, h.TotalCount())
	}
	received := 0
	for _, c := range l.Clients(Subscriber) {
		received += c.Received()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if received != r.deliveries {
		t.Errorf("received %d of %d", received, r.deliveries)
	}
}

func TestRing(t *testing.T) {
	t.Parallel()
	l := connected(t, &relay{}, Member, 10)
	result, err := l.Ring(50*time.Millisecond, noClock)
	if err != nil {
		t.Fatal(err)
	}
	if result.Delivered == 0 {
		t.Error("nothing was delivered")
	}
}

// TestChatAndGroups: each of many sources reaches its own receivers, and no others.
func TestChatAndGroups(t *testing.T) {
	t.Parallel()
	l := connected(t, &relay{}, Member, 10)
	r, err := l.Chat(1_000, 50*time.Millisecond, noClock)
	if err != nil || r.Sent != 50 || r.Delivered != 50 {
		t.Errorf("chat: %+v, %v", r, err)
	}
	l = connected(t, &relay{}, Subscriber, 10)
	if r, err = l.Groups(1, 1_000, 50*time.Millisecond, noClock); err != nil || r.Sent != 50 || r.Delivered != 500 {
		t.Errorf("groups: %+v, %v", r, err)
	}
	l.patience = 300 * time.Millisecond
	if _, err = l.Groups(2, 1_000, 50*time.Millisecond, noClock); !errors.Is(err, ErrMissing) { // the relay has one group
		t.Errorf("two groups: %v", err)
	}
}

// TestStalled: clients that don't read get nothing, and break nothing.
func TestStalled(t *testing.T) {
	t.Parallel()
	l := connected(t, &relay{}, Subscriber, 5)
	if err := errors.Join(l.Connect(2, 1, Stalled, time.Minute), l.Stall()); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Saturate(2, 20*time.Millisecond, noClock); err != nil {
		t.Fatal(err)
	}
	for _, c := range l.Clients(Stalled) {
		if c.Received() != 0 {
			t.Errorf("a client that does not read got %d messages", c.Received())
		}
	}
}

func TestFaultsAreFound(t *testing.T) {
	t.Parallel()
	faults := map[string]func(int) int{
		"lost": func(n int) int {
			if n == 57 {
				return 0
			}
			return 1
		},
		"doubled": func(n int) int {
			if n == 57 {
				return 2
			}
			return 1
		},
	}
	runs := map[string]func(*Loop) error{
		"saturate": func(l *Loop) error { _, err := l.Saturate(4, 50*time.Millisecond, noClock); return err },
		"pace":     func(l *Loop) error { _, err := l.Pace(500, 50*time.Millisecond, noClock, nil); return err },
		"ring":     func(l *Loop) error { _, err := l.Ring(50*time.Millisecond, noClock); return err },
		"groups":   func(l *Loop) error { _, err := l.Groups(1, 500, 50*time.Millisecond, noClock); return err },
	}
	for fault, copies := range faults {
		for run, do := range runs {
			t.Run(fault+" "+run, func(t *testing.T) {
				t.Parallel()
				role := Subscriber
				if run == "ring" {
					role = Member
				}
				l := connected(t, &relay{fault: copies}, role, 10)
				l.patience = 300 * time.Millisecond
				var err error
				for range 200 { // a run on a busy machine may be too short to come to the fault
					if err = do(l); err != nil {
						break
					}
				}
				if !errors.Is(err, ErrMissing) {
					t.Errorf("got %v", err)
				}
			})
		}
	}
}

func TestServerThatCloses(t *testing.T) {
	t.Parallel()
	l := connected(t, &relay{}, Subscriber, 2)
	for _, c := range l.clients {
		// The server sees the end of what the client sends, and closes.
		if err := shutdownWrite(c.fd); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Serve(time.Minute); !errors.Is(err, errClosed) {
		t.Errorf("got %v", err)
	}
}

func shutdownWrite(fd int) error { return unix.Shutdown(fd, unix.SHUT_WR) }

// TestSecure counts deliveries over TLS, and sees a missing one there as well.
func TestSecure(t *testing.T) {
	t.Parallel()
	for _, copies := range []int{1, 0} {
		certified := httptest.NewUnstartedServer(nil) // for its certificate
		certified.StartTLS()
		certificates := certified.TLS.Certificates
		certified.Close()
		listener, err := tls.Listen("tcp4", "127.0.0.1:0", &tls.Config{Certificates: certificates})
		if err != nil {
			t.Fatal(err)
		}
		r := &relay{fault: func(delivery int) int {
			if delivery == 7 {
				return copies
			}
			return 1
		}}
		l, err := New(&relayDialect{}, r.serveAll(t, listener))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(l.Close)
		err = errors.Join(l.Secure(), l.Connect(1, 1, Publisher, time.Minute), l.Connect(5, 3, Subscriber, time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		if copies == 0 {
			l.patience = 100 * time.Millisecond
		}
		f, err := l.newFanout(64)
		if err != nil {
			t.Fatal(err)
		}
		defer f.end()
		err = errors.Join(f.publish(20), f.drain())
		switch {
		case copies == 1 && (err != nil || f.delivered != 100):
			t.Errorf("%d deliveries, %v", f.delivered, err)
		case copies == 0 && !errors.Is(err, ErrMissing):
			t.Errorf("a delivery is missing, and the error is %v", err)
		}
	}
}

// TestSecureRefused has a server close the connection in the middle of the TLS handshake.
func TestSecureRefused(t *testing.T) {
	t.Parallel()
	l, err := New(&relayDialect{}, (&relay{}).start(t)) // which speaks no TLS
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	if err := errors.Join(l.Secure(), l.Connect(1, 1, Subscriber, time.Minute)); err == nil || errors.Is(err, errLate) {
		t.Errorf("got %v", err)
	}
}
