// Command goload runs many clients of the Go SDK, which exchange messages and record what they send and get, for the tests
// with real hubs. The suite's README.md describes the lines on standard input and output.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mastersocket/mastersocket/client"
	"github.com/mastersocket/mastersocket/internal/history"
)

const (
	eventTell  = "tell"
	eventAsk   = "ask" // expects a REPLY with the same data
	askTimeout = 20 * time.Second
	padding    = 8
)

// command is a line of standard input.
type command struct {
	N       int     `json:"n"`
	Cmd     string  `json:"cmd"`
	URL     string  `json:"url"`
	Token   string  `json:"token"`
	Clients int     `json:"clients"`
	Rate    float64 `json:"rate"`
	File    string  `json:"file"`
}

// load is all clients.
type load struct {
	history *history.History
	agents  []*agent
	groups  int
	began   time.Time
	halt    context.CancelFunc
	sending sync.WaitGroup

	frozen      atomic.Bool  // nothing more is recorded
	lastArrival atomic.Int64 // by history.Now

	mu             sync.Mutex // guards the fields below and orders lines
	out            *json.Encoder
	failures       map[string]int
	outcomeUnknown int
	unanswered     map[string]int // requests that had a receiver, by why that did not answer
}

func main() {
	l := &load{history: history.New(0), out: json.NewEncoder(os.Stdout), failures: map[string]int{}, unanswered: map[string]int{}}
	asking := &asking{load: l}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var c command
		err := json.Unmarshal(lines.Bytes(), &c)
		ok := map[string]any{}
		switch {
		case err != nil:
		case c.Cmd == "start":
			err = l.start(c)
		case c.Cmd == "finish":
			ok, err = l.finish(c.File)
		case c.Cmd == "start_asking":
			err = asking.start(c)
		case c.Cmd == "finish_asking":
			ok = asking.finish()
		default:
			err = fmt.Errorf("unknown command %q", c.Cmd)
		}
		if err != nil {
			l.print(map[string]any{"n": c.N, "error": map[string]any{"kind": "other", "text": err.Error()}})
			continue
		}
		l.print(map[string]any{"n": c.N, "ok": ok})
	}
}

func (l *load) print(line map[string]any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.out.Encode(line) // a suite that is gone has closed standard input, too
}

func (l *load) failed(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failures[what]++
}

func group(i int) string { return "team-" + strconv.Itoa(i) }

func (l *load) start(c command) error {
	l.groups = max(1, c.Clients/10)
	errs := make(chan error, c.Clients)
	for i := range c.Clients {
		a := &agent{load: l, record: l.history.Session("agent"), group: group(i % l.groups)}
		l.agents = append(l.agents, a)
		go func() { errs <- a.connect(c) }()
	}
	for range c.Clients {
		if err := <-errs; err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	l.halt, l.began = cancel, time.Now()
	each := time.Duration(float64(time.Second) * float64(c.Clients) / c.Rate)
	for _, a := range l.agents {
		l.sending.Go(func() { a.live(ctx, each) })
	}
	return nil
}

func (l *load) finish(file string) (map[string]any, error) {
	l.halt()
	took := time.Since(l.began)
	l.sending.Wait()
	for history.Now()-l.lastArrival.Load() < int64(time.Second) { // the last messages are on their way
		time.Sleep(50 * time.Millisecond)
	}
	l.frozen.Store(true)
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	var closing sync.WaitGroup
	for _, a := range l.agents {
		closing.Go(func() { _ = a.client.Close(ctx) })
	}
	closing.Wait()
	f, err := os.Create(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	return map[string]any{
		"took_ms": took.Milliseconds(), "outcome_unknown": l.outcomeUnknown, "unanswered": l.unanswered, "failures": l.failures,
	}, l.history.WriteNDJSON(f)
}

// agent is one client, and the record of it.
type agent struct {
	load   *load
	record *history.Session
	group  string
	client *client.Client

	identified, away bool // owned by the handlers' goroutine

	mu  sync.Mutex // guards the fields below
	ids map[string]bool
	// known are ids of others.
	known [4]string
	met   int
}

func (a *agent) connect(c command) (err error) {
	a.record.Identifying(history.Identity{Groups: []string{a.group}, Reports: true})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var d net.Dialer
	a.client, err = client.Connect(ctx, client.Options{
		URL: c.URL, Token: c.Token, Group: a.group, Name: a.record.String(), MinBackoff: 100 * time.Millisecond, MaxBackoff: time.Second,
		On: map[string]client.Handler{eventTell: a.told, eventAsk: a.asked},
		OnMessage: func(_ context.Context, m *client.Message) {
			if !a.load.frozen.Load() {
				a.load.failed("stray " + m.Event)
			}
		},
		OnError:   func(err *client.HubError) { a.refused(err) },
		OnConnect: a.connected, OnDisconnect: a.disconnected,
		Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			a.record.Moving()
			return d.DialContext(ctx, network, addr)
		},
		Logger: slog.New(slog.DiscardHandler),
	})
	return err
}

func (a *agent) connected(id client.Identity) {
	if a.load.frozen.Load() {
		return
	}
	a.mu.Lock()
	if a.ids == nil {
		a.ids = map[string]bool{}
	}
	a.ids[id.ID] = true
	a.mu.Unlock()
	switch {
	case !a.identified:
		a.record.Identified(id.ID)
	case a.away:
		a.record.Back(id.ID)
		a.load.print(map[string]any{"event": "back"})
	default:
		a.record.Moved(id.ID)
		a.load.print(map[string]any{"event": "moved"})
	}
	a.identified, a.away = true, false
}

func (a *agent) disconnected(error) {
	if a.load.frozen.Load() {
		return
	}
	a.away = true
	a.record.Away()
	a.load.print(map[string]any{"event": "lost"})
}

func (a *agent) told(_ context.Context, m *client.Message) {
	if a.load.frozen.Load() {
		return
	}
	a.record.Arrived([]byte(m.ID), []byte(m.Sender), m.Data)
	a.load.lastArrival.Store(history.Now())
	a.mu.Lock()
	defer a.mu.Unlock()
	a.known[a.met%len(a.known)] = m.Sender
	a.met++
}

func (a *agent) asked(ctx context.Context, m *client.Message) {
	a.told(ctx, m)
	if err := m.Reply(ctx, json.RawMessage(m.Data)); err != nil && !errors.Is(err, client.ErrRequestOver) && ctx.Err() == nil {
		a.load.failed("reply: " + err.Error())
	}
}

// refused handles an ERROR without a waiting call.
func (a *agent) refused(err *client.HubError) {
	if n, ok := history.ParseID([]byte(err.ID), a.record.Index()); ok {
		a.record.Refused(n, string(err.Code))
	}
}

// live sends one message after the other.
func (a *agent) live(ctx context.Context, each time.Duration) {
	tick := time.NewTicker(each)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			a.send()
		}
	}
}

