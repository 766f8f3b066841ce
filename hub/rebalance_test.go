package hub

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/opcodes"
)

func TestSurpluses(t *testing.T) {
	t.Parallel()
	of := func(clients ...int) map[string]load {
		loads := make(map[string]load)
		for i, n := range clients {
			loads[string(rune('a'+i))] = load{Clients: max(n, -n), Draining: n < 0}
		}
		return loads
	}
	for name, tc := range map[string]struct {
		loads  map[string]load // negative: draining
		atMost int
		share  int
		want   map[string]int
	}{
		"one instance":           {of(7), 0, 7, nil},
		"nobody":                 {of(0, 0), 0, 0, nil},
		"even":                   {of(5, 5, 5), 0, 5, nil},
		"even but one":           {of(5, 5, 4), 0, 5, nil},
		"a new one":              {of(100, 100, 0), 0, 67, map[string]int{"a": 33, "b": 33}},
		"rounded up":             {of(10, 0, 0), 0, 4, map[string]int{"a": 6}},
		"one has all":            {of(9, 0, 0), 0, 3, map[string]int{"a": 6}},
		"at most":                {of(9, 0, 0), 4, 3, map[string]int{"a": 4}},
		"more than there are":    {of(9, 0, 0), 400, 3, map[string]int{"a": 6}},
		"one leaves":             {of(10, 0, -2), 0, 6, map[string]int{"a": 4}},
		"one with many leaves":   {of(10, 10, -100), 0, 60, nil},
		"all leave":              {of(-3, -4), 0, 7, nil},
		"one behind its share":   {of(30, 20, 10), 0, 20, map[string]int{"a": 10}},
		"nobody answered at all": {of(), 0, 0, nil},
	} {
		got := share(tc.loads)
		surplus := surpluses(tc.loads, got, tc.atMost)
		if got != tc.share || !maps.Equal(surplus, tc.want) {
			t.Errorf("%s: share %d, surplus %v, want %d, %v", name, got, surplus, tc.share, tc.want)
		}
	}
}

// rebalancing starts instances of one hub, and returns them with their URLs.
func rebalancing(t *testing.T, n int, s DrainSettings) (hubs []*Hub, urls []string) {
	bus := memory.NewBus()
	for i := range n {
		h, url := startHub(t, bus.Broker(), func(o *Options) {
			loops(2)(o)
			o.NodeName = string(rune('a' + i))
			o.Drain = s
			o.Services = []ServiceType{newLines()}
		})
		hubs, urls = append(hubs, h), append(urls, url)
	}
	return hubs, urls
}

