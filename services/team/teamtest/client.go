package teamtest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/mastersocket/mastersocket/services/team/rtm"
)

// retryAfter is the wait before a Client asks again for a lost connection.
const retryAfter = 20 * time.Millisecond

// Client runs the client side of the protocol: it connects to every announced team, stores the messages, and answers
// healthchecks with its counts. Its methods may be called from any goroutine.
type Client struct {
	ctx    context.Context
	stop   context.CancelFunc
	global *websocket.Conn
	tasks  sync.WaitGroup

	mu      sync.Mutex
	teams   map[rtm.ID]*clientTeam
	lie     func(*rtm.Stat)
	goodbye bool
	bad     []string // faults of the server
}

// clientTeam is a Client's state of a team; guarded by Client.mu.
type clientTeam struct {
	present, connected bool
	messages           []string
	props              uint64
	sockets            int
}

// Start connects a Client to the server at base ("ws://host:port") until the test ends.
func Start(tb testing.TB, base, token string) *Client {
	tb.Helper()
	ctx, stop := context.WithCancel(context.Background())
	dialing, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	g, _, err := websocket.Dial(dialing, base+"/global", &websocket.DialOptions{HTTPHeader: Bearer(token)})
	if err != nil {
		stop()
		tb.Fatalf("teamtest: %v", err)
	}
	c := &Client{ctx: ctx, stop: stop, global: g, teams: make(map[rtm.ID]*clientTeam)}
	c.tasks.Go(c.readGlobal)
	tb.Cleanup(func() {
		c.Stop()
		for _, what := range c.bad {
			tb.Errorf("teamtest: the server %s", what)
		}
	})
	return c
}

// Stop ends all connections and waits for the Client's goroutines.
func (c *Client) Stop() {
	c.stop()
	c.tasks.Wait()
}

// Lie makes the Client report other counts than its own.
func (c *Client) Lie(f func(*rtm.Stat)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lie = f
}

// Connected returns how many teams are connected.
func (c *Client) Connected() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, t := range c.teams {
		if t.connected {
			n++
		}
	}
	return n
}

// Messages returns what a team received, in the order of arrival.
func (c *Client) Messages(id rtm.ID) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.teams[id]; t != nil {
		return slices.Clone(t.messages)
	}
	return nil
}

// Received returns how many messages all teams received.
func (c *Client) Received() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, t := range c.teams {
		n += len(t.messages)
	}
	return n
}

// Goodbye reports whether the server said goodbye.
func (c *Client) Goodbye() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.goodbye
}

// blame notes a fault of the server. mu must be held.
func (c *Client) blame(what string) {
	if len(c.bad) < 10 {
		c.bad = append(c.bad, what)
	}
}

// read calls f for each frame until the connection ends, and returns the cause.
func (c *Client) read(ws *websocket.Conn, f func(*rtm.Frame)) error {
	defer func() { _ = ws.CloseNow() }()
	ws.SetReadLimit(64 << 20)
	for first := true; ; first = false {
		_, b, err := ws.Read(c.ctx)
		if err != nil {
			return err
		}
		frame, err := rtm.Parse(b)
		c.mu.Lock()
		switch {
		case err != nil:
			c.blame("sent " + string(b))
		case first && frame.Type != rtm.Hello:
			c.blame("began with " + string(b))
		case frame.Type == rtm.Error:
			c.blame("complained: " + string(b))
		default:
			f(&frame)
		}
		c.mu.Unlock()
	}
}

func (c *Client) readGlobal() { _ = c.read(c.global, c.globalFrame) }

// globalFrame handles a frame of the Global connection. mu is held.
func (c *Client) globalFrame(f *rtm.Frame) {
	switch f.Type {
	case rtm.TeamJoin:
		t := c.teams[f.TeamID]
		if t == nil {
			t = &clientTeam{}
			c.teams[f.TeamID] = t
		}
		if t.present {
			c.blame("announced a team twice: " + f.TeamID.String())
		}
		t.present = true
		c.ask(f.TeamID)
	case rtm.TeamLeft:
		if t := c.teams[f.TeamID]; t != nil {
			t.present = false
		}
	case rtm.TeamConnect:
		c.tasks.Go(func() { c.runTeam(f.TeamID, f.WSURL) })
	case rtm.Healthcheck:
		c.answer()
	case rtm.Goodbye:
		c.goodbye = true
	}
}

// send writes to the Global connection without waiting for it.
func (c *Client) send(f *rtm.Frame) {
	text := f.Append(nil)
	c.tasks.Go(func() { _ = c.global.Write(c.ctx, websocket.MessageText, text) })
}

func (c *Client) ask(id rtm.ID) { c.send(&rtm.Frame{Type: rtm.TeamConnect, TeamID: id}) }

// answer answers a healthcheck. mu is held.
func (c *Client) answer() {
	stats := []rtm.Stat{}
	for id, t := range c.teams {
		s := rtm.Stat{ID: id, Connected: t.connected, MessageCount: uint64(len(t.messages)), PropsCount: t.props}
		if c.lie != nil {
			c.lie(&s)
		}
		stats = append(stats, s)
	}
	c.send(&rtm.Frame{Type: rtm.Healthcheck, Stats: stats})
}

// runTeam serves a team's connection until it ends, and asks for another one unless the team has left.
func (c *Client) runTeam(id rtm.ID, url string) {
	ws, _, err := websocket.Dial(c.ctx, url, nil)
	if err == nil {
		err = c.read(ws, func(f *rtm.Frame) { c.teamFrame(id, f) })
	}
	c.mu.Lock()
	c.teams[id].connected = false
	again := c.teams[id].present && !c.goodbye
	c.mu.Unlock()
	var closed websocket.CloseError
	if errors.As(err, &closed) && closed.Code == websocket.StatusNormalClosure {
		again = false // the team has left
	}
	if !again {
		return
	}
	select {
	case <-c.ctx.Done():
	case <-time.After(retryAfter):
		c.ask(id)
	}
}

// teamFrame handles a frame of a team's connection. mu is held.
func (c *Client) teamFrame(id rtm.ID, f *rtm.Frame) {
	t := c.teams[id]
	switch f.Type {
	case rtm.Hello:
		t.connected = true
		t.sockets++
	case rtm.Message:
		t.messages = append(t.messages, f.Text)
		if strings.Contains(f.Text, "props") {
			t.props++
		}
	}
}
