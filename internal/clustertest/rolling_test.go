//go:build linux

package clustertest

import (
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/internal/figure"
)

// TestRollingRestart restarts three instances one after the other under load, each on its old port: SIGTERM, drain,
// start. Clients whose connection ends connect to the next instance.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	rollingRestart(t, 3, clusterOptions{})
}

// TestRestartOverTLS restarts one of three instances whose clients all connect over TLS.
func TestRestartOverTLS(t *testing.T) {
	t.Parallel()
	c := rollingRestart(t, 1, clusterOptions{tls: true})
	if n := c.sum("mastersocket_tls_handshakes_total", `result="done"`) + c.sum("mastersocket_tls_handshakes_total", `result="resumed"`); n == 0 {
		t.Error("no client connected over TLS")
	}
}

// rollingRestart restarts the first n of three instances and judges the history.
func rollingRestart(t *testing.T, n int, o clusterOptions) *cluster {
	t.Helper()
	drain := figure.Choose(time.Second, 5*time.Second)
	o.flags = []string{"--drain-timeout", drain.String()}
	c := startCluster(t, 3, o)
	l := startLoad(t, c.urls(), loadOptions{roam: true, trust: c.trust})
	for i := range n {
		l.runFor(time.Second)
		begin := time.Now()
		c.terminate(i)
		ended := time.Since(begin)
		c.awaitNodes(patience, 2)
		known := time.Since(begin) - ended
		c.restart(i)
		c.awaitNodes(patience, 3)
		figure.Printf(t, "instance %d restarted: drained and ended %v after SIGTERM, gone from the others %v later, three again after %v in all",
			i, figure.MS(ended), figure.MS(known), figure.MS(time.Since(begin)))
	}
	l.runFor(time.Second)
	r := l.finish(c)
	joins := 0
	for _, m := range l.members {
		joins += m.joins - 1
	}
	figure.Printf(t, "rolling restart with a drain timeout of %v: %d clients connected again %d times; disconnects %v, %d cut off; refused %v",
		drain, len(l.members), joins, r.Disconnects, r.CutOff, r.Refused)
	if r.Counted > 0 || r.CutOff > 0 || len(r.Disconnects) != 1 || r.Disconnects["SERVER_RESTART"] == 0 {
		t.Errorf("want nothing lost, and SERVER_RESTART for every disconnect: %v", r)
	}
	return c
}
