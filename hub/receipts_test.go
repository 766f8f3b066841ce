package hub

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/hub/internal/clientid"
	"github.com/mastersocket/mastersocket/intent"
	"github.com/mastersocket/mastersocket/opcodes"
)

// rights are those of a token that may do everything, or of one that may send what is given.
func rights(t *testing.T, send string) *auth.Grant {
	t.Helper()
	g, _ := auth.NewStore(tokenTable(t, fmt.Sprintf(`- {name: x, sha256: %s, groups: ["*"], send: [%s]}`, auth.Hash("x"), send))).Authenticate("x")
	return g
}

func TestPublishRefusals(t *testing.T) {
	t.Parallel()
	h, _ := startHub(t, memory.NewBus().Broker(), nil)
	all := rights(t, `"*"`)
	for message, want := range map[string]error{
		`{"op":0,"intent":{"target":"GROUP","identifier":"g"}}`: ErrForbidden,
		`{"op":3}`: ErrForbidden,
		`{"op":0,"intent":{"target":"GLOBAL"},"data":"` + strings.Repeat("x", 40000) + `"}`: ErrTooBig,
	} {
		if _, err := h.Publish(inspectCtx(t), h.Caller(Credential{Grant: rights(t, "GLOBAL")}), []byte(message)); !errors.Is(err, want) {
			t.Errorf("%.60s: %v, want %v", message, err, want)
		}
	}
	var scan *opcodes.ScanError
	if _, err := h.Publish(inspectCtx(t), h.Caller(Credential{Grant: all}), []byte(`{`)); !errors.As(err, &scan) {
		t.Errorf("got %v", err)
	}
	h.server.Gate().Hold()
	if _, err := h.Publish(inspectCtx(t), h.Caller(Credential{Grant: all}), []byte(`{"op":0,"intent":{"target":"GLOBAL"}}`)); !errors.Is(err, ErrBusy) {
		t.Errorf("while the gate is closed: %v", err)
	}
	h.server.Gate().Release()
}

// TestPublishCounts publishes to service types, to clients that are being disconnected, and to one that leaves.
func TestPublishCounts(t *testing.T) {
	t.Parallel()
	bus := memory.NewBus()
	var hubs [2]*Hub
	var urls [2]string
	for i := range hubs {
		hubs[i], urls[i] = startHub(t, bus.Broker(), func(o *Options) {
			o.NodeName, o.Services = fmt.Sprint("node-", i), []ServiceType{newLines()}
		})
	}
	identify(t, urls[0], "g", nil)
	identify(t, urls[1], "g", nil)
	foreign := connect(t, strings.TrimSuffix(urls[1], "/")+"/lines/g")
	_ = foreign
	wantMembers(t, hubs[0], "g", 3)
	r, err := hubs[0].Publish(inspectCtx(t), hubs[0].Caller(Credential{Grant: rights(t, `"*"`)}), []byte(`{"op":0,"event":"e","data":1,"intent":{"target":"GROUP","identifier":"g"}}`))
	if err != nil || r.Instances == nil || *r.Instances != 2 || r.Clients == nil || *r.Clients != 3 || len(r.Dropped) > 0 {
		t.Errorf("got %+v, %v", r, err)
	}
	if s := hubs[0].Stats(); s.Published[intent.Group] != 1 || s.Published[intent.Global] != 0 || s.Types[0].Received[intent.Group] != 0 {
		t.Errorf("published %v, received %v", s.Published, s.Types[0].Received)
	}
	if n, _ := hubs[0].nodeHere(t.Context(), struct{}{}); n.Node.MessagesReceived != 1 {
		t.Errorf("%d messages were received", n.Node.MessagesReceived)
	}
}

// wantMembers waits until a group has so many members on the cluster.
func wantMembers(t *testing.T, h *Hub, group string, n int) {
	t.Helper()
	ctx := inspectCtx(t)
	for {
		g, _, err := h.Group(ctx, group)
		if g.Members == n {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("%d members of %s, want %d: %v", g.Members, group, n, err)
		}
	}
}

