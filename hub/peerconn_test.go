package hub

import (
	"bytes"
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

// gated is a service type whose clients wait until they are let in.
type gated struct{ waiting chan *gatedPeer }

func (*gated) Name() string                         { return "gated" }
func (*gated) Serves(path []byte) bool              { return bytes.Equal(path, []byte("/gated")) }
func (g *gated) Attach(on *ServiceLoop) LoopService { return gatedLoop{g, on} }

type gatedLoop struct {
	all *gated
	on  *ServiceLoop
}

func (l gatedLoop) Open(p *Peer, r *transport.Request) (PeerHandler, *transport.Rejection) {
	if r.Authorization == nil {
		return nil, &transport.Rejection{Cause: "test", Status: http.StatusUnauthorized, Line: "who are you?"}
	}
	g := &gatedPeer{on: l.on, p: p}
	p.Pause()
	l.all.waiting <- g
	return g, nil
}

type gatedPeer struct {
	on *ServiceLoop
	p  *Peer
}

func (g *gatedPeer) send(s string) {
	b := transport.NewMessage([]byte(s))
	g.p.Send(b)
	b.Release()
}

func (g *gatedPeer) Receive(_ bool, b []byte)                  { g.send("re:" + string(b)) }
func (g *gatedPeer) Deliver(*opcodes.Envelope) Outcome         { return Ignored }
func (g *gatedPeer) Identified()                               { g.send("welcome") }
func (g *gatedPeer) Sweep()                                    {}
func (g *gatedPeer) Farewell(opcodes.Reason) *transport.Buffer { return nil }
func (g *gatedPeer) Closed()                                   {}

func TestPeerWaitsUntilItIsLetIn(t *testing.T) {
	t.Parallel()
	service := &gated{waiting: make(chan *gatedPeer, 1)}
	h, url := startHub(t, memory.NewBus().Broker(), func(o *Options) { o.Services = []ServiceType{service} })
	if _, response := dialWith(t, url+"gated", nil); response.StatusCode != http.StatusUnauthorized || response.Header.Get("WWW-Authenticate") != "Bearer" {
		t.Errorf("refused with %s, WWW-Authenticate %q", response.Status, response.Header.Get("WWW-Authenticate"))
	}
	c, _ := dialWith(t, url+"gated", http.Header{"Authorization": {"Bearer x"}})
	c.sendText("early")
	g := <-service.waiting
	let := make(chan struct{})
	g.on.Post(func() {
		defer close(let)
		if a := g.p.RemoteAddr(); !a.IsValid() || !a.Addr().IsLoopback() {
			t.Errorf("address %v", a)
		}
		room := g.p.Room()
		g.send("hello")
		if left := g.p.Room(); left >= room || left <= 0 {
			t.Errorf("room for %d bytes, then for %d", room, left)
		}
		g.p.Resume()
		g.p.Identify(Identity{Groups: []string{"gated"}})
	})
	<-let
	for _, want := range []string{"hello", "welcome", "re:early"} {
		c.want(want)
	}
	done := make(chan struct{})
	g.on.Post(func() {
		defer close(done)
		g.p.Disconnect(opcodes.Kicked)
		g.p.Pause() // of no use, and no harm
		g.p.Resume()
		if g.p.Room() != 0 || g.p.RemoteAddr().IsValid() {
			t.Error("a connection that has ended has room, or an address")
		}
	})
	<-done
	if _, ok := h.GrantNamed("shared"); !ok {
		t.Error("no grant of the name shared")
	}
	if _, ok := h.GrantNamed("nobody"); ok {
		t.Error("a grant of the name nobody")
	}
}

// dialWith connects a client with further fields in its handshake. The client is nil if it is refused.
func dialWith(t *testing.T, url string, header http.Header) (*peer, *http.Response) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	conn, response, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPHeader: header})
	if err != nil {
		return nil, response
	}
	t.Cleanup(func() { _ = conn.CloseNow() })
	return &peer{t: t, ctx: ctx, conn: conn}, response
}
