package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/mastersocket/mastersocket/client"
)

// fakeHub is a hub whose every step a test decides. It listens on pipes in memory, so that a test can run in a synctest
// bubble.
type fakeHub struct {
	t     testing.TB
	pipes chan net.Conn
	stop  chan struct{}
	down  atomic.Bool // dialing fails

	serving sync.WaitGroup

	dials  atomic.Int32
	writes atomic.Int32 // by clients, to the network

	// serve is called for each connection with its number, which begins at 1.
	serve func(n int, c *peer)
	// refuse may answer the handshake itself and then returns true.
	refuse func(n int, w http.ResponseWriter, r *http.Request) bool
}

// inBubble runs a test with a fakeHub in a synctest bubble.
func inBubble(t *testing.T, f func(t *testing.T, h *fakeHub)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := &fakeHub{t: t, pipes: make(chan net.Conn), stop: make(chan struct{})}
		server := &http.Server{Handler: h}
		var wg sync.WaitGroup
		wg.Go(func() { _ = server.Serve(h) })
		f(t, h)
		close(h.stop)
		_ = server.Close()
		wg.Wait()
		h.serving.Wait()
	})
}

// Accept, Close and Addr make the hub a net.Listener.
func (h *fakeHub) Accept() (net.Conn, error) {
	select {
	case c := <-h.pipes:
		return c, nil
	case <-h.stop:
		return nil, net.ErrClosed
	}
}
func (h *fakeHub) Close() error   { return nil }
func (h *fakeHub) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

var errDown = errors.New("the hub is down")

func (h *fakeHub) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	h.dials.Add(1)
	if h.down.Load() {
		return nil, errDown
	}
	near, far := net.Pipe()
	select {
	case h.pipes <- far:
		return &countingConn{near, &h.writes}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

type countingConn struct {
	net.Conn
	writes *atomic.Int32
}

func (c *countingConn) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

func (h *fakeHub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.serving.Add(1)
	defer h.serving.Done()
	n := int(h.dials.Load())
	if h.refuse != nil && h.refuse(n, w, r) {
		return
	}
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		h.t.Errorf("accept: %v", err)
		return
	}
	conn.SetReadLimit(-1)
	defer conn.CloseNow()
	h.serve(n, &peer{h.t, conn})
}

// options returns the options of a client of this hub.
func (h *fakeHub) options() client.Options {
	return client.Options{URL: "ws://hub.test", Token: "secret", Group: "g", Dial: h.dial}
}

// connect connects a client.
func (h *fakeHub) connect(o client.Options) *client.Client {
	h.t.Helper()
	c, err := client.Connect(context.Background(), o)
	if err != nil {
		h.t.Fatal(err)
	}
	return c
}

func closeClient(t testing.TB, c *client.Client) {
	t.Helper()
	if err := c.Close(context.Background()); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// peer is the hub's end of one connection.
type peer struct {
	t    testing.TB
	conn *websocket.Conn
}

// frame is a client's message.
type frame struct {
	Op     int             `json:"op"`
	ID     string          `json:"id"`
	Event  string          `json:"event"`
	Data   json.RawMessage `json:"data"`
	Intent struct {
		Target     string `json:"target"`
		Identifier string `json:"identifier"`
	} `json:"intent"`
	raw string
}

// next returns the client's next message. It returns false when the connection has ended.
func (p *peer) next() (frame, bool) {
	_, b, err := p.conn.Read(context.Background())
	if err != nil {
		return frame{}, false
	}
	f := frame{raw: string(b)}
	if err := json.Unmarshal(b, &f); err != nil {
		p.t.Errorf("the client sent %q: %v", b, err)
	}
	return f, true
}

// send writes a message. An error is left to the next read.
func (p *peer) send(format string, args ...any) {
	_ = p.conn.Write(context.Background(), websocket.MessageText, fmt.Appendf(nil, format, args...))
}

// identify answers IDENTIFY with the given members of data.
func (p *peer) identify(answer string) (frame, bool) {
	f, ok := p.next()
	if ok && f.Op != 1 {
		p.t.Errorf("first message of the client: %s, want IDENTIFY", f.raw)
	}
	p.send(`{"op":1,"data":{%s}}`, answer)
	return f, ok
}

const identity = `"id":"0191d7a4-0000-8000-8000-000000000001","ping":30000,"node":"n1","max_message_bytes":1000,` +
	`"session_started":"2026-01-02T03:04:05Z","features":["errors","acks"]`

// sender is the id of another client.
const sender = "0191d7a4-0000-8000-8000-000000000002"

// disconnect ends the connection as the hub does.
func (p *peer) disconnect(reason string, code int) {
	p.send(`{"op":2,"data":%q}`, reason)
	_ = p.conn.Close(websocket.StatusCode(code), reason)
}

func (p *peer) ack(f frame) { p.send(`{"op":7,"id":%q,"data":{"nodes":1}}`, f.ID) }

func (p *peer) reply(f frame, data string) {
	p.send(`{"op":5,"id":%q,"event":%q,"data":%s,"sender":%q,"intent":{"target":"DIRECT","identifier":"x"}}`,
		f.ID, f.Event, data, sender)
}

func (p *peer) event(event, data string) {
	p.send(`{"op":0,"id":"e1","event":%q,"data":%s,"sender":%q,"intent":{"target":"GROUP","identifier":"g"}}`,
		event, data, sender)
}

// serveAll answers IDENTIFY and then calls f for each message until the client disconnects.
func serveAll(f func(p *peer, f frame)) func(int, *peer) {
	return func(_ int, p *peer) {
		if _, ok := p.identify(identity); !ok {
			return
		}
		for {
			msg, ok := p.next()
			if !ok {
				return
			}
			f(p, msg)
		}
	}
}

// idle answers IDENTIFY and nothing else.
var idle = serveAll(func(*peer, frame) {})

func wantErr(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: error %v, want one that is %q", what, err, want)
	}
}

func within(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), d)
}

// handlerOf makes a handler of a function that needs no context.
func handlerOf(f func(m *client.Message)) client.Handler {
	return func(_ context.Context, m *client.Message) { f(m) }
}
