//go:build linux

package hubtest

import (
	"fmt"
	"strings"
	"testing"

	rc "github.com/mastersocket/mastersocket/internal/rawclient"
)

// TestAllQueuesTogether: clients that read nothing, and a sender that fills the queue of each, don't push the hub past its
// memory, though each stays within what one client may have.
func TestAllQueuesTogether(t *testing.T) {
	const clients, size, megabytes = 60, 30_000, 8 // the kernel takes up to 4 MiB for each before the hub has to
	s := Start(t, Options{Env: []string{"GOMEMLIMIT=100MiB"}, Flags: []string{"--send-queue-bytes", "4MiB"}})
	dial := func(group string) (*rc.Conn, string) {
		c := dialRaw(t, s.HubAddr)
		if err := c.Upgrade("/"); err != nil {
			t.Fatal(err)
		}
		id, err := c.Identify(Token, group, "")
		if err != nil {
			t.Fatal(err)
		}
		return c, id
	}
	from, _ := dial("senders")
	var ids []string
	for range clients {
		_, id := dial("deaf")
		ids = append(ids, id)
	}
	before, most := s.RSS(), int64(0)
	for range megabytes << 20 / size {
		for _, id := range ids {
			msg := fmt.Sprintf(`{"op":0,"data":%q,"intent":{"target":"DIRECT","identifier":%q}}`, strings.Repeat("x", size), id)
			if err := from.Write(rc.Text(msg).Bytes()); err != nil {
				t.Fatal(err)
			}
		}
		most = max(most, s.RSS())
	}
	ended := s.Metrics().Sum("mastersocket_refusals_total", `cause="send_queues_full"`)
	grown := (most - before) >> 20
	t.Logf("%d MiB more at most; %v of %d clients were disconnected", grown, ended, clients)
	if grown > 100 {
		t.Errorf("the hub took %d MiB more", grown)
	}
	if ended == 0 {
		t.Error("no client had to give way")
	}
}
