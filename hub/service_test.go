package hub

import (
	"bytes"
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/intent"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

// lines is a service type for tests: text frames "<TARGET> <identifier> <json>" go to the receivers that they name, deliveries arrive
// as "<event> <data>", and "bye" makes the client leave. A path /lines/<group> makes a member of that group.
type lines struct {
	mu       sync.Mutex
	observed []string
	closed   chan uuid.UUID
	reached  chan struct{}
}

func newLines() *lines {
	return &lines{closed: make(chan uuid.UUID, 16), reached: make(chan struct{}, 16)}
}

func (*lines) Name() string                  { return "lines" }
func (*lines) Serves(path []byte) bool       { return bytes.HasPrefix(path, []byte("/lines/")) }
func (*lines) Answer(query []byte) []byte    { return append([]byte("re:"), query...) }
func (*lines) Metrics() []Metric             { return []Metric{{Name: "sevens", Help: "Seven.", Value: 7}} }
func (l *lines) Synchronize(context.Context) { l.reached <- struct{}{} }

func (l *lines) Attach(on *ServiceLoop) LoopService {
	on.Observe("watched", func(m *opcodes.Envelope) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.observed = append(l.observed, string(m.Event)+string(m.Data))
	})
	return &linesLoop{l, on}
}

type linesLoop struct {
	all *lines
	on  *ServiceLoop
}

func (l *linesLoop) Open(p *Peer, r *transport.Request) (PeerHandler, *transport.Rejection) {
	group := strings.TrimPrefix(string(r.Path), "/lines/")
	if group == "forbidden" {
		return nil, &transport.Rejection{Cause: "test", Status: http.StatusForbidden, Line: "not here"}
	}
	p.Identify(Identity{Groups: []string{group}, Name: "liner"})
	return &line{l, p}, nil
}

type line struct {
	loop *linesLoop
	p    *Peer
}

func (l *line) text(s string) *transport.Buffer { return transport.NewMessage([]byte(s)) }

func (l *line) send(s string) {
	b := l.text(s)
	l.p.Send(b)
	b.Release()
}

func (l *line) Receive(binary bool, b []byte) {
	target, rest, _ := strings.Cut(string(b), " ")
	identifier, data, _ := strings.Cut(rest, " ")
	m := opcodes.Message{Event: "line", Data: []byte(data)}
	switch {
	case binary:
		l.p.Disconnect(opcodes.InvalidPayload)
	case target == "ping":
		l.send("pong")
	case target == "DIRECT":
		m.Target, m.Receiver = intent.Direct, uuid.MustParse(identifier)
		l.p.Publish(&m)
	case target == "GROUP":
		m.Target, m.Group = intent.Group, []byte(identifier)
		l.p.Publish(&m)
	case target == "AGENT":
		m.Target, m.Group = intent.Group, []byte(identifier)
		l.loop.on.Publish(&m)
	}
}

func (l *line) Deliver(m *opcodes.Envelope) Outcome {
	switch string(m.Event) {
	case "silence":
		return Ignored
	case "leave": // all of this must wait until the message is delivered
		l.p.Publish(&opcodes.Message{Event: "left", Data: []byte(`1`), Target: intent.Group, Group: []byte("watched")})
		l.p.Disconnect(opcodes.Kicked)
	}
	b := l.text(string(m.Event) + " " + string(m.Data))
	defer b.Release()
	return l.p.SendDelivery(b)
}

func (l *line) Identified() { l.send("welcome " + l.p.ID().String()) }
func (l *line) Sweep()      {}
func (l *line) Closed()     { l.loop.all.closed <- l.p.ID() }

func (l *line) Farewell(r opcodes.Reason) *transport.Buffer { return l.text("farewell " + r.String()) }

func (p *peer) sendText(s string) {
	p.t.Helper()
	if err := p.conn.Write(p.ctx, websocket.MessageText, []byte(s)); err != nil {
		p.t.Fatal(err)
	}
}

func (p *peer) want(s string) {
	p.t.Helper()
	_, b, err := p.conn.Read(p.ctx)
	if err != nil || string(b) != s {
		p.t.Fatalf("got %q, %v; want %q", b, err, s)
	}
}

