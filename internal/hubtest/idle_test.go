//go:build linux

package hubtest

import (
	"fmt"
	"testing"

	rc "github.com/mastersocket/mastersocket/internal/rawclient"
)

// TestMemoryPerIdleClient measures the cost of an idle client: the growth of the hub's resident memory with 10,000 of
// them. It runs without the race detector, which needs memory itself.
func TestMemoryPerIdleClient(t *testing.T) {
	if raceEnabled {
		t.Skip("measured without the race detector; make test does that too")
	}
	const clients, most = 10_000, 1024
	s := Start(t, Options{Quiet: true})
	warm := idle(t, s, 100) // one-time allocations of the hub
	before := s.RSS()
	conns := append(warm, idle(t, s, clients)...)
	after := s.RSS()
	if got := int(s.Metrics().Sum("mastersocket_connections")); got != len(conns) {
		t.Fatalf("the hub counts %d clients, want %d", got, len(conns))
	}
	per := float64(after-before) / clients
	t.Logf("%.0f bytes of resident memory for each idle client, %d of them", per, clients)
	if per > most {
		t.Errorf("%.0f bytes for each idle client, want at most %d", per, most)
	}
	for _, c := range conns {
		_ = c.Close()
	}
}

// idle connects and identifies n clients, from several addresses as ports are limited.
func idle(t *testing.T, s *Server, n int) []*rc.Conn {
	t.Helper()
	conns := make([]*rc.Conn, n)
	for i := range conns {
		c, err := rc.Dial(s.HubAddr, rc.Options{Source: fmt.Sprintf("127.0.0.%d", 1+i%20)})
		if err != nil {
			t.Fatal(err)
		}
		conns[i] = c
		if err := c.Upgrade("/"); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Identify(Token, "idle", ""); err != nil {
			t.Fatal(err)
		}
	}
	return conns
}
