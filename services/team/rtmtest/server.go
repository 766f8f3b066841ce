package rtmtest

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/mastersocket/mastersocket/internal/freeport"
	"github.com/mastersocket/mastersocket/services/team/rtm"
)

// Options configures a Server.
type Options struct {
	Plan   *Plan
	Token  string      // if not empty, /global demands Authorization: Bearer with it
	Scheme string      // of the ws_url; default http, with TLS https
	TLS    *tls.Config // serve wss with this
}

// Server is a running server.
type Server struct {
	tb   testing.TB
	opts Options
	addr string

	mu       sync.Mutex
	listener net.Listener // nil while the server is stopped
	http     *http.Server
	serving  sync.WaitGroup // connections and delayed answers
	global   *conn
	globals  int // Global connections so far
	teams    map[rtm.ID]*team
	tickets  map[string]rtm.ID
	lastTick int
	asks     []time.Time
	answers  [][]rtm.Stat  // to healthchecks
	changed  chan struct{} // closed and replaced at each change of the fields above
	changes  int           // how often
	bad      []string      // faults of clients
	down     chan struct{} // closed when the server stops
}

// team is the server's state of one team; guarded by Server.mu.
type team struct {
	present       bool
	sock          *conn
	asks, sockets int
	sent, props   uint64
	replaced      int // sockets that were opened while another was open
}

// Start runs a server on a free port of 127.0.0.1 until the test ends.
func Start(tb testing.TB, o Options) *Server {
	tb.Helper()
	if o.Plan == nil {
		o.Plan = &Plan{}
	}
	if o.Scheme == "" {
		o.Scheme = "http"
		if o.TLS != nil {
			o.Scheme = "https"
		}
	}
	s := &Server{
		tb: tb, opts: o, addr: freeport.Address(tb), teams: make(map[rtm.ID]*team), tickets: make(map[string]rtm.ID),
		changed: make(chan struct{}),
	}
	s.Restart()
	tb.Cleanup(func() {
		s.Stop()
		for _, what := range s.bad {
			tb.Errorf("rtmtest: the client %s", what)
		}
	})
	return s
}

// URL returns the URL of the Global connection.
func (s *Server) URL() string {
	if s.opts.TLS != nil {
		return "wss://" + s.addr + "/global"
	}
	return "ws://" + s.addr + "/global"
}

// Addr returns the host and port of the listener.
func (s *Server) Addr() string { return s.addr }

// Restart makes a stopped server listen again on the same port.
func (s *Server) Restart() {
	s.tb.Helper()
	l, err := net.Listen("tcp", s.addr)
	if err != nil {
		s.tb.Fatalf("rtmtest: %v", err)
	}
	addr := l.Addr().String()
	if s.opts.TLS != nil {
		l = tls.NewListener(l, s.opts.TLS)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /global", s.serveGlobal)
	mux.HandleFunc("GET /connect/team/{ticket}", s.serveTeam)
	server := &http.Server{Handler: mux, ErrorLog: log.New(io.Discard, "", 0)}
	s.mu.Lock()
	s.listener, s.http, s.addr, s.down = l, server, addr, make(chan struct{})
	s.mu.Unlock()
	go func() { _ = server.Serve(l) }()
}

// Stop ends all connections and stops listening, like a server that crashed after its last write.
func (s *Server) Stop() {
	s.mu.Lock()
	server := s.http
	s.listener, s.http = nil, nil
	down := s.down
	s.mu.Unlock()
	if server == nil {
		return
	}
	close(down)
	_ = server.Close()
	s.DropAll()
	s.serving.Wait()
}

// notify wakes all waiting goroutines after a change. mu must be held.
func (s *Server) notify() {
	s.changes++
	close(s.changed)
	s.changed = make(chan struct{})
}

// Await waits until cond is true. It calls cond after each change, without holding the lock.
func (s *Server) Await(ctx context.Context, cond func() bool) error {
	for {
		s.mu.Lock()
		changed := s.changed
		s.mu.Unlock()
		if cond() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("rtmtest: %w", ctx.Err())
		}
	}
}

// upgrade opens the WebSocket of a request. ok is false if that failed, or the server has stopped.
func (s *Server) upgrade(w http.ResponseWriter, r *http.Request) (c *conn, ok bool) {
	raw, rw, _, err := ws.UpgradeHTTP(r, w)
	if err != nil {
		return nil, false
	}
	_ = raw.SetDeadline(time.Time{})
	c = &conn{Conn: raw, r: rw.Reader}
	c.open.Store(true)
	return c, true
}

func (s *Server) serveGlobal(w http.ResponseWriter, r *http.Request) {
	s.serving.Add(1)
	defer s.serving.Done()
	s.mu.Lock()
	s.globals++
	n := s.globals
	s.mu.Unlock()
	if s.opts.Token != "" && r.Header.Get("Authorization") != "Bearer "+s.opts.Token {
		http.Error(w, "who are you?", http.StatusUnauthorized)
		return
	}
	if plan := s.opts.Plan.Global; plan != nil {
		if status := plan(n); status != 0 {
			http.Error(w, "planned", status)
			return
		}
	}
	c, ok := s.upgrade(w, r)
	if !ok {
		return
	}
	defer c.Close()
	if !s.openGlobal(c) {
		return
	}
	c.read(func(text []byte) { s.handleGlobal(c, text) })
	s.mu.Lock()
	if s.global == c {
		s.global = nil
	}
	s.notify()
	s.mu.Unlock()
}