// openLine connects a client of the test's service type.
func openLine(t *testing.T, url, group string) *peer {
	t.Helper()
	p := connect(t, url+"lines/"+group)
	_, b, err := p.conn.Read(p.ctx)
	id, ok := strings.CutPrefix(string(b), "welcome ")
	if err != nil || !ok {
		t.Fatalf("got %q, %v; want a welcome", b, err)
	}
	p.id = id
	return p
}

func startWithLines(t *testing.T, b broker.Broker) (*Hub, *lines, string) {
	t.Helper()
	l := newLines()
	h, url := startHub(t, b, func(o *Options) { o.Services = []ServiceType{l} })
	return h, l, url
}

func TestServiceTypeExchangesMessagesWithClients(t *testing.T) {
	t.Parallel()
	bus := memory.NewBus()
	_, _, url1 := startWithLines(t, bus.Broker())
	_, _, url2 := startWithLines(t, bus.Broker())
	for name, url := range map[string]string{"same instance": url1, "other instance": url2} {
		t.Run(name, func(t *testing.T) {
			group := strings.ReplaceAll(name, " ", "-")
			c := identify(t, url1, group, m{"echo": false, "features": []string{"errors"}})
			l := openLine(t, url, group)
			c.send(named("hi", to("GROUP", group)))
			l.want("hi 1")
			c.send(named("hi", to("DIRECT", l.id)))
			l.want("hi 1")
			l.sendText("DIRECT " + c.id + " [1]")
			if f := c.read(); f.Event != "line" || f.Sender != l.id || f.ID == "" {
				t.Errorf("got %+v", f)
			}
			c.send(named("global", to("GLOBAL"))) // not for clients of other protocols
			if f := c.fence(); len(f) != 0 {
				t.Errorf("got %+v", f)
			}
			l.sendText("ping now")
			l.want("pong")
		})
	}
}

// named is an EVENT of that name.
func named(name string, intent m) m { return m{"op": 0, "event": name, "data": 1, "intent": intent} }

func TestServiceTypeIgnoresAnAny(t *testing.T) {
	t.Parallel()
	_, _, url := startWithLines(t, memory.NewBus().Broker())
	c := identify(t, url, "any", m{"features": []string{"errors"}})
	l := openLine(t, url, "any")
	for range 32 { // drawn half the time, but never its business
		c.send(named("silence", to("ANY", "any")))
		// Drawn again a bounded number of times, and never lost without a word.
		if f := c.read(); f.Event != "silence" && f.Op != 6 {
			t.Fatalf("got %+v", f)
		}
	}
	c.send(named("loud", to("DIRECT", l.id)))
	l.want("loud 1")
}

func TestServiceTypeLeavesWithinADelivery(t *testing.T) {
	t.Parallel()
	h, types, url := startWithLines(t, memory.NewBus().Broker())
	c := identify(t, url, "leaving", m{"echo": false})
	first, second := openLine(t, url, "leaving"), openLine(t, url, "leaving")
	c.send(named("leave", to("GROUP", "leaving")))
	for _, l := range []*peer{first, second} {
		l.want("leave 1")
		l.want("farewell KICKED")
		if _, _, err := l.conn.Read(l.ctx); closeCode(err) != int(opcodes.Kicked.CloseCode()) {
			t.Errorf("closed with %v", err)
		}
	}
	<-types.closed
	<-types.closed
	c.pong() // both loops have told their observers: a PONG comes from one, so look at both
	deadline := time.Now().Add(10 * time.Second)
	for {
		types.mu.Lock()
		n := len(types.observed)
		types.mu.Unlock()
		if n == 2*h.Loops() || time.Now().After(deadline) {
			break
		}
		c.pong()
	}
	types.mu.Lock()
	defer types.mu.Unlock()
	if want := slices.Repeat([]string{"left1"}, 2*h.Loops()); !slices.Equal(types.observed, want) {
		t.Errorf("observed %v, want %v", types.observed, want)
	}
}

