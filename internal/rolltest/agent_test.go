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
	"github.com/mastersocket/mastersocket/opcodes"
)

// Events that agents send.
const (
	eventTell = "tell"
	eventAsk  = "ask" // expects a REPLY with the same data
)

const (
	// askTimeout bounds an agent's wait for the answer to a question.
	askTimeout = 20 * time.Second
	// thinkTime bounds the delay of some answers.
	thinkTime = 400 * time.Millisecond
	// acquaintances bounds the senders that an agent remembers as targets of DIRECT messages.
	acquaintances = 4
)

// agent is a service on the SDK: it sends, asks and answers, and records everything in a history.
type agent struct {
	p      *loadProcess
	record *history.Session
	group  string
	noEcho bool
	client *client.Client
	tally  *tally

	// Owned by the handlers' goroutine, except the fields that mu guards.
	identified bool
	away       bool
	mu         sync.Mutex // guards the fields below
	ids        []string   // all ids so far
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

// told handles an event.
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

// acquaintance draws an id, or "" if the agent knows none.
func (a *agent) acquaintance() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.known) == 0 {
		return ""
	}
	return a.known[rand.IntN(len(a.known))]
}

// isItself reports whether the id is, or was, the agent's own. The agent asks itself nothing: an ACK or ERROR for the
// question and one for the answer, which has the same id, could not be distinguished.
func (a *agent) isItself(id string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Contains(a.ids, id)
}

// asked answers a question, at once or after a delay.
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

// stray handles messages without a handler: a REPLY after its timeout.
func (a *agent) stray(_ context.Context, m *client.Message) {
	if !a.p.frozen.Load() {
		a.tally.strayed(m)
	}
}

// refused handles an ERROR without a waiting call.
func (a *agent) refused(err *client.HubError) {
	if n, ok := history.ParseID([]byte(err.ID), a.record.Index()); ok {
		a.record.Refused(n, string(err.Code))
	}
}

// send sends one message or asks one question, and waits for its outcome if it needs it.
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

// settle records the outcome of message n.
func (a *agent) settle(n int, err error) {
	var hubErr *client.HubError
	var requestErr *client.RequestError
	switch {
	case err == nil:
		a.record.Accepted(n)
	case errors.As(err, &hubErr):
		a.record.Refused(n, string(hubErr.Code))
	case errors.Is(err, client.ErrNoReceiver):
		a.record.Refused(n, string(opcodes.CodeNoReceiver))
	case errors.As(err, &requestErr): // it had a receiver, which may have got it
		a.record.Refused(n, string(opcodes.CodeOutcomeUnknown))
		a.tally.failed("no answer: " + err.Error())
	case errors.Is(err, client.ErrOutcomeUnknown):
		a.tally.failed("outcome unknown: " + err.Error())
	case errors.Is(err, context.DeadlineExceeded): // a question that was sent
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

// tally counts what a process's agents observe besides the messages of the history.
type tally struct {
	mu sync.Mutex
	counts
}

// counts are the result of a tally.
type counts struct {
	Dials    []int64        // when connections were opened
	Joins    []join         // when and where clients identified
	Asked    int            // questions
	Answers  int            // answers to them
	Refused  int            // questions without a receiver
	Unmade   int            // answers that could not be sent
	Strays   map[string]int // REPLYs after their timeout, and other unexpected messages
	Losses   map[string]int // connections that ended, by reason
	Failures map[string]int // all errors that a service would see
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
		case errors.As(err, &hubErr), errors.Is(err, client.ErrNoReceiver):
			c.Refused++
		}
	})
}