// TestRebalance has all clients on one of three instances: it tells the surplus, first the clients that move by themselves.
func TestRebalance(t *testing.T) {
	t.Parallel()
	hubs, urls := rebalancing(t, 3, DrainSettings{Rate: 100})
	var movers, others []*peer
	for range 4 {
		movers = append(movers, identify(t, urls[0], "g", withDrain))
	}
	for range 8 {
		others = append(others, identify(t, urls[0], "g", nil))
	}
	if _, _, err := connect(t, urls[0]+"lines/x").conn.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, err := hubs[1].Rebalance(t.Context(), RebalanceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if r.Share != 4 || len(r.Nodes) != 3 || len(r.Missing) != 0 {
		t.Fatalf("got %+v", r)
	}
	if n := r.Nodes[0]; n.Name != "a" || n.Clients != 12 || n.Told != 8 || r.OverSeconds < 0.08 || r.OverSeconds > 0.1 {
		t.Errorf("the full one: %+v", n)
	}
	for _, n := range r.Nodes[1:] {
		if n.Clients != 0 || n.Told != 0 || n.ID == "" {
			t.Errorf("an empty one: %+v", n)
		}
	}
	slots := make(map[time.Duration]bool)
	for _, p := range movers {
		after, deadline, reason := notice(t, p)
		if deadline != 0 || reason != "rebalance" {
			t.Errorf("deadline %v, reason %q", deadline, reason)
		}
		slots[after] = true
	}
	if len(slots) != len(movers) || slices.Max(slices.Collect(maps.Keys(slots))) > 40*time.Millisecond {
		t.Errorf("slots of the clients that move: %v", slots)
	}
	gone := make(chan *peer, len(others))
	for _, p := range others {
		go func() {
			_, b, err := p.conn.Read(context.Background())
			if err == nil && string(b) == `{"op":2,"data":"SERVER_RESTART"}` {
				gone <- p
			}
		}()
	}
	for range 4 {
		<-gone
	}
	if _, err := hubs[2].Rebalance(t.Context(), RebalanceOptions{}); !errors.Is(err, ErrRebalancing) || err.Error() != "a rebalance is going on: a" {
		t.Errorf("a second one at the same time: %v", err)
	}
	s := hubs[0].Stats()
	if s.Disconnects[opcodes.ServerRestart] != 4 || s.Clients != 9 {
		t.Errorf("%d were disconnected, %d are left", s.Disconnects[opcodes.ServerRestart], s.Clients)
	}
	if s.Draining || hubs[0].Ready() != nil {
		t.Error("it is not ready any more")
	}
	for _, p := range others { // whose reads end
		_ = p.conn.CloseNow()
	}
}

// TestRebalanceAsked sets the time and the most that are told.
func TestRebalanceAsked(t *testing.T) {
	t.Parallel()
	hubs, urls := rebalancing(t, 2, DrainSettings{Timeout: time.Hour})
	var movers []*peer
	for range 10 {
		movers = append(movers, identify(t, urls[0], "g", withDrain))
	}
	r, err := hubs[0].Rebalance(t.Context(), RebalanceOptions{Over: 30 * time.Minute, AtMost: 3})
	if err != nil || r.Share != 5 || r.Nodes[0].Told != 3 || r.OverSeconds != 1800 {
		t.Fatalf("got %+v, %v", r, err)
	}
	var slots []time.Duration
	for _, p := range movers {
		for _, f := range p.fence() {
			d, _ := f.Data.(m)
			after, _ := d["after_ms"].(float64)
			slots = append(slots, time.Duration(after)*time.Millisecond)
		}
	}
	slices.Sort(slots)
	if want := []time.Duration{0, 10 * time.Minute, 20 * time.Minute}; !slices.Equal(slots, want) {
		t.Errorf("slots %v, want %v", slots, want)
	}
}

// TestRebalanceAndDrain drains an instance whose clients a rebalance is about to disconnect: they have new slots then.
func TestRebalanceAndDrain(t *testing.T) {
	t.Parallel()
	hubs, urls := rebalancing(t, 2, DrainSettings{Timeout: time.Hour})
	mover, other := identify(t, urls[0], "g", withDrain), identify(t, urls[0], "g", nil)
	identify(t, urls[0], "g", nil)
	identify(t, urls[0], "g", nil)
	if r, err := hubs[0].Rebalance(t.Context(), RebalanceOptions{}); err != nil || r.Nodes[0].Told != 2 {
		t.Fatalf("got %+v, %v", r, err)
	}
	if _, _, reason := notice(t, mover); reason != "rebalance" {
		t.Errorf("reason %q", reason)
	}
	drained := make(chan error, 1)
	go func() { drained <- hubs[0].Drain(t.Context(), time.Second) }()
	if _, _, reason := notice(t, mover); reason != "restart" {
		t.Errorf("reason %q", reason)
	}
	other.wantDisconnect("draining", "SERVER_RESTART", 1001)
	mover.wantDisconnect("the end", "SERVER_RESTART", 1012)
	if _, err := hubs[0].Rebalance(t.Context(), RebalanceOptions{}); !errors.Is(err, ErrSelfDraining) {
		t.Errorf("asked of the one that drains: %v", err)
	}
	identify(t, urls[1], "g", nil)
	r, err := hubs[1].Rebalance(t.Context(), RebalanceOptions{})
	if err != nil || !r.Nodes[0].Draining || r.Nodes[0].Told != 0 || r.Nodes[1].Told != 0 {
		t.Errorf("got %+v, %v", r, err)
	}
}
