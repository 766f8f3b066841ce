package hub

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/coder/websocket"
	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/figure"
)

// isAbout reports whether a figure is right within 10 %.
func isAbout(got, want float64) bool { return math.Abs(got-want) <= want/10 }

// topOf returns what is busiest over five minutes, which a test ends within: a rate is the count of all divided by 300.
func topOf(t *testing.T, h *Hub, sort string, limit int) Top {
	t.Helper()
	top, err := h.Top(inspectCtx(t), TopOptions{Sort: sort, Long: true, Limit: limit})
	if err != nil || len(top.Missing) > 0 {
		t.Fatalf("missing %v: %v", top.Missing, err)
	}
	return top
}

// TestTopOfTheCluster has the clients of three instances send to groups, whose members are on all of them. How many messages
// a client sends, and a group gets, falls as Zipf's law says. With MASTERSOCKET_SCALE=full there are 10,000 clients, or as many as the process may have.
func TestTopOfTheCluster(t *testing.T) {
	t.Parallel()
	clients, messages, groups := 60, 3000, 12
	if figure.Full() {
		var files unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
			t.Fatal(err)
		}
		clients, messages, groups = int(min(10_000, files.Cur/2-300)), 200_000, 50 // both ends of a connection are here
	}
	bus := memory.NewBus()
	var hubs [3]*Hub
	var urls [3]string
	for i := range hubs {
		hubs[i], urls[i] = startHub(t, bus.Broker(), func(o *Options) { o.NodeName = fmt.Sprint("node-", i) })
	}
	members := make([]int, groups)
	for g := range groups {
		for n := range 1 + g%3 {
			reader := identify(t, urls[(g+n)%3], fmt.Sprint("g", g), nil)
			members[g]++
			go func() {
				for {
					if _, _, err := reader.conn.Read(context.Background()); err != nil {
						return
					}
				}
			}()
		}
	}
	senders := make([]*peer, clients)
	for i := range senders {
		senders[i] = identify(t, urls[i%3], "senders", m{"name": fmt.Sprint("sender-", i)})
	}
	random := rand.New(rand.NewPCG(3, 4))
	sends, targets := rand.NewZipf(random, 1.05, 1, uint64(clients-1)), rand.NewZipf(random, 1.05, 1, uint64(groups-1))
	plan := make([][]int, clients) // the groups that each client sends to
	sent, received := make(map[string]float64), make(map[string]float64)
	for range messages {
		i, g := sends.Uint64(), int(targets.Uint64())
		plan[i] = append(plan[i], g)
		sent[senders[i].id]++
		received[fmt.Sprint("g", g)]++
	}
	var sending sync.WaitGroup
	for worker := range 16 {
		sending.Go(func() {
			for i := worker; i < clients; i += 16 {
				for _, g := range plan[i] {
					b := fmt.Appendf(nil, `{"op":0,"event":"e","intent":{"target":"GROUP","identifier":"g%d"}}`, g)
					if err := senders[i].conn.Write(t.Context(), websocket.MessageText, b); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	sending.Wait()
	figure.Printf(t, "%d clients sent %d messages to %d groups", clients, messages, groups)
	delivered := 0.0
	for g := range groups {
		delivered += received[fmt.Sprint("g", g)] * float64(members[g])
	}
	eventually.True(t, "all deliveries", func() bool {
		n := uint64(0)
		for _, h := range hubs {
			n += h.Stats().Deliveries
		}
		return n >= uint64(delivered)
	})

	type truth struct {
		name  string
		count float64
	}
	var order []truth
	for id, n := range sent {
		order = append(order, truth{id, n})
	}
	slices.SortFunc(order, func(a, b truth) int { return cmp.Compare(b.count, a.count) })
	for i, h := range hubs {
		top := topOf(t, h, "messages_in", 10)
		if len(top.Clients) != 10 {
			t.Fatalf("%d clients", len(top.Clients))
		}
		for n, c := range top.Clients {
			want := sent[c.ID.String()]
			if got := c.Long.MessagesIn * 300; !isAbout(got, want) || want < order[n].count*0.9 || !c.Connected || c.Name == "" || c.Type != "service" {
				t.Errorf("asked of %d: place %d has %+v, %.0f messages; it sent %.0f, and the one at this place %.0f", i, n, c, got, want, order[n].count)
			}
		}
		for _, g := range top.Groups {
			if got := g.Long.MessagesIn * 300; !isAbout(got, received[g.Name]) {
				t.Errorf("%s got %.0f messages, want %.0f", g.Name, got, received[g.Name])
			}
		}
		if got := top.Tokens; len(got) != 1 || got[0].Name != "shared" || !isAbout(got[0].Long.MessagesIn*300, float64(messages)) || !isAbout(got[0].Long.MessagesOut*300, delivered) {
			t.Errorf("tokens: %+v, want %d in and %.0f out", got, messages, delivered)
		}
		out := topOf(t, h, "bytes_out", 10)
		for n, g := range out.Groups {
			var at int
			_, _ = fmt.Sscanf(g.Name, "g%d", &at)
			if got, want := g.Long.MessagesOut*300, received[g.Name]*float64(members[at]); !isAbout(got, want) || n > 0 && g.Long.BytesOut > out.Groups[n-1].Long.BytesOut {
				t.Errorf("%d messages out of %s, want %d", int(got), g.Name, int(want))
			}
		}
	}
}

// TestTopShowsEveryTarget: DIRECT and ANY count, what callers without a connection send does, and a client that has gone is
// still there.
func TestTopShowsEveryTarget(t *testing.T) {
	t.Parallel()
	hubs, urls := twoHubs(t)
	a, b := identify(t, urls[0], "a", m{"name": "a"}), identify(t, urls[1], "b", m{"name": "b"})
	large := make([]byte, 8<<10)
	for i := range large {
		large[i] = 'x'
	}
	for range 5 {
		a.send(m{"op": 0, "event": "e", "intent": m{"target": "DIRECT", "identifier": b.id}})
		a.send(m{"op": 0, "event": "e", "data": string(large), "intent": m{"target": "ANY", "identifier": "b"}})
		b.read()
		b.read()
	}
	if grant, ok := hubs[0].GrantNamed("shared"); !ok {
		t.Fatal("no grant")
	} else if _, err := hubs[0].Publish(inspectCtx(t), hubs[0].Caller(Credential{Grant: grant}), []byte(`{"op":0,"event":"e","intent":{"target":"GROUP","identifier":"b"}}`)); err != nil {
		t.Fatal(err)
	}
	b.read()
	if _, err := hubs[0].Kick(inspectCtx(t), uuid.MustParse(a.id)); err != nil {
		t.Fatal(err)
	}
	is := func(rate, count float64) bool { return math.Abs(rate*300-count) < 0.01 }
	top := topOf(t, hubs[1], "bytes_in", 5)
	if c := top.Clients; len(c) != 1 || c[0].Name != "a" || c[0].Connected || c[0].Node != "node-0" || !is(c[0].Long.MessagesIn, 10) || c[0].Long.BytesIn*300 < 5*8<<10 {
		t.Errorf("clients by bytes in: %+v", c)
	}
	if g := top.Groups; len(g) != 1 || g[0].Name != "b" || !is(g[0].Long.MessagesIn, 6) || !is(g[0].Long.MessagesOut, 6) {
		t.Errorf("groups: %+v", g)
	}
	if tokens := top.Tokens; len(tokens) != 1 || !is(tokens[0].Long.MessagesIn, 11) || !is(tokens[0].Long.MessagesOut, 11) {
		t.Errorf("tokens: %+v", tokens)
	}
	if c := topOf(t, hubs[0], "messages_out", 5).Clients; len(c) != 1 || c[0].Name != "b" || !is(c[0].Long.MessagesOut, 11) || !c[0].Connected || !is(c[0].Short.MessagesIn, 0) {
		t.Errorf("clients by messages out: %+v", c)
	}
	if _, err := hubs[0].Top(inspectCtx(t), TopOptions{Sort: "nothing", Limit: 1}); err == nil {
		t.Error("sorted by nothing")
	}
	for _, q := range []string{`{"kind":"top","sort":"x","limit":-1}`, `{"kind":"top","limit":1000000000}`} {
		if b := (remote{hub: hubs[0]}).Answer([]byte(q)); len(b) == 0 {
			t.Errorf("%s is not answered", q)
		}
	}
}
