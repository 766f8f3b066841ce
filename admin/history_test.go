package admin

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/intent"
)

// TestHistory reads a group's history in pages, on another instance than that of its sender, and drops it.
func TestHistory(t *testing.T) {
	t.Parallel()
	every, err := intent.ParsePattern("orders/*")
	if err != nil {
		t.Fatal(err)
	}
	c := startCluster(t, 2, func(_ int, h *hub.Options, _ *Options) {
		h.History = []hub.HistoryRule{{
			Groups: intent.Patterns{every}, Limits: broker.Limits{Messages: 4, Age: time.Hour, Bytes: 1 << 20}, MaxGroups: 10,
		}}
	})
	post := func(i int, body string, receipt *hub.Receipt) {
		t.Helper()
		r := c.call(i, "POST", "/v1/events", body)
		if err := json.Unmarshal(r.body, receipt); err != nil || r.status != 200 {
			t.Fatalf("%s: %d, %v", body, r.status, err)
		}
	}
	const path = "/v1/groups/orders%2Feu/history"
	if r := c.call(1, "GET", path, ""); r.status != 404 {
		t.Errorf("before the first message: %d", r.status)
	}
	for i := range 6 {
		var receipt hub.Receipt
		post(0, fmt.Sprintf(`{"id":"e%d","event":"created","data":%d,"intent":{"target":"GROUP","identifier":"orders/eu"}}`, i, i), &receipt)
		if receipt.Offset == nil || *receipt.Offset != uint64(i+1) || *receipt.Instances != 1 || receipt.Clients != nil || receipt.Duplicate {
			t.Errorf("receipt %d: %+v", i, receipt)
		}
	}
	var receipt hub.Receipt
	for range 2 {
		post(1, `{"id":"o","once":true,"intent":{"target":"GROUP","identifier":"orders/eu"}}`, &receipt)
	}
	if *receipt.Offset != 7 || !receipt.Duplicate {
		t.Errorf("the same event again: %+v", receipt)
	}
	var page hub.HistoryPage
	c.get(1, path+"?limit=3", &page)
	if page.First != 4 || page.Last != 7 || page.Epoch == "" || page.Bytes == 0 || page.Group != "orders/eu" || len(page.Messages) != 3 ||
		page.Next == nil || *page.Next != 6 {
		t.Fatalf("got %+v", page)
	}
	m := page.Messages[0]
	if m.Offset != 4 || m.Epoch != page.Epoch || !strings.HasPrefix(string(m.Message), `{"op":0,"id":"e3","event":"created","data":3,`) ||
		!strings.HasSuffix(string(m.Message), `,"offset":4,"sender":"`+m.Sender.String()+`"}`) {
		t.Errorf("got %+v: %s", m, m.Message)
	}
	c.get(1, fmt.Sprint(path, "?after=", *page.Next), &page)
	if len(page.Messages) != 1 || page.Messages[0].Offset != 7 || page.Next != nil {
		t.Errorf("the last page: %+v", page)
	}
	var e hub.HistoryExtent
	if r := c.call(1, "DELETE", path, ""); r.status != 200 {
		t.Errorf("purge: %d", r.status)
	}
	c.get(0, path, &e)
	if e.First != 8 || e.Last != 7 || e.Epoch != page.Epoch {
		t.Errorf("after the purge: %+v", e)
	}
	if log := c.log.String(); !strings.Contains(log, "purge") || !strings.Contains(log, "orders/eu") {
		t.Error("the purge is not in the log")
	}
}
