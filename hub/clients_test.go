package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker/memory"
)

// twoHubs starts two hubs with different names on one bus.
func twoHubs(t *testing.T) (hubs [2]*Hub, urls [2]string) {
	bus := memory.NewBus()
	for i := range hubs {
		hubs[i], urls[i] = startHub(t, bus.Broker(), func(o *Options) { o.NodeName = fmt.Sprint("node-", i) })
	}
	return hubs, urls
}

func inspectCtx(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// listAll walks through all pages, calling between before each but the first.
func listAll(t *testing.T, h *Hub, f Filter, limit int, between func()) []Client {
	t.Helper()
	var all []Client
	for cursor := ""; ; {
		page, err := h.Clients(inspectCtx(t), f, cursor, limit)
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Missing) > 0 || len(page.Clients) > limit {
			t.Fatalf("%d clients on a page of %d, missing %v", len(page.Clients), limit, page.Missing)
		}
		all = append(all, page.Clients...)
		if cursor = page.Next; cursor == "" {
			return all
		}
		between()
	}
}

func TestListClientsOfTheCluster(t *testing.T) {
	t.Parallel()
	hubs, urls := twoHubs(t)
	want := make(map[string]bool)
	var leaving []*peer
	for i := range 40 {
		p := identify(t, urls[i%2], fmt.Sprint("g", i%4), m{"name": "svc", "groups": []string{"all"}})
		if i%10 == 0 {
			leaving = append(leaving, p)
		} else {
			want[p.id] = true
		}
	}
	got := make(map[string]int)
	for _, c := range listAll(t, hubs[0], Filter{}, 7, func() {
		if len(leaving) > 0 { // the list changes while it is walked through
			leaving[0].send(m{"op": 2})
			leaving[0].wantDisconnect("goodbye", "NO_REASON", 1000)
			leaving = leaving[1:]
			identify(t, urls[1], "late", nil)
		}
	}) {
		got[c.ID.String()]++
	}
	for id := range want {
		if got[id] != 1 {
			t.Errorf("client %s, connected throughout, is listed %d times", id, got[id])
		}
	}
	if n := len(listAll(t, hubs[1], Filter{Group: "g1", Node: "node-1"}, 100, nil)); n != 10 {
		t.Errorf("%d clients of g1 on node-1, want 10", n)
	}
	if n := len(listAll(t, hubs[1], Filter{Name: "nobody"}, 100, nil)); n != 0 {
		t.Errorf("%d clients of a name that nobody has", n)
	}
	if _, err := hubs[0].Clients(inspectCtx(t), Filter{}, "!", 1); !errors.Is(err, ErrCursor) {
		t.Errorf("a bad cursor: %v", err)
	}
}

// TestLargeClientsMakeShortPages lists clients that say so much of themselves that a page has no room for all.
func TestLargeClientsMakeShortPages(t *testing.T) {
	t.Parallel()
	hubs, urls := twoHubs(t)
	hubs[0].answerBytes, hubs[1].answerBytes = 20_000, 9_000
	want := make(map[string]int)
	for i := range 30 {
		meta := m{"text": strings.Repeat("\x01", 200)}
		if i%3 == 0 {
			meta = nil
		}
		want[identify(t, urls[i%2], "g", m{"meta": meta}).id]++
	}
	pages := 1
	for _, c := range listAll(t, hubs[0], Filter{}, 100, func() { pages++ }) {
		if want[c.ID.String()]--; want[c.ID.String()] != 0 {
			t.Errorf("client %s is listed twice", c.ID)
		}
		delete(want, c.ID.String())
	}
	if len(want) > 0 || pages < 3 {
		t.Errorf("%d clients are not listed, on %d pages", len(want), pages)
	}
	big := Client{Name: strings.Repeat("\x01", 100), Groups: []string{"\x02"}, Meta: map[string]string{"\x03": "\x04"}, Address: "[::1]:65535"}
	if b, err := json.Marshal(&big); err != nil || len(b) > big.size() {
		t.Errorf("a client takes %d bytes, more than %d: %v", len(b), big.size(), err)
	}
}

func TestDescribeClient(t *testing.T) {
	t.Parallel()
	hubs, urls := twoHubs(t)
	p := identify(t, urls[1], "a", m{"name": "svc", "version": "1.2", "meta": m{"zone": "x"}, "groups": []string{"b"}})
	p.send(event("1", to("GROUP", "b")))
	p.pong()
	c, err := hubs[0].Client(inspectCtx(t), uuid.MustParse(p.id))
	if err != nil {
		t.Fatal(err)
	}
	if c.Node != "node-1" || c.Name != "svc" || c.Version != "1.2" || c.Meta["zone"] != "x" || fmt.Sprint(c.Groups) != "[a b]" ||
		c.Address == "" || c.MessagesIn != 1 || time.Since(c.ConnectedSince) > time.Minute {
		t.Errorf("got %+v", c)
	}
	if _, err := hubs[0].Client(inspectCtx(t), uuid.New()); !errors.Is(err, ErrClientNotFound) {
		t.Errorf("an unknown client: %v", err)
	}
}

func TestListGroupsAndNodes(t *testing.T) {
	t.Parallel()
	hubs, urls := twoHubs(t)
	for i := range 30 {
		identify(t, urls[i%2], fmt.Sprintf("g%02d", i), m{"groups": []string{"shared"}})
	}
	var names []string
	for cursor := ""; ; {
		page, err := hubs[1].Groups(inspectCtx(t), "", cursor, 4)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range page.Groups {
			names = append(names, g.Name)
			if g.Name == "shared" && (g.Members != 30 || g.Nodes["node-0"] != 15 || g.Nodes["node-1"] != 15) {
				t.Errorf("got %+v", g)
			}
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	if len(names) != 31 || names[0] != "g00" || names[30] != "shared" {
		t.Errorf("got %v", names)
	}
	nodes := hubs[0].Nodes()
	if len(nodes) != 2 || nodes[0].Name != "node-0" || nodes[0].Clients != 15 {
		t.Errorf("got %+v", nodes)
	}
}

// TestKickedClientsAreTold disconnects a client of another instance.
func TestKickedClientsAreTold(t *testing.T) {
	t.Parallel()
	hubs, urls := twoHubs(t)
	p := identify(t, urls[1], "g", m{"name": "svc"})
	c, err := hubs[0].Kick(inspectCtx(t), uuid.MustParse(p.id))
	if err != nil || c.Name != "svc" {
		t.Fatalf("got %+v, %v", c, err)
	}
	p.wantDisconnect("kicked", "KICKED", 4010)
	if _, err := hubs[0].Kick(inspectCtx(t), uuid.MustParse(p.id)); !errors.Is(err, ErrClientNotFound) {
		t.Errorf("again: %v", err)
	}
}