// openGlobal sends hello and, unless the plan is Forgetful, the present teams.
func (s *Server) openGlobal(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener == nil {
		return false
	}
	if s.global != nil {
		s.global.drop()
	}
	s.global = c
	c.write(`{"type":"hello"}`)
	for id, t := range s.teams {
		if t.present && !s.opts.Plan.Forgetful {
			f := rtm.Frame{Type: rtm.TeamJoin, TeamID: id}
			c.write(string(f.Append(nil)))
		}
	}
	s.notify()
	return true
}

func (s *Server) handleGlobal(c *conn, text []byte) {
	f, err := rtm.Parse(text)
	if err != nil {
		s.blame("sent %.200q on Global: %v", text, err)
		return
	}
	switch f.Type {
	case rtm.TeamConnect:
		s.ask(c, f.TeamID)
	case rtm.Healthcheck:
		s.mu.Lock()
		s.answers = append(s.answers, f.Stats)
		s.notify()
		s.mu.Unlock()
	default:
		s.blame("sent %.200q on Global", text)
	}
}

func (s *Server) blame(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bad = append(s.bad, fmt.Sprintf(format, args...))
}

// ask answers a team.connect.
func (s *Server) ask(c *conn, id rtm.ID) {
	s.mu.Lock()
	t := s.teams[id]
	if t == nil {
		s.mu.Unlock()
		s.blame("asked for the team %s, which there never was", id.Append(nil))
		return
	}
	t.asks++
	s.asks = append(s.asks, time.Now())
	n, present := t.asks, t.present
	s.lastTick++
	ticket := strconv.Itoa(s.lastTick)
	s.tickets[ticket] = id
	down := s.down
	s.notify()
	s.mu.Unlock()
	var a Answer
	if plan := s.opts.Plan.Ask; plan != nil {
		a = plan(id, n)
	}
	if !present {
		a = Refusal(id)
	}
	url := s.opts.Scheme + "://" + s.addr + "/connect/team/" + ticket
	frames := func() {
		if a.Frames == nil {
			a = WithURL(id, func(url string) string { return url })
		}
		for _, text := range a.Frames(url) {
			c.write(text)
		}
	}
	if a.After == 0 {
		frames()
		return
	}
	s.serving.Go(func() {
		select {
		case <-time.After(a.After):
			frames()
		case <-down:
		}
	})
}

func (s *Server) serveTeam(w http.ResponseWriter, r *http.Request) {
	s.serving.Add(1)
	defer s.serving.Done()
	ticket := r.PathValue("ticket")
	s.mu.Lock()
	id, ok := s.tickets[ticket]
	delete(s.tickets, ticket) // valid once
	t := s.teams[id]
	if !ok {
		s.mu.Unlock()
		http.Error(w, "no such ticket", http.StatusForbidden)
		return
	}
	t.sockets++
	n, down := t.sockets, s.down
	s.mu.Unlock()
	var plan Socket
	if s.opts.Plan.Socket != nil {
		plan = s.opts.Plan.Socket(id, n)
	}
	select {
	case <-time.After(plan.After):
	case <-down:
		return
	}
	if plan.Status != 0 {
		if plan.Location != "" {
			w.Header().Set("Location", plan.Location)
		}
		http.Error(w, "planned", plan.Status)
		return
	}
	c, ok := s.upgrade(w, r)
	if !ok {
		return
	}
	defer c.Close()
	if plan.Takeover != nil {
		plan.Takeover(c.Conn)
		return
	}
	s.runTeam(c, t, plan, down)
}

// runTeam serves a team's WebSocket.
func (s *Server) runTeam(c *conn, t *team, plan Socket, down <-chan struct{}) {
	s.mu.Lock()
	if s.listener == nil {
		s.mu.Unlock()
		return
	}
	if t.sock != nil && t.sock.open.Load() {
		t.replaced++
		t.sock.bye(ws.StatusNormalClosure)
	}
	t.sock = c
	if !plan.NoHello {
		c.write(`{"type":"hello"}`)
	}
	s.notify()
	s.mu.Unlock()
	if plan.Deaf {
		c.open.Store(false)
		<-down
		return
	}
	c.read(func(text []byte) {
		f, err := rtm.Parse(text)
		if err != nil || f.Type != rtm.Ping {
			s.blame("sent %.200q to a team: %v", text, err)
			return
		}
		if f.Type = rtm.Pong; !plan.NoPong {
			c.write(string(f.Append(nil)))
		}
	})
	s.mu.Lock()
	if t.sock == c {
		t.sock = nil
	}
	s.notify()
	s.mu.Unlock()
}

// countProps reports whether a message counts for props_count.
func countProps(text string) uint64 {
	if strings.Contains(text, "props") {
		return 1
	}
	return 0
}
