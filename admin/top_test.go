package admin

import (
	"testing"

	"github.com/mastersocket/mastersocket/internal/eventually"
)

// TestTop finds the client that floods on another instance.
func TestTop(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2, nil)
	flood, quiet := c.connect(1, "flood", obj{"name": "flood"}), c.connect(0, "quiet", obj{"name": "quiet"})
	for range 50 {
		flood.send(obj{"op": 0, "event": "e", "intent": obj{"target": "GROUP", "identifier": "quiet"}})
	}
	quiet.send(obj{"op": 0, "event": "e", "intent": obj{"target": "GROUP", "identifier": "quiet"}})
	var list TopList
	eventually.True(t, "all messages to count", func() bool {
		c.get(0, "/v1/top?window=5m&limit=1", &list)
		return len(list.Groups) == 1 && list.Groups[0].Long.MessagesIn*300 > 50.9 && list.Groups[0].Long.MessagesOut*300 > 50.9
	})
	if len(list.Clients) != 1 || list.Clients[0].Name != "flood" || list.Clients[0].Node != "node-1" || list.Groups[0].Name != "quiet" ||
		len(list.Tokens) != 1 || list.Tokens[0].Name != "root" || len(list.Missing) > 0 {
		t.Errorf("%+v", list)
	}
	if c.get(1, "/v1/top?window=5m&sort=bytes_out", &list); len(list.Clients) != 1 || list.Clients[0].Name != "quiet" {
		t.Errorf("by bytes out: %+v", list.Clients)
	}
}
