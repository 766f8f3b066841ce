//go:build linux

package clustertest

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/hubtest"
	"github.com/mastersocket/mastersocket/internal/redistest"
	"github.com/mastersocket/mastersocket/internal/tlstest"
)

// cluster is one hub of several instances, named a, b, c …, with their Redis.
type cluster struct {
	t     *testing.T
	redis *redistest.Server
	hubs  []*hubtest.Server
	flags []string
	env   []string
	trust *tls.Config        // TLS settings of clients; nil without TLS
	url   func(i int) string // Redis URL of instance i

	binary string // of instances that start from now on; empty: the one under test
}

// clusterOptions configures a cluster. The zero value suits most tests.
type clusterOptions struct {
	flags []string           // of every instance
	env   []string           // of every instance
	url   func(i int) string // nil: the URL of the cluster's Redis
	redis *redistest.Server  // nil: a new one
	tls   bool               // clients connect over TLS

	binary string // of all instances at first; empty: the one under test
}

// startCluster runs n instances and waits until each knows all others.
func startCluster(t *testing.T, n int, o clusterOptions) *cluster {
	t.Helper()
	c := &cluster{t: t, redis: o.redis, flags: o.flags, env: o.env, url: o.url, binary: o.binary}
	if c.redis == nil && c.url == nil {
		c.redis = redistest.Start(t)
	}
	if c.url == nil {
		c.url = func(int) string { return c.redis.URL() }
	}
	if o.tls {
		var certificate []string
		certificate, c.trust = hubtest.Certify(t, tlstest.Template{})
		c.flags = append(certificate, c.flags...)
	}
	for i := range n {
		c.hubs = append(c.hubs, c.start(i, "", ""))
	}
	c.awaitNodes(patience, n)
	return c
}

// start runs instance i. Empty addresses mean free ports.
func (c *cluster) start(i int, addr, tlsAddr string) *hubtest.Server {
	c.t.Helper()
	return hubtest.Start(c.t, hubtest.Options{
		Name: string(rune('a' + i)), Redis: c.url(i), Flags: c.flags, Env: c.env, Addr: addr,
		TLS: c.trust != nil, TLSAddr: tlsAddr, Binary: c.binary,
	})
}

// urls returns the addresses for clients, by instance.
func (c *cluster) urls() []string {
	var urls []string
	for _, h := range c.hubs {
		if c.trust != nil {
			urls = append(urls, h.TLSURL())
		} else {
			urls = append(urls, h.URL())
		}
	}
	return urls
}

// alive returns the instances whose processes run.
func (c *cluster) alive() []*hubtest.Server {
	var alive []*hubtest.Server
	for _, h := range c.hubs {
		if h.Alive() {
			alive = append(alive, h)
		}
	}
	return alive
}

// awaitNodes waits until every running instance counts n instances, including itself.
func (c *cluster) awaitNodes(timeout time.Duration, n int) {
	c.t.Helper()
	for _, h := range c.alive() {
		err := eventually.Within(timeout, func() bool { return int(h.Metrics().Sum("mastersocket_nodes")) == n })
		if err != nil {
			c.t.Fatalf("instance %s counts %v instances, want %d: %v", h.HubAddr, h.Metrics().Sum("mastersocket_nodes"), n, err)
		}
	}
}

// readiness returns the answer of GET /readyz.
func readiness(h *hubtest.Server) (ready bool, text string) {
	status, body := h.Get("/readyz")
	return status == http.StatusOK, strings.TrimSpace(string(body))
}

// awaitReady waits until all hubs are ready, and returns the time that took.
func awaitReady(t *testing.T, hubs ...*hubtest.Server) time.Duration {
	t.Helper()
	return awaitReadiness(t, true, hubs)
}

// awaitNotReady waits until no hub is ready, and returns the time that took.
func awaitNotReady(t *testing.T, hubs ...*hubtest.Server) time.Duration {
	t.Helper()
	return awaitReadiness(t, false, hubs)
}

func awaitReadiness(t *testing.T, ready bool, hubs []*hubtest.Server) time.Duration {
	t.Helper()
	begin := time.Now()
	for _, h := range hubs {
		err := eventually.Within(patience, func() bool { is, _ := readiness(h); return is == ready })
		if err != nil {
			_, text := readiness(h)
			t.Fatalf("readiness is %q, want %v: %v", text, ready, err)
		}
	}
	return time.Since(begin)
}

// sum adds up a metric over the running instances.
func (c *cluster) sum(name string, labels ...string) int {
	total := 0.0
	for _, h := range c.alive() {
		total += h.Metrics().Sum(name, labels...)
	}
	return int(total)
}

// losses returns the messages that the instances counted as lost, for any cause but a target without receivers.
func (c *cluster) losses() (total int, text string) {
	var b strings.Builder
	add := func(name string, labels ...string) {
		n := c.sum(name, labels...)
		total += n
		if n > 0 {
			fmt.Fprintf(&b, " %s%v=%d", name, labels, n)
		}
	}
	for _, reason := range []string{"receiver_gone", "broker_unavailable", "outcome_unknown", "closing"} {
		add("mastersocket_drops_total", `reason="`+reason+`"`)
	}
	add("mastersocket_broker_missed_total")
	return total, b.String()
}

// terminate stops instance i with SIGTERM and waits until it has drained.
func (c *cluster) terminate(i int) {
	c.t.Helper()
	c.hubs[i].Signal(syscall.SIGTERM)
	code, ok := c.hubs[i].Wait(patience)
	if !ok || code != 0 {
		c.t.Fatalf("instance %d ended: %v, exit code %d; want 0", i, ok, code)
	}
}

// restart starts instance i again on its old ports.
func (c *cluster) restart(i int) {
	c.t.Helper()
	c.hubs[i] = c.start(i, c.hubs[i].HubAddr, c.hubs[i].TLSAddr)
}
