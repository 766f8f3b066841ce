//go:build linux

package hubtest

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	rc "github.com/mastersocket/mastersocket/internal/rawclient"
	"github.com/mastersocket/mastersocket/internal/tlstest"
)

// startTLS runs a hub that listens with and without TLS, and returns the TLS settings of its clients.
func startTLS(t *testing.T, want tlstest.Template, flags ...string) (*Server, *tls.Config) {
	t.Helper()
	certificate, trust := Certify(t, want)
	return Start(t, Options{Quiet: true, TLS: true, TCP: true, Flags: append(flags, certificate...)}), trust
}

// crowd connects n clients, a few at a time, from several addresses as ports are limited, and calls each, if not nil,
// for every client.
func crowd(t *testing.T, addr string, n int, cfg *tls.Config, each func(i int, c *rc.Conn)) []*rc.Conn {
	t.Helper()
	conns := make([]*rc.Conn, n)
	var wg sync.WaitGroup
	const dialers = 4
	for d := range dialers {
		wg.Go(func() {
			for i := d; i < n; i += dialers {
				c, err := rc.Dial(addr, rc.Options{Source: fmt.Sprintf("127.0.0.%d", 1+i%20), TLS: cfg, Timeout: time.Minute})
				if err != nil {
					t.Error(err)
					return
				}
				if conns[i] = c; each != nil {
					each(i, c)
				}
			}
		})
	}
	wg.Wait()
	t.Cleanup(func() {
		for _, c := range conns {
			if c != nil {
				_ = c.Close()
			}
		}
	})
	if t.Failed() {
		t.FailNow()
	}
	return conns
}

// member opens the WebSocket and identifies.
func member(t *testing.T, group string) func(int, *rc.Conn) {
	return func(_ int, c *rc.Conn) {
		if err := c.Upgrade("/"); err != nil {
			t.Error(err)
			return
		}
		if _, err := c.Identify(Token, group, ""); err != nil {
			t.Error(err)
		}
	}
}

// TestMemoryPerIdleTLSClient is TestMemoryPerIdleClient over TLS: crypto/tls accounts for nearly all of it.
func TestMemoryPerIdleTLSClient(t *testing.T) {
	if raceEnabled {
		t.Skip("measured without the race detector; make test does that too")
	}
	const clients, most = 4_000, 14 << 10
	s, cfg := startTLS(t, tlstest.Template{})
	crowd(t, s.TLSAddr, 200, cfg, member(t, "idle")) // one-time allocations of the hub
	before, heap := s.RSS(), s.Metrics().Sum("go_memstats_heap_alloc_bytes")
	crowd(t, s.TLSAddr, clients, cfg, member(t, "idle"))
	per := float64(s.RSS()-before) / clients
	t.Logf("%.0f bytes of resident memory for each idle client over TLS, %d of them; the heap grew by %.0f for each", per, clients,
		(s.Metrics().Sum("go_memstats_heap_alloc_bytes")-heap)/clients)
	if per > most {
		t.Errorf("%.0f bytes for each idle client, want at most %d", per, most)
	}
}

// TestTLSCost prints the CPU time of TLS in the hub: per handshake, by kind of the certificate's key, and per delivered
// message, beside one without TLS.
func TestTLSCost(t *testing.T) {
	if raceEnabled || testing.Short() {
		t.Skip("measured without the race detector")
	}
	const shakes = 600
	for _, kind := range []string{"ECDSA P-256", "RSA-2048"} {
		s, cfg := startTLS(t, tlstest.Template{RSA: kind == "RSA-2048"})
		crowd(t, s.TLSAddr, 20, cfg, nil)
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			own := cfg.Clone()
			own.MinVersion, own.MaxVersion = version, version
			before, began := spent(t, s), time.Now()
			crowd(t, s.TLSAddr, shakes, own, nil)
			cost := (spent(t, s) - before) / shakes
			t.Logf("%s, %s: %v of the hub's processors for each handshake: %.0f a second and core (%.0f a second here, clients included)",
				kind, tls.VersionName(version), cost, 1/cost.Seconds(), shakes/time.Since(began).Seconds())
		}
		before := spent(t, s)
		crowd(t, s.HubAddr, shakes, nil, nil)
		t.Logf("without TLS: %v for each connection", (spent(t, s)-before)/shakes)
		if kind == "ECDSA P-256" {
			for _, size := range []int{100, 1000, 10_000} {
				plain, secure := time.Hour, time.Hour
				for range 3 { // the minimum: other work makes caches cold
					plain = min(plain, deliveries(t, s, s.HubAddr, nil, size))
					secure = min(secure, deliveries(t, s, s.TLSAddr, cfg, size))
				}
				t.Logf("a message of %d bytes: %v of the hub's processors for each delivery, %v over TLS", size, plain, secure)
			}
		}
	}
}

// spent returns the run time of the hub's threads. Unlike Server.CPU it counts nanoseconds.
func spent(t *testing.T, s *Server) time.Duration {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", s.PID()))
	if err != nil || len(files) == 0 {
		t.Fatalf("no threads: %v", err)
	}
	var total time.Duration
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var running int64 // the first of three numbers (Documentation/scheduler/sched-stats.rst)
		if _, err := fmt.Sscan(string(text), &running); err != nil {
			t.Fatal(err)
		}
		total += time.Duration(running)
	}
	return total
}

// deliveries returns the hub's CPU time per delivered message: one client sends, many receive, and each message waits
// for the delivery of the one before, so that each delivery is one write.
func deliveries(t *testing.T, s *Server, addr string, cfg *tls.Config, size int) time.Duration {
	t.Helper()
	const receivers, messages = 20, 500
	group := fmt.Sprintf("g%d", time.Now().UnixNano())
	conns := crowd(t, addr, receivers, cfg, member(t, group))
	sender := crowd(t, addr, 1, cfg, member(t, "sender"))[0]
	message := fmt.Sprintf(`{"op":0,"event":"e","intent":{"target":"GROUP","identifier":%q},"data":%q}`, group, strings.Repeat("x", size))
	frame := rc.Frames(rc.Text(message))
	before := spent(t, s)
	for range messages {
		if err := sender.Write(frame); err != nil {
			t.Fatal(err)
		}
		for _, c := range conns {
			if _, _, err := c.ReadMessage(); err != nil {
				t.Fatal(err)
			}
		}
	}
	return (spent(t, s) - before) / (receivers * messages)
}