// TestPublishKeepsOrder publishes one event after the other, to many and to one.
func TestPublishKeepsOrder(t *testing.T) {
	t.Parallel()
	hubs, urls := twoHubs(t)
	p := identify(t, urls[1], "g", nil)
	for i := range 30 {
		intent := []string{`{"target":"GROUP","identifier":"g"}`, `{"target":"GLOBAL"}`, `{"target":"ANY","identifier":"g"}`, `{"target":"DIRECT","identifier":"` + p.id + `"}`}[i%4]
		r, err := hubs[0].Publish(inspectCtx(t), hubs[0].Caller(Credential{Grant: rights(t, `"*"`)}), fmt.Appendf(nil, `{"op":0,"id":"%d","intent":%s}`, i, intent))
		if err != nil || r.Clients == nil || *r.Clients != 1 {
			t.Fatalf("%d: %+v, %v", i, r, err)
		}
	}
	for i := range 30 {
		if f := p.read(); f.ID != fmt.Sprint(i) {
			t.Fatalf("got %s, want %d", f.ID, i)
		}
	}
}

// TestPublishToAReceiverThatLeft draws an instance whose member is gone: the event comes back and is drawn again.
func TestPublishToAReceiverThatLeft(t *testing.T) {
	t.Parallel()
	bus := memory.NewBus()
	slow := &slowBroker{Broker: bus.Broker()}
	h, url := startHub(t, slow, nil)
	other, _ := startHub(t, bus.Broker(), nil)
	p := identify(t, url, "g", nil)
	slow.mu.Lock()
	slow.draws = []broker.NodeID{other.node.ID, other.node.ID}
	slow.mu.Unlock()
	r, err := h.Publish(inspectCtx(t), h.Caller(Credential{Grant: rights(t, `"*"`)}), []byte(`{"op":0,"id":"1","intent":{"target":"ANY","identifier":"g"}}`))
	if err != nil || r.Clients == nil || *r.Clients != 1 || *r.Instances != 1 {
		t.Errorf("got %+v, %v", r, err)
	}
	if f := p.read(); f.ID != "1" {
		t.Errorf("got %+v", f)
	}
	gone := clientid.New(clientid.Location{Node: other.node.ID, Slot: 3})
	r, err = h.Publish(inspectCtx(t), h.Caller(Credential{Grant: rights(t, `"*"`)}), fmt.Appendf(nil, `{"op":0,"intent":{"target":"DIRECT","identifier":%q}}`, gone))
	if err != nil || r.Clients == nil || *r.Clients != 0 || r.Dropped["no_receiver"] != 1 {
		t.Errorf("to a client that left: %+v, %v", r, err)
	}
}

// TestTapsComeAndGo opens and closes taps while messages flow through the group that they watch.
func TestTapsComeAndGo(t *testing.T) {
	t.Parallel()
	hubs, urls := twoHubs(t)
	sender := identify(t, urls[0], "g", m{"echo": false})
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := 0; n < 20 && ctx.Err() == nil; n++ {
				tap, err := hubs[i%2].Tap(ctx, TapOptions{Group: []string{"g", "other", ""}[n%3], PerSecond: maxTapRate})
				if err != nil {
					t.Error(err)
					return
				}
				select {
				case m := <-tap.Messages():
					tap.Took(m)
				case <-time.After(time.Millisecond):
				case <-ctx.Done():
				}
				tap.Close()
			}
		})
	}
	for range 300 {
		sender.send(event("x", to("GROUP", "g")))
	}
	sender.pong()
	wg.Wait()
	stop()
	for i, h := range hubs {
		h.groups.tapMu.Lock()
		tapped := len(h.groups.tapped)
		h.groups.tapMu.Unlock()
		if n := h.taps.Load(); n != 0 || tapped > 0 {
			t.Errorf("%d taps are left on hub %d, of %d groups", n, i, tapped)
		}
		if h.groups.find([]byte("other")) != nil {
			t.Errorf("hub %d: a group without members is left", i)
		}
		for _, g := range []*group{h.groups.everyone, hubs[0].groups.find([]byte("g"))} {
			for loop := range g.local {
				if g.local[loop].watchers.Load() != nil {
					t.Errorf("hub %d: %q is watched", i, g.name)
				}
			}
		}
	}
}
