//go:build linux

package rolltest

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/figure"
	"github.com/mastersocket/mastersocket/internal/history"
	"github.com/mastersocket/mastersocket/internal/hubtest"
	"github.com/mastersocket/mastersocket/internal/redistest"
	"github.com/mastersocket/mastersocket/internal/tlstest"
)

// tlsName is a name in the hubs' certificate.
const tlsName = "hub.test"

// rig is a deployment: hubs, Redis, the balancer and a host for clients, each in its own namespace.
type rig struct {
	t       *testing.T
	net     *network
	redis   *redistest.Server
	balance *haproxy
	clients *host
	hosts   []*host
	hubs    []*hubtest.Server
	flags   []string // of every hub
	trust   []byte   // CA of the hubs' certificate; nil without TLS
}

// newRig starts Redis, the balancer and the first n hubs; haproxy knows spare more.
func newRig(t *testing.T, n, spare int, flags ...string) *rig {
	t.Helper()
	return startRig(&rig{t: t, flags: flags}, n, spare)
}

// newTLSRig is newRig with hubs that serve TLS, which haproxy passes through.
func newTLSRig(t *testing.T, n, spare int, flags ...string) *rig {
	t.Helper()
	ca := tlstest.NewAuthority(t)
	certificate, key := tlstest.Write(t, t.TempDir(), ca.Issue(t, tlstest.Template{Name: tlsName}))
	return startRig(&rig{t: t, flags: append(flags, "--tls-cert="+certificate, "--tls-key="+key), trust: ca.PEM()}, n, spare)
}

func startRig(r *rig, n, spare int) *rig {
	r.t.Helper()
	t := r.t
	r.net = newNetwork(t)
	hubtest.Binary(t)
	at := r.net.newHost()
	r.redis = redistest.StartAt(t, at.addr.String(), portRedis, at.within)
	for range n + spare {
		r.hosts = append(r.hosts, r.net.newHost())
	}
	for range n {
		r.addHub()
	}
	r.balance = startHaproxy(t, r.net.newHost(), r.hosts, r.trust != nil)
	r.clients = r.net.newHost()
	r.awaitNodes(n)
	for i := range n {
		r.balance.await(i, "UP")
	}
	return r
}

// addHub starts the next hub.
func (r *rig) addHub() {
	r.t.Helper()
	r.hubs = append(r.hubs, r.start(len(r.hubs)))
}

func (r *rig) start(i int) *hubtest.Server {
	r.t.Helper()
	at := r.hosts[i]
	return hubtest.Start(r.t, hubtest.Options{
		Name: fmt.Sprintf("hub%d", i+1), Redis: r.redis.URL(), Flags: r.flags, Addr: at.port(portHub), AdminAddr: at.port(portAdmin),
		TLS: r.trust != nil, TLSAddr: at.port(portTLS), Within: at.within,
	})
}

// awaitNodes waits until every running hub counts n hubs and is ready.
func (r *rig) awaitNodes(n int) {
	r.t.Helper()
	for i, h := range r.hubs {
		if !h.Alive() {
			continue
		}
		err := eventually.Within(patience, func() bool {
			status, _ := h.Get("/readyz")
			return status == http.StatusOK && int(h.Metrics().Sum("mastersocket_nodes")) == n
		})
		if err != nil {
			r.t.Fatalf("hub %d is not ready among %d: %v", i+1, n, err)
		}
	}
}

// restarted is the record of a hub's restart. Times are those of the history.
type restarted struct {
	begin, gone, ready, taken int64         // SIGTERM; its process ended; it is ready again; haproxy gives it clients
	before                    int           // number of connections before
	cpu                       time.Duration // CPU time of the drain
}

// restart stops hub i as an orchestrator does, and starts it again at the same address.
func (r *rig) restart(i int) restarted {
	r.t.Helper()
	h := r.hubs[i]
	s := restarted{before: r.connections(i), cpu: h.CPU(), begin: history.Now()}
	h.Signal(syscall.SIGTERM)
	code, ok := h.Wait(drainTimeout + patience)
	if s.gone = history.Now(); !ok || code != 0 {
		r.t.Fatalf("hub %d ended: %v, exit code %d; want 0", i+1, ok, code)
	}
	s.cpu = h.CPU() - s.cpu
	r.hubs[i] = r.start(i)
	r.awaitNodes(len(r.hubs))
	s.ready = history.Now()
	r.balance.await(i, "UP")
	s.taken = history.Now()
	return s
}

// connections returns the number of hub i's connections.
func (r *rig) connections(i int) int {
	r.t.Helper()
	return int(r.hubs[i].Metrics().Sum("mastersocket_connections"))
}

// spread returns the numbers of connections of all running hubs.
func (r *rig) spread() []int {
	r.t.Helper()
	var all []int
	for i, h := range r.hubs {
		if h.Alive() {
			all = append(all, r.connections(i))
		}
	}
	return all
}

// tlsConfig returns the TLS settings of clients for hubs with the CA trust; nil without one.
func tlsConfig(trust []byte) *tls.Config {
	if trust == nil {
		return nil
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(trust)
	return &tls.Config{RootCAs: pool, ServerName: tlsName}
}

// since returns the time between two times of the history, for output.
func since(from, to int64) time.Duration { return figure.MS(time.Duration(to - from)) }
