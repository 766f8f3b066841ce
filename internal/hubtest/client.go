//go:build linux

package hubtest

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/mastersocket/mastersocket/internal/history"
)

// Ops of envelopes.
const (
	opEvent      = 0
	opIdentify   = 1
	opDisconnect = 2
	opPing       = 3
	opPong       = 4
	opReply      = 5
	opError      = 6
	opAck        = 7

	opSubscribe   = 8
	opUnsubscribe = 9
)

// eventName is the event of all messages of Clients.
const eventName = "hubtest"

// maxPings bounds the PINGs of a Client without a PONG.
const maxPings = 1024

// connectTimeout bounds connecting and identifying.
const connectTimeout = 30 * time.Second

// ClientOptions configures a Client. History is required.
type ClientOptions struct {
	Name    string
	Token   string   // empty means Token
	Groups  []string // at least one
	NoEcho  bool
	Reports bool // ask for acks and errors
	Changes bool // ask for changes of groups: see Client.Subscribe
	// Window bounds the messages without an ACK or ERROR; Send blocks beyond it. Used with Reports; 0 means 64.
	Window  int
	History *history.History
	TLS     *tls.Config // for addresses that begin with wss
	// OnArrival, if not nil, is called by the client's reader for each recorded EVENT and REPLY, with the sender's
	// session, the message's number, and the target in its intent.
	OnArrival func(from, n int, target string)
}

// Client is an identified client that records its sends and arrivals.
type Client struct {
	opts    ClientOptions
	conn    *websocket.Conn
	record  *history.Session
	id      string
	granted bool          // changes of groups
	window  chan struct{} // a token for each message without an answer; nil without Reports
	pongs   chan struct{}
	done    chan struct{} // closed when the reader has ended
	stop    context.CancelFunc

	pinging atomic.Int32 // PINGs without a PONG

	change  atomic.Pointer[string] // the group of the SUBSCRIBE or UNSUBSCRIBE without an answer; nil for none
	answers chan error             // to it: nil, or why it was refused

	mu      sync.Mutex // guards the fields below
	latest  map[int]int
	arrived chan struct{} // closed and replaced at an arrival while a WaitArrival waits
	leaving bool
	cut     bool
	retired bool   // the history ends before the connection
	reason  string // of the hub's DISCONNECT
	err     error  // cause of the reader's end
}

// Connect connects to the hub at url and identifies.
func Connect(ctx context.Context, url string, o ClientOptions) (*Client, error) {
	if o.Token == "" {
		o.Token = Token
	}
	if o.Window == 0 {
		o.Window = 64
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPClient: dialer(o.TLS)})
	if err != nil {
		return nil, fmt.Errorf("connect %s: %w", o.Name, err)
	}
	conn.SetReadLimit(16 << 20)
	c := &Client{
		opts: o, conn: conn, record: o.History.Session(o.Name),
		pongs: make(chan struct{}, maxPings), answers: make(chan error, 1), done: make(chan struct{}), latest: make(map[int]int), arrived: make(chan struct{}),
	}
	if o.Reports {
		c.window = make(chan struct{}, o.Window)
	}
	if err := c.identify(ctx); err != nil {
		conn.CloseNow()
		c.record.Ended(history.Cut, "")
		return nil, fmt.Errorf("identify %s: %w", o.Name, err)
	}
	reading, stop := context.WithCancel(context.Background())
	c.stop = stop
	go c.read(reading)
	return c, nil
}

// dialer opens connections without keep-alive.
func dialer(config *tls.Config) *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: config}}
}

// wire is an envelope as the hub sends it.
type wire struct {
	Op     *int            `json:"op"`
	ID     string          `json:"id"`
	Event  string          `json:"event"`
	Data   json.RawMessage `json:"data"`
	Sender string          `json:"sender"`
	Intent struct {
		Target string `json:"target"`
	} `json:"intent"`
}

func (c *Client) identify(ctx context.Context) error {
	data := map[string]any{"token": c.opts.Token, "group": c.opts.Groups[0], "name": "hubtest"}
	if len(c.opts.Groups) > 1 {
		data["groups"] = c.opts.Groups[1:]
	}
	if c.opts.NoEcho {
		data["echo"] = false
	}
	var features []string
	if c.opts.Reports {
		features = append(features, "acks", "errors")
	}
	if c.opts.Changes {
		features = append(features, "groups")
	}
	if features != nil {
		data["features"] = features
	}
	b, err := json.Marshal(map[string]any{"op": opIdentify, "data": data})
	if err != nil {
		return err
	}
	c.record.Identifying(history.Identity{Groups: c.opts.Groups, NoEcho: c.opts.NoEcho, Reports: c.opts.Reports})
	if err := c.conn.Write(ctx, websocket.MessageText, b); err != nil {
		return err
	}
	for {
		m, p, err := c.next(ctx)
		switch {
		case err != nil:
			return err
		case *m.Op == opIdentify:
			var answer struct {
				ID       string   `json:"id"`
				Features []string `json:"features"`
			}
			if err := json.Unmarshal(m.Data, &answer); err != nil || answer.ID == "" {
				return fmt.Errorf("answer %.200q: %v", p, err)
			}
			c.id, c.granted = answer.ID, slices.Contains(answer.Features, "groups")
			c.record.Identified(c.id)
			return nil
		case *m.Op == opDisconnect:
			return fmt.Errorf("disconnected: %s", m.Data)
		default:
			c.handle(ctx, m, p) // recorded as leaked
		}
	}
}

