//go:build linux

package rolltest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/mastersocket/mastersocket/client"
	"github.com/mastersocket/mastersocket/internal/history"
)

// Events that agents send.
const (
	eventTell = "tell"
	eventAsk  = "ask" // wants a REPLY with the same data
)

const (
	// askTimeout is how long an agent waits for the answer to a question.
	askTimeout = 20 * time.Second
	// thinkTime bounds how long some answers take.
	thinkTime = 400 * time.Millisecond
	// acquaintances is how many senders an agent remembers, to send them something directly.
	acquaintances = 4
)

// agent is a service with a client of the SDK: it sends, asks and answers, and records all in a history.
type agent struct {
	p      *loadProcess
	record *history.Session
	group  string
	noEcho bool
	client *client.Client
	tally  *tally

	// Owned by the handlers' goroutine, save what mu guards.
	identified bool
	away       bool
	mu         sync.Mutex // guards what follows
	ids        []string   // that it has had
	known      []string
	met        int

	answering sync.WaitGroup
}

// connect returns once the agent is connected.
func (a *agent) connect(ctx context.Context) (err error) {
	a.record.Identifying(history.Identity{Groups: []string{a.group}, NoEcho: a.noEcho, Reports: true})
	a.client, err = client.Connect(ctx, a.p.options(client.Options{
		URL: a.p.URL, Token: a.p.Token, Group: a.group, Name: a.record.String(), NoEcho: a.noEcho, NoDrain: a.p.NoDrain,
		TLSConfig: tlsConfig(a.p.Trust),
		On:        map[string]client.Handler{eventTell: a.told, eventAsk: a.asked},
		OnMessage: a.stray, OnError: a.refused, OnConnect: a.connected, OnDisconnect: a.disconnected, Dial: a.dial,
	}))
	return err
}

// dial notes each attempt to connect.
func (a *agent) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	a.record.Moving()
	a.tally.dialed(history.Now())
	var d net.Dialer
	return d.DialContext(ctx, network, addr)
}

func (a *agent) connected(id client.Identity) {
	if a.p.frozen.Load() {
		return
	}
	a.tally.joined(history.Now(), id.Node)
	a.mu.Lock()
	a.ids = append(a.ids, id.ID)
	a.mu.Unlock()
	switch {
	case !a.identified:
		a.record.Identified(id.ID)
	case a.away:
		a.record.Back(id.ID)
	default:
		a.record.Moved(id.ID)
	}
	a.identified, a.away = true, false
}

func (a *agent) disconnected(reason error) {
	if a.p.frozen.Load() {
		return
	}
	a.away = true
	a.record.Away()
	a.tally.lost(reason)
}

// told takes an event.
func (a *agent) told(_ context.Context, m *client.Message) {
	if a.p.frozen.Load() {
		return
	}
	a.p.arrived.Add(1)
	a.record.Arrived([]byte(m.ID), []byte(m.Sender), m.Data)
	a.meet(m.Sender)
}

// meet remembers the sender of a message.
func (a *agent) meet(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.known) < acquaintances {
		a.known = append(a.known, id)
		return
	}
	a.known[a.met%acquaintances] = id
	a.met++
}

// acquaintance draws an id, empty if the agent knows none.
func (a *agent) acquaintance() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.known) == 0 {
		return ""
	}
	return a.known[rand.IntN(len(a.known))]
}

// isItself tells whether the id is, or was, the agent's own. It asks itself nothing: what it is told of the question could
// not be told from what it is told of the answer, which has the same id.
func (a *agent) isItself(id string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Contains(a.ids, id)
}

// asked takes a question, and answers it at once or after some thought.
func (a *agent) asked(ctx context.Context, m *client.Message) {
	a.told(ctx, m)
	think := time.Duration(0)
	if rand.IntN(3) == 0 {
		think = rand.N(thinkTime)
	}
	a.answering.Go(func() {
		select {
		case <-time.After(think):
		case <-ctx.Done():
			return
		}
		ctx, cancel := context.WithTimeout(ctx, askTimeout)
		defer cancel()
		a.tally.answered(m.Reply(ctx, json.RawMessage(m.Data)))
	})
}

// stray takes what no handler expects: a REPLY for which nobody waits any more.
func (a *agent) stray(_ context.Context, m *client.Message) {
	if !a.p.frozen.Load() {
		a.tally.strayed(m)
	}
}

