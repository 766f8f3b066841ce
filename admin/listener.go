package admin

import (
	"container/list"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mastersocket/mastersocket/internal/ratelog"
)

// Bounds of open connections. An operator's browser opens six.
const (
	maxConnections      = 1024
	maxProbeConnections = 64 // beyond maxConnections, for the probes alone
)

// listener bounds the open connections, so that callers of this listener can't exhaust the hub's file descriptors.
//
// A connection waits while none of its requests is in progress. At the bound a new connection displaces the one that has
// waited longest. If none waits, the new connection takes one of the places for probes, and only /healthz, /readyz and
// /metrics are answered on it. So neither idle connections nor requests in progress keep the probes out.
type listener struct {
	net.Listener
	general, probes places
	displaced       atomic.Uint64
	refused         atomic.Uint64
	warn            *ratelog.Logger
}

// places is a bounded set of connections.
type places struct {
	max int

	mu      sync.Mutex
	open    int
	waiting list.List // of *conn: the longest wait first
}

// newListener returns l with bounds, and registers its metrics.
func newListener(l net.Listener, most, probes int, warn *ratelog.Logger, registry prometheus.Registerer) *listener {
	b := &listener{Listener: l, general: places{max: most}, probes: places{max: probes}, warn: warn}
	registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "mastersocket_admin_connections", Help: "Open connections of the admin listener.",
		}, func() float64 { return float64(b.general.count() + b.probes.count()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "mastersocket_admin_connections_displaced_total",
			Help: "Connections to the admin listener that were closed without a request in progress to make room for a new one.",
		}, func() float64 { return float64(b.displaced.Load()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "mastersocket_admin_connections_refused_total",
			Help: "Connections to the admin listener that were closed at once because all others had requests in progress.",
		}, func() float64 { return float64(b.refused.Load()) }),
	)
	return b
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	for {
		inner, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &conn{Conn: inner}
		if l.place(c) {
			return c, nil
		}
		l.refused.Add(1)
		l.warn.Warn("admin connection refused: too many requests in progress", "admin_connections")
		_ = inner.Close() // the error changes nothing
	}
}

// place finds a place for a new connection.
func (l *listener) place(c *conn) bool {
	if l.general.add(c) {
		return true
	}
	for _, p := range []*places{&l.general, &l.probes} {
		if p == &l.probes && p.add(c) {
			return true
		}
		if old := p.displace(); old != nil {
			l.displaced.Add(1)
			_ = old.Conn.Close() // the error changes nothing
			if p.add(c) {
				return true
			}
		}
	}
	return false
}

func (p *places) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.open
}

// add gives c a place, where it waits, if one is free.
func (p *places) add(c *conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open >= p.max {
		return false
	}
	p.open++
	c.in, c.waits = p, p.waiting.PushBack(c)
	return true
}

// displace frees the place of the connection that has waited longest and returns it for the caller to close; nil if none
// waits.
func (p *places) displace() *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	first := p.waiting.Front()
	if first == nil {
		return nil
	}
	c := p.waiting.Remove(first).(*conn)
	c.waits, c.gone = nil, true
	p.open--
	return c
}

// conn is a connection that holds a place.
type conn struct {
	net.Conn
	in *places // set before the connection is used

	// Guarded by in.mu.
	waits *list.Element // nil while a request is in progress
	gone  bool          // its place is free again
}

// begin marks a request as in progress. It returns false if the connection was displaced before.
func (c *conn) begin() bool {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	if c.waits != nil {
		c.in.waiting.Remove(c.waits)
		c.waits = nil
	}
	return !c.gone
}

// end marks the connection as waiting.
func (c *conn) end() {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	if !c.gone && c.waits == nil {
		c.waits = c.in.waiting.PushBack(c)
	}
}

// Close implements net.Conn.
func (c *conn) Close() error {
	err := c.Conn.Close()
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	if c.gone {
		return err
	}
	if c.gone = true; c.waits != nil {
		c.in.waiting.Remove(c.waits)
		c.waits = nil
	}
	c.in.open--
	return err
}

// placeOf returns the connection of this listener below a connection of the HTTP server.
func placeOf(c net.Conn) *conn {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	own, _ := c.(*conn)
	return own
}

// connKey is the context key of a request's connection.
type connKey struct{}

// withConn implements http.Server.ConnContext.
func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, placeOf(c))
}

// onState implements http.Server.ConnState: a connection waits again once the response has been written.
func onState(c net.Conn, state http.ConnState) {
	if own := placeOf(c); own != nil && state == http.StateIdle {
		own.end()
	}
}

// inPlace serves requests while their connection holds its place: a place for probes answers nothing else.
func (l *listener) inPlace(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, _ := r.Context().Value(connKey{}).(*conn)
		if c == nil || !c.begin() {
			panic(http.ErrAbortHandler) // displaced: no response could arrive
		}
		if c.in == &l.probes {
			w.Header().Set("Connection", "close")
			if !isProbe(r.URL.Path) {
				w.Header().Set("Retry-After", "1")
				writeProblem(w, http.StatusServiceUnavailable, "too many connections with requests in progress")
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// isProbe reports whether a path is for health checks and monitoring.
func isProbe(path string) bool { return path == "/healthz" || path == "/readyz" || path == "/metrics" }