// next reads one message.
func (c *Client) next(ctx context.Context) (*wire, []byte, error) {
	_, p, err := c.conn.Read(ctx)
	if err != nil {
		return nil, nil, err
	}
	m := new(wire)
	if err := json.Unmarshal(p, m); err != nil || m.Op == nil {
		return nil, p, fmt.Errorf("no envelope: %.200q (%v)", p, err)
	}
	return m, p, nil
}

// read is the reader: it handles messages until the connection ends, and records that end.
func (c *Client) read(ctx context.Context) {
	defer close(c.done)
	defer c.conn.CloseNow()
	for {
		m, p, err := c.next(ctx)
		if err != nil {
			c.ended(err)
			return
		}
		c.handle(ctx, m, p)
	}
}

func (c *Client) handle(ctx context.Context, m *wire, p []byte) {
	switch *m.Op {
	case opEvent, opReply:
		c.arrival(m, p)
	case opAck, opError:
		c.answer(m, p)
	case opSubscribe, opUnsubscribe:
		c.changed(m, p)
	case opPing:
		// A failed write ends the reader, too.
		_ = c.conn.Write(ctx, websocket.MessageText, []byte(`{"op":4}`))
	case opPong:
		if c.pinging.Add(-1) < 0 {
			c.pinging.Add(1)
			c.record.Stray("a PONG for no PING")
			return
		}
		c.pongs <- struct{}{} // with room for every Ping at once
	case opDisconnect:
		c.mu.Lock()
		defer c.mu.Unlock()
		if err := json.Unmarshal(m.Data, &c.reason); err != nil {
			c.reason = string(p)
		}
	default:
		c.record.Stray("%.200q", p)
	}
}

func (c *Client) arrival(m *wire, p []byte) {
	if m.Event != eventName || m.Intent.Target == "" {
		c.record.Stray("event or intent are not as sent: %.200q", p)
	}
	from, n, ok := c.record.Arrived([]byte(m.ID), []byte(m.Sender), m.Data)
	if !ok {
		return
	}
	c.mu.Lock()
	c.latest[from] = max(c.latest[from], n)
	close(c.arrived)
	c.arrived = make(chan struct{})
	c.mu.Unlock()
	if c.opts.OnArrival != nil {
		c.opts.OnArrival(from, n, m.Intent.Target)
	}
}

// answer handles the ACK or ERROR for a message.
func (c *Client) answer(m *wire, p []byte) {
	n, ok := history.ParseID([]byte(m.ID), c.record.Index())
	if !ok || c.window == nil {
		c.record.Stray("an answer to nothing that was sent: %.200q", p)
		return
	}
	first := false
	if *m.Op == opAck {
		first = c.record.Accepted(n)
	} else {
		var data struct {
			Code string `json:"code"`
		}
		if err := json.Unmarshal(m.Data, &data); err != nil || data.Code == "" {
			c.record.Stray("an ERROR without a code: %.200q", p)
		}
		first = c.record.Refused(n, data.Code)
	}
	if !first {
		return // recorded as corrupted
	}
	select {
	case <-c.window:
	default:
		c.record.Stray("one answer too many: %.200q", p)
	}
}

func (c *Client) ended(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
	var closed websocket.CloseError
	proper := errors.As(err, &closed) || c.reason != ""
	switch {
	case c.retired && !proper:
	case c.cut || !proper:
		c.record.Ended(history.Cut, "")
	case c.leaving:
		c.record.Ended(history.Left, c.reason)
	default:
		c.record.Ended(history.Dismissed, c.reason)
	}
}

// ID returns the client's id.
func (c *Client) ID() string { return c.id }

// Record returns the client's part of the history.
func (c *Client) Record() *history.Session { return c.record }

// Done is closed when the connection has ended and all arrivals are recorded.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err returns the cause of the end: the hub's reason, or the connection's error. It is nil while the connection is
// open.
func (c *Client) Err() error {
	select {
	case <-c.done:
	default:
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reason != "" {
		return fmt.Errorf("%v was disconnected: %s", c.record, c.reason)
	}
	return fmt.Errorf("%v ended: %w", c.record, c.err)
}