// refused learns of an ERROR for which nobody waits.
func (a *agent) refused(err *client.HubError) {
	if n, ok := history.ParseID([]byte(err.ID), a.record.Index()); ok {
		a.record.Refused(n, string(err.Code))
	}
}

// send sends one message or asks one question, and waits for its outcome where it wants to know it.
func (a *agent) send(ctx context.Context) {
	to, ask := a.p.draw(a)
	a.sendTo(ctx, to, ask)
}

func (a *agent) sendTo(ctx context.Context, to history.To, ask bool) {
	n := a.record.Send(to)
	id := string(history.AppendID(nil, a.record.Index(), n))
	data := json.RawMessage(history.AppendPayload(nil, a.record.Index(), n, 8+rand.IntN(80)))
	switch {
	case ask:
		a.settle(n, a.ask(ctx, intentOf(to), id, data))
	case rand.IntN(2) == 0:
		_, err := a.client.SendAcked(ctx, intentOf(to), eventTell, data, client.WithID(id))
		a.settle(n, err)
	default:
		if err := a.client.Send(ctx, intentOf(to), eventTell, data, client.WithID(id)); err != nil {
			a.settle(n, err)
		}
	}
}

// settle records what the agent learnt of message n.
func (a *agent) settle(n int, err error) {
	var hubErr *client.HubError
	switch {
	case err == nil:
		a.record.Accepted(n)
	case errors.As(err, &hubErr):
		a.record.Refused(n, string(hubErr.Code))
	case errors.Is(err, client.ErrOutcomeUnknown):
		a.tally.failed("outcome unknown: " + err.Error())
	case errors.Is(err, context.DeadlineExceeded): // of a question: it was sent
		a.tally.failed("no answer: " + err.Error())
	default:
		a.record.Unsent(n)
		a.tally.failed(err.Error())
	}
}

// ask asks a question and checks the answer.
func (a *agent) ask(ctx context.Context, to client.Intent, id string, data json.RawMessage) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	reply, err := a.client.Request(ctx, to, eventAsk, data, client.WithID(id))
	a.tally.asked(err)
	if err == nil && !bytes.Equal(reply.Data, data) {
		a.tally.failed(fmt.Sprintf("the answer to %s is %.100s", id, reply.Data))
	}
	return err
}

func intentOf(to history.To) client.Intent {
	switch to.Target {
	case history.Group:
		return client.Group(to.Name)
	case history.Direct:
		return client.Direct(to.Name)
	case history.Any:
		return client.Any(to.Name)
	}
	return client.Global()
}

// tally counts what a process's agents see beside the messages of the history.
type tally struct {
	mu sync.Mutex
	counts
}

// counts are the result of a tally.
type counts struct {
	Dials    []int64        // when connections were opened
	Joins    []join         // when clients identified, and where
	Asked    int            // questions
	Answers  int            // to them
	Refused  int            // questions for which there was no receiver
	Unmade   int            // answers that could not be sent
	Strays   map[string]int // REPLYs that came when nobody waited for them, and other surprises
	Losses   map[string]int // connections that ended, by reason
	Failures map[string]int // everything that a service would call an error
}

type join struct {
	At   int64
	Node string
}

func newTally() *tally {
	return &tally{counts: counts{Strays: make(map[string]int), Losses: make(map[string]int), Failures: make(map[string]int)}}
}

func (t *tally) update(f func(c *counts)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f(&t.counts)
}

func (t *tally) dialed(at int64) { t.update(func(c *counts) { c.Dials = append(c.Dials, at) }) }

func (t *tally) joined(at int64, node string) {
	t.update(func(c *counts) { c.Joins = append(c.Joins, join{at, node}) })
}

func (t *tally) lost(reason error) { t.update(func(c *counts) { c.Losses[reason.Error()]++ }) }

func (t *tally) failed(what string) { t.update(func(c *counts) { c.Failures[what]++ }) }

func (t *tally) strayed(m *client.Message) {
	t.update(func(c *counts) { c.Strays[fmt.Sprintf("op %d, event %s", m.Op, m.Event)]++ })
}

func (t *tally) answered(err error) {
	if err != nil {
		t.update(func(c *counts) { c.Unmade++; c.Failures["answer: "+err.Error()]++ })
	}
}

func (t *tally) asked(err error) {
	var hubErr *client.HubError
	t.update(func(c *counts) {
		c.Asked++
		switch {
		case err == nil:
			c.Answers++
		case errors.As(err, &hubErr):
			c.Refused++
		}
	})
}
