package transport

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/mastersocket/mastersocket/internal/tlstest"
)

// besieged keeps connections open that begin a TLS handshake and do not go on: one that is dropped comes again at once.
type besieged struct {
	opened  atomic.Int64
	stop    chan struct{}
	running sync.WaitGroup
}

// besiege opens n connections, each of which says first and no more.
func besiege(t *testing.T, addr net.Addr, n int, first []byte) *besieged {
	t.Helper()
	b := &besieged{stop: make(chan struct{})}
	for range n {
		b.running.Go(func() {
			for {
				nc, err := net.DialTimeout("tcp", addr.String(), patience)
				if err != nil {
					t.Error(err)
					return
				}
				b.opened.Add(1)
				_, _ = nc.Write(first)
				dropped := make(chan struct{})
				go func() { _, _ = io.Copy(io.Discard, nc); close(dropped) }()
				select {
				case <-b.stop:
					_ = nc.Close()
					<-dropped
					return
				case <-dropped:
					_ = nc.Close()
				}
			}
		})
	}
	return b
}

func (b *besieged) end() {
	close(b.stop)
	b.running.Wait()
}

// shakeHands connects over TLS as far as the WebSocket. The error is what kept it from that.
func shakeHands(addr net.Addr, cfg *tls.Config) (time.Duration, error) {
	begin := time.Now()
	nc, err := net.DialTimeout("tcp", addr.String(), patience)
	if err != nil {
		return 0, err
	}
	defer nc.Close()
	conn := tls.Client(patientConn{nc}, cfg)
	if _, err := conn.Write([]byte(upgradeRequest(""))); err != nil {
		return 0, err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && line != "HTTP/1.1 101 Switching Protocols\r\n" {
		err = errors.New(line)
	}
	return time.Since(begin), err
}

// TestTLSFlood: many more clients than may shake hands at the same time begin to, and do not go on. Honest clients get
// their turn long before those are all dropped, connected clients notice nothing, and all are counted.
func TestTLSFlood(t *testing.T) {
	t.Parallel()
	first := hello(t)
	for name, tt := range map[string]struct {
		said      []byte
		attackers int
	}{
		"a whole hello": {first, 256}, "half a hello": {first[:len(first)/2], 1500}, "nothing": {nil, 1500},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := testOptions()
			o.TLSHandshakes, o.HandshakeTimeout = 16, patience
			s := startServer(t, o)
			e := newTape()
			e.message = echo
			addr, cfg := listenTLS(t, s, e)
			early := dialTLS(t, addr, cfg)
			early.write([]byte(upgradeRequest("")))
			early.accepted()

			b := besiege(t, addr, tt.attackers, tt.said)
			for s.Connections() < tt.attackers { // they have come
				onLoop(t, s.Loops()[0], func() {})
			}
			var longest atomic.Int64
			var clients sync.WaitGroup
			for range 10 {
				clients.Go(func() {
					took, err := shakeHands(addr, cfg)
					if err != nil {
						t.Errorf("a client: %v", err)
					}
					for old := longest.Load(); int64(took) > old && !longest.CompareAndSwap(old, int64(took)); old = longest.Load() {
					}
				})
			}
			early.write(text("still here"))
			early.expect(ws.OpText, "still here")
			clients.Wait()
			for _, l := range s.Loops() {
				onLoop(t, l, func() {
					if len(l.tls.shaking) > l.maxShaking() {
						t.Errorf("loop %d: %d handshakes are under way", l.index, len(l.tls.shaking))
					}
				})
			}
			b.end()
			_ = early.Close() // where it counts as done
			eventually(t, s, func() bool { return s.Connections() == 0 })
			st, opened := s.Stats().TLS, uint64(b.opened.Load())
			t.Logf("%d connections did not go on; a client took %v at most; failed %v", opened, time.Duration(longest.Load()), st.Failed)
			if failed := st.Failed["timeout"] + st.Failed["client_left"]; st.Done != 11 || len(tt.said) == len(first) && failed != opened {
				t.Errorf("counted %d handshakes, and %d that failed; want 11 and %d", st.Done, failed, opened)
			}
		})
	}
}

// TestTLSHandshakesWaitForAProcessor: that the server takes its time for a handshake is not its client's fault.
func TestTLSHandshakesWaitForAProcessor(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.Loops, o.TLSHandshakes, o.HandshakeTimeout = 1, 4, patience
	s := startServer(t, o)
	ca := tlstest.NewAuthority(t)
	cfg := NewTLSConfig(ca.Issue(t, tlstest.Template{}), nil)
	busy := make(chan struct{})
	cfg.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { // by the one that computes
		<-busy
		return nil, nil
	}
	e := newTape()
	addr, err := s.ListenWebSocketTLS(t.Context(), "127.0.0.1:0", func() *tls.Config { return cfg }, func([]byte) Endpoint { return e })
	if err != nil {
		t.Fatal(err)
	}
	var clients sync.WaitGroup
	for range 12 {
		clients.Go(func() {
			if _, err := shakeHands(addr, &tls.Config{RootCAs: ca.Pool(), ServerName: "127.0.0.1"}); err != nil {
				t.Errorf("a client: %v", err)
			}
		})
	}
	l := s.Loops()[0]
	var all bool
	for !all {
		onLoop(t, l, func() { all = len(l.tls.shaking) == 4 && l.tls.awaiting == 8 })
	}
	<-time.After(o.HandshakeTimeout/mostPatience + time.Second)
	close(busy)
	clients.Wait()
	if st := s.Stats().TLS; st.Done != 12 {
		t.Errorf("counted %d handshakes, failed %v", st.Done, st.Failed)
	}
}
