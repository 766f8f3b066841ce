package admin

import (
	"net"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mastersocket/mastersocket/internal/ratelog"
)

// maxConnections is how many connections the listener has open at the same time. An operator's browser has six.
const maxConnections = 1024

// bounded is a listener that closes what comes beyond a number of open connections, so that nobody can take the
// descriptors of the hub by way of this one. Those that say nothing end by the limits of the HTTP server.
type bounded struct {
	net.Listener
	max     int64
	open    atomic.Int64
	refused atomic.Uint64
	warn    *ratelog.Logger
}

// newBounded returns l with a bound, and registers its metrics.
func newBounded(l net.Listener, most int64, warn *ratelog.Logger, registry prometheus.Registerer) *bounded {
	b := &bounded{Listener: l, max: most, warn: warn}
	registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "mastersocket_admin_connections", Help: "Open connections of the admin listener.",
		}, func() float64 { return float64(b.open.Load()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "mastersocket_admin_connections_refused_total",
			Help: "Connections to the admin listener that were closed at once: too many were open.",
		}, func() float64 { return float64(b.refused.Load()) }),
	)
	return b
}

// Accept implements net.Listener.
func (b *bounded) Accept() (net.Conn, error) {
	for {
		c, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if b.open.Add(1) <= b.max {
			return &boundedConn{Conn: c, of: b}, nil
		}
		b.open.Add(-1)
		b.refused.Add(1)
		b.warn.Warn("a connection to the admin listener was closed: too many are open", "admin_connections")
		_ = c.Close() // it is of no use in any case
	}
}

// boundedConn is a connection that counts.
type boundedConn struct {
	net.Conn
	of   *bounded
	once sync.Once
}

// Close implements net.Conn.
func (c *boundedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { c.of.open.Add(-1) })
	return err
}