func (a *agent) draw() (to history.To, intent client.Intent) {
	dice := rand.Float64()
	team := group(rand.IntN(a.load.groups))
	switch {
	case dice < 0.6:
		return history.To{Target: history.Group, Name: team}, client.Group(team)
	case dice < 0.8:
		return history.To{Target: history.Any, Name: team}, client.Any(team)
	}
	a.mu.Lock()
	id := a.known[rand.IntN(len(a.known))]
	a.mu.Unlock()
	if dice < 0.99 && id != "" {
		return history.To{Target: history.Direct, Name: id}, client.Direct(id)
	}
	return history.To{Target: history.Global}, client.Global()
}

// send sends one message, or asks one question, and waits for its outcome.
func (a *agent) send() {
	to, intent := a.draw()
	n := a.record.Send(to)
	id := client.WithID(string(history.AppendID(nil, a.record.Index(), n)))
	data := json.RawMessage(history.AppendPayload(nil, a.record.Index(), n, padding))
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	// A client asks itself nothing: the outcomes of question and answer, which have the same id, could not be told apart.
	a.mu.Lock()
	ask := to.Target == history.Direct && rand.IntN(2) == 0 && !a.ids[to.Name]
	a.mu.Unlock()
	if !ask {
		_, err := a.client.SendAcked(ctx, intent, eventTell, data, id)
		a.settle(n, err)
		return
	}
	reply, err := a.client.Request(ctx, intent, eventAsk, data, id)
	if err == nil && !bytes.Equal(reply.Data, data) {
		a.load.failed("wrong answer")
	}
	a.settle(n, err)
}

// settle records the outcome of message n.
func (a *agent) settle(n int, err error) {
	var hub *client.HubError
	var request *client.RequestError
	switch {
	case err == nil:
		a.record.Accepted(n)
	case errors.As(err, &hub):
		a.record.Refused(n, string(hub.Code))
	case errors.Is(err, client.ErrNoReceiver):
		a.record.Refused(n, "NO_RECEIVER")
	case errors.As(err, &request): // it had a receiver, which may have got it
		a.record.Refused(n, "OUTCOME_UNKNOWN")
		a.unknown()
		a.load.notAnswered(request)
	case errors.Is(err, client.ErrOutcomeUnknown), errors.Is(err, context.DeadlineExceeded):
		a.unknown()
	default:
		a.record.Unsent(n)
		a.load.failed("send: " + err.Error())
	}
}

// notAnswered counts a request by why its receiver did not answer.
func (l *load) notAnswered(err *client.RequestError) {
	reason := "PASSED"
	if len(err.Missing) > 0 {
		reason = err.Missing[0].Reason
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unanswered[reason]++
}

func (a *agent) unknown() {
	a.load.mu.Lock()
	defer a.load.mu.Unlock()
	a.load.outcomeUnknown++
}
