//go:build linux

package clustertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mastersocket/mastersocket/internal/figure"
	"github.com/mastersocket/mastersocket/internal/hubtest"
)

// TestReconnectStorm kills an instance with thousands of clients, which all connect to the other two at once. The
// clients of these must not notice.
func TestReconnectStorm(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, clusterOptions{flags: []string{"--ping-interval", "5m"}})
	h := newHerd(size(2000, 10_000))
	defer h.close()
	empty, fds := c.hubs[2].RSS(), c.hubs[2].Descriptors()
	begin := time.Now()
	if err := h.connect(t.Context(), c.hubs[2].HubAddr); err != nil {
		t.Fatal(err)
	}
	figure.Printf(t, "one instance: %d clients identified in %v; resident memory %.1f MiB, %.1f MiB without them; descriptors %d, %d without them",
		len(h.conns), figure.MS(time.Since(begin)), mib(c.hubs[2].RSS()), mib(empty), c.hubs[2].Descriptors(), fds)
	// ANY of all clients and GLOBAL would reach the storm's clients, too.
	l := startLoad(t, c.urls()[:2], loadOptions{senders: 6, receivers: 6, noAnyone: true})
	l.runFor(time.Second)
	calm := startStopwatch(l)
	l.runFor(2 * time.Second)
	before := calm.stop()

	storm := startStopwatch(l)
	begin = time.Now()
	c.hubs[2].Kill()
	if err := h.connect(t.Context(), c.hubs[0].HubAddr, c.hubs[1].HubAddr); err != nil {
		t.Error(err)
	}
	took := time.Since(begin)
	during := storm.stop()
	for _, s := range c.alive() {
		if n := int(s.Metrics().Sum("mastersocket_connections")); n < len(h.conns)/2 {
			t.Errorf("an instance has %d clients", n)
		}
	}
	c.awaitNodes(patience, 2)
	r := l.finish(c)
	figure.Printf(t, "%d clients of a killed instance connected again at once: all identified %v after the kill; %v to %v each; "+
		"a PING of the clients there before took %v at most (%v before the storm)",
		len(h.conns), figure.MS(took), figure.MS(h.quantile(0)), figure.MS(h.quantile(1)), figure.MS(during), figure.MS(before))
	wantAll(t, r)
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }

// herd is many cheap clients: connections that are not read after the IDENTIFY answer.
type herd struct {
	conns []net.Conn
	took  []time.Duration // from dialling to the IDENTIFY answer
}

func newHerd(n int) *herd { return &herd{conns: make([]net.Conn, n), took: make([]time.Duration, n)} }

// connect connects all clients at once, spread over addrs, and replaces their connections.
func (h *herd) connect(ctx context.Context, addrs ...string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	var connecting errgroup.Group
	for i := range h.conns {
		connecting.Go(func() error {
			if h.conns[i] != nil {
				h.conns[i].Close()
			}
			begin := time.Now()
			conn, err := identify(ctx, i, addrs[i%len(addrs)])
			h.conns[i], h.took[i] = conn, time.Since(begin)
			return err
		})
	}
	return connecting.Wait()
}

func (h *herd) close() {
	for _, c := range h.conns {
		if c != nil {
			c.Close()
		}
	}
}

func (h *herd) quantile(q float64) time.Duration {
	sorted := slices.Sorted(slices.Values(h.took))
	return sorted[int(q*float64(len(sorted)-1))]
}

// identify connects a cheap client: opening handshake and IDENTIFY in one write, from one of several addresses.
func identify(ctx context.Context, i int, addr string) (net.Conn, error) {
	source := netip.AddrFrom4([4]byte{127, 0, 1, byte(1 + i%8)})
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, 0))}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("client %d: %w", i, err)
	}
	deadline, _ := ctx.Deadline()
	err = conn.SetDeadline(deadline)
	if err == nil {
		err = handshake(conn, addr, fmt.Sprintf("herd-%d", i%100))
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("client %d: %w", i, err)
	}
	return conn, nil
}

func handshake(conn net.Conn, addr, group string) error {
	hello := fmt.Appendf(nil, "GET / HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n", addr)
	text := fmt.Appendf(nil, `{"op":1,"data":{"token":"%s","group":"%s"}}`, hubtest.Token, group)
	hello = append(hello, 0x81, 0x80|byte(len(text)), 0, 0, 0, 0) // a text frame with a mask of zeros, which leaves the text unchanged
	if _, err := conn.Write(append(hello, text...)); err != nil {
		return err
	}
	var answer []byte
	for buf := make([]byte, 512); ; {
		n, err := conn.Read(buf)
		answer = append(answer, buf[:n]...)
		switch {
		case bytes.Contains(answer, []byte(`{"op":1,`)):
			return nil
		case bytes.Contains(answer, []byte(`{"op":2,`)):
			return fmt.Errorf("disconnected: %q", answer)
		case errors.Is(err, io.EOF):
			return fmt.Errorf("closed after %q", answer)
		case err != nil:
			return err
		}
	}
}

// stopwatch measures the longest time from a client's PING to its PONG.
type stopwatch struct {
	cancel context.CancelFunc
	pings  sync.WaitGroup
	mu     sync.Mutex
	worst  time.Duration
}

// startStopwatch pings with one client on each instance.
func startStopwatch(l *load) *stopwatch {
	ctx, cancel := context.WithCancel(context.Background())
	w := &stopwatch{cancel: cancel}
	for at := range l.urls {
		c := l.members[at].current()
		w.pings.Go(func() {
			for ctx.Err() == nil {
				begin := time.Now()
				if c.Ping(context.Background()) != nil {
					return // its connection ended, which the history shows
				}
				w.mu.Lock()
				w.worst = max(w.worst, time.Since(begin))
				w.mu.Unlock()
				<-time.After(5 * time.Millisecond)
			}
		})
	}
	return w
}

func (w *stopwatch) stop() time.Duration {
	w.cancel()
	w.pings.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.worst
}