func TestServiceTypeAgentAndObserversAcrossInstances(t *testing.T) {
	t.Parallel()
	bus := memory.NewBus()
	_, types, url := startWithLines(t, bus.Broker())
	h2, types2, _ := startWithLines(t, bus.Broker())
	<-types.reached
	<-types2.reached
	l := openLine(t, url, "watched")
	l.sendText("AGENT watched 5")
	l.want("line 5")
	c := identify(t, url, "x", withFeedback)
	c.send(m{"op": 0, "id": "n", "event": "n", "data": 1, "intent": to("GROUP", "watched")})
	l.want("n 1")
	if f := c.read(); f.Op != 7 || f.Data.(m)["nodes"] != 2.0 {
		t.Errorf("got %+v, want an ACK of 2 instances: the other one observes", f)
	}
	if h2.Stats().Groups != 0 {
		t.Error("an observed group without members is counted")
	}
	missing, err := h2.Ask(t.Context(), "lines", []byte("who"), func(_ string, answer []byte) {
		if string(answer) != "re:who" {
			t.Errorf("answered %q", answer)
		}
	})
	if err != nil || len(missing) > 0 {
		t.Error(missing, err)
	}
}

func TestServiceTypeHearsWhatBecomesOfItsMessage(t *testing.T) {
	t.Parallel()
	bus := memory.NewBus()
	type news struct {
		instances int
		code      opcodes.ErrorCode
	}
	l := newLines()
	var loops []*ServiceLoop
	h, url := startHub(t, bus.Broker(), func(o *Options) {
		o.Services = []ServiceType{l}
		o.Broker = &failing{Broker: o.Broker, group: "away"}
	})
	_, there := startHub(t, bus.Broker(), nil)
	for _, sh := range h.shards {
		loops = append(loops, &ServiceLoop{sh, sh.agents[0], nil})
	}
	identify(t, url, "here", nil)
	identify(t, there, "there", nil)
	identify(t, url, "both", nil)
	identify(t, there, "both", nil)
	for group, want := range map[string]news{
		"nobody": {0, opcodes.CodeNoReceiver}, "here": {1, ""}, "there": {1, ""}, "both": {2, ""}, "watched": {1, ""},
		"away": {0, opcodes.CodeBrokerUnavailable},
	} {
		for _, on := range loops {
			heard := make(chan news, 2)
			on.Post(func() {
				m := &opcodes.Message{Event: "e", Data: []byte("1"), Target: intent.Group, Group: []byte(group)}
				on.PublishAndHear(m, func(n int, code opcodes.ErrorCode) { heard <- news{n, code} })
				select {
				case <-heard:
					t.Error("told within the call")
				default:
				}
			})
			select {
			case got := <-heard:
				if got != want {
					t.Errorf("%s: heard %+v, want %+v", group, got, want)
				}
			case <-time.After(10 * time.Second):
				t.Fatalf("%s: heard nothing", group)
			}
		}
	}
}

// failing is a broker that is away for one group.
type failing struct {
	broker.Broker
	group string
}

func (f *failing) Publish(m *broker.Message, done broker.Completion) {
	if string(m.Group) == f.group {
		done.Published(0, broker.ErrUnavailable)
		return
	}
	f.Broker.Publish(m, done)
}

func TestServiceTypeInListsAndStats(t *testing.T) {
	t.Parallel()
	h, types, url := startWithLines(t, memory.NewBus().Broker())
	identify(t, url, "g", nil)
	l := openLine(t, url, "g")
	page, err := h.Clients(t.Context(), Filter{Type: "lines"}, "", 10)
	if err != nil || len(page.Clients) != 1 || page.Clients[0].ID.String() != l.id || page.Clients[0].Name != "liner" || page.Clients[0].Type != "lines" {
		t.Errorf("listed %+v, %v", page, err)
	}
	s := h.Stats()
	if len(s.Types) != 2 || s.Types[0].Clients != 1 || s.Types[1].Clients != 1 || s.Types[1].Metrics[0].Value != 7 {
		t.Errorf("stats %+v", s.Types)
	}
	h.TokensChanged() // does not concern clients without a token
	l.sendText("ping now")
	l.want("pong")

	if _, response, err := websocket.Dial(t.Context(), url+"lines/forbidden", nil); err == nil || response.StatusCode != http.StatusForbidden {
		t.Errorf("opened, or refused otherwise: %v", err)
	}
	if n := h.Stats().Strangers; n != 0 {
		t.Errorf("%d strangers", n)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	drained := make(chan error, 1)
	go func() { drained <- h.Drain(ctx, 0) }()
	l.want("farewell SERVER_RESTART")
	_, _, _ = l.conn.Read(l.ctx)
	if id := <-types.closed; id.String() != l.id {
		t.Errorf("%s was closed, want %s", id, l.id)
	}
}
