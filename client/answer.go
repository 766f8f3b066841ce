package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/mastersocket/mastersocket/opcodes"
)

// This file is the receiver's side of requests: what a handler answers, and what becomes of the requests that none answers.

// RemoteError is the error of the handler that answered a request.
type RemoteError struct {
	Code    string `json:"code"`    // for programs; see [HandleFunc]
	Message string `json:"message"` // for people
	Sender  string `json:"-"`       // the id of the client whose handler failed
	Event   string `json:"-"`
}

// Error returns the code and the message.
func (e *RemoteError) Error() string {
	if e.Message == "" {
		return e.Code
	}
	return e.Code + ": " + e.Message
}

// The codes of errors without a code of their own.
const (
	codeError = "ERROR"
	codePanic = "PANIC"
)

// HandleFunc makes a [Handler] of a function that returns the answer. It is sent as a REPLY. An error is sent as a REPLY with
// a code and a message, which the requester gets as a [*RemoteError]. The code is that of a *RemoteError in the error's tree,
// or ERROR.
func HandleFunc(f func(ctx context.Context, m *Message) (any, error)) Handler {
	return func(ctx context.Context, m *Message) {
		answer, err := f(ctx, m)
		if err == nil {
			if err = m.Reply(ctx, answer); err == nil || !isOwnFault(err) {
				return
			}
		}
		_ = m.ReplyError(ctx, err) // the connection is lost, or the requester has given up
	}
}

// isOwnFault reports whether an answer can't be sent because of what it is.
func isOwnFault(err error) bool {
	return !errors.Is(err, ErrOutcomeUnknown) && !errors.Is(err, ErrClosed) && !errors.Is(err, ErrRequestOver) &&
		!errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
}

// Reply sends a REPLY to the message's sender, with the same id and event: the last one to a request. Data and error are as
// for [Client.Send]. An answer to a request goes over the connection that the request came from; once that has ended, or the
// request is over, the error is [ErrRequestOver].
func (m *Message) Reply(ctx context.Context, data any) error { return m.answer(ctx, data, "", true) }

// ReplyMore is Reply, and says that at least one more REPLY follows.
func (m *Message) ReplyMore(ctx context.Context, data any) error {
	return m.answer(ctx, data, `,"more":true`, false)
}

// ReplyError sends a REPLY that says that the handler failed. See [HandleFunc].
func (m *Message) ReplyError(ctx context.Context, err error) error {
	var e *RemoteError
	if !errors.As(err, &e) {
		e = &RemoteError{Code: codeError, Message: err.Error()}
	}
	const most = 4096
	failure, fault := json.Marshal(RemoteError{Code: e.Code, Message: e.Message[:min(len(e.Message), most)]}, jsontext.AllowInvalidUTF8(true))
	if fault != nil {
		return fault
	}
	return m.answer(ctx, nil, `,"error":`+string(failure), true)
}

// Pass tells the hub that no answer to a request comes from this client. It does nothing for any other message.
func (m *Message) Pass() {
	if m.duty == nil || !m.duty.end() {
		return
	}
	m.duty.session().post(&call{
		frame: fmt.Appendf(nil, `{"op":%d,"id":%s,"intent":{"target":"DIRECT","identifier":%q}}`, opcodes.Settled, quoted(m.ID), m.Sender),
		done:  make(chan struct{}),
	})
}

func quoted(s string) []byte {
	b, _ := jsontext.AppendQuote(nil, s) // an error reports invalid UTF-8 alone, which is replaced
	return b
}

func (m *Message) answer(ctx context.Context, data any, members string, last bool) error {
	for {
		ca, err := newCall(opcodes.Reply, Direct(m.Sender), m.Event, data, []SendOption{WithID(m.ID), withMembers(members)})
		if err != nil {
			return err
		}
		if m.duty == nil {
			return m.client.send(ctx, ca)
		}
		if m.duty.isOver() {
			return fmt.Errorf("event %.80q: %w", m.Event, ErrRequestOver)
		}
		ca.via = m.duty.session()
		err = m.client.send(ctx, ca)
		switch {
		case err == nil && last:
			m.duty.end()
		case errors.Is(err, ErrRequestOver) && m.duty.session() != ca.via: // its copy on the next connection is to be answered
			continue
		}
		return err
	}
}

// duties are the requests that the Client owes an answer to.
type duties struct {
	mu   sync.Mutex
	open map[dutyKey]*duty
}

type dutyKey struct {
	session    *session // that the request came from
	sender, id string
}

// duty is one of them. Its context is that of the handlers.
type duty struct {
	all    *duties
	ctx    context.Context
	cancel context.CancelFunc

	// Guarded by duties.mu.
	key      dutyKey
	over     bool // answered, passed, cancelled, or too late
	returned bool // the handlers have returned
}

// expectation is the member expect of an EVENT.
type expectation struct {
	Timeout int64 `json:"timeout_ms"`
}

// owe notes that the session got the request m.
func (c *Client) owe(s *session, m *Message, expect jsontext.Value) {
	var x expectation
	if !s.identity.has(opcodes.FeatureRequests.String()) || json.Unmarshal(expect, &x, readOptions) != nil || x.Timeout <= 0 {
		return
	}
	d := &duty{all: &c.duties, key: dutyKey{s, m.Sender, m.ID}}
	base := context.WithValue(c.life, handling{}, c)
	d.ctx, d.cancel = context.WithTimeout(base, time.Duration(min(x.Timeout, 3_600_000))*time.Millisecond)
	m.duty = d
	c.duties.mu.Lock()
	defer c.duties.mu.Unlock()
	if c.duties.open == nil {
		c.duties.open = make(map[dutyKey]*duty)
	}
	c.duties.open[d.key] = d
	context.AfterFunc(d.ctx, func() { d.end() })
}

// end ends the duty. It returns false if it had ended before.
func (d *duty) end() bool {
	d.all.mu.Lock()
	defer d.all.mu.Unlock()
	if d.over {
		return false
	}
	d.over = true
	if d.all.open[d.key] == d {
		delete(d.all.open, d.key)
	}
	if d.returned {
		d.cancel()
	}
	return true
}

// isOver reports whether no answer is wanted any more. A handler that sees its context end finds that out at once.
func (d *duty) isOver() bool {
	d.all.mu.Lock()
	defer d.all.mu.Unlock()
	return d.over || d.ctx.Err() != nil
}

// handled notes that the handlers have returned. A goroutine of theirs may still answer.
func (d *duty) handled() {
	d.all.mu.Lock()
	defer d.all.mu.Unlock()
	if d.returned = true; d.over {
		d.cancel()
	}
}

// session returns the session that the answer is due on.
func (d *duty) session() *session {
	d.all.mu.Lock()
	defer d.all.mu.Unlock()
	return d.key.session
}

// dropCopy handles that of two copies of a request, on the two connections of a move, m is not handed out: the other one is
// answered, and m passed. If nothing can be sent any more over the connection that the other one came from, m's is used.
func (a *duties) dropCopy(m *Message) {
	if m.duty == nil {
		return
	}
	a.mu.Lock()
	mine := m.duty.key
	for k, d := range a.open {
		if k.sender == mine.sender && k.id == mine.id && k.session != mine.session && k.session.isLeaving() && a.open[mine] == m.duty {
			delete(a.open, k)
			d.key = mine
			a.open[mine] = d
			m.duty.over = true
			a.mu.Unlock()
			m.duty.cancel()
			return
		}
	}
	a.mu.Unlock()
	m.Pass()
}

// cancelled handles a CANCEL, after which no answer is wanted.
func (a *duties) cancelled(s *session, sender, id string) {
	a.mu.Lock()
	d := a.open[dutyKey{s, sender, id}]
	a.mu.Unlock()
	if d != nil {
		d.cancel()
		d.end()
	}
}

// drop ends what came over a connection that has ended: no answer to it arrives any more.
func (a *duties) drop(s *session) {
	var lost []*duty
	a.mu.Lock()
	for k, d := range a.open {
		if k.session == s {
			lost = append(lost, d)
		}
	}
	a.mu.Unlock()
	for _, d := range lost {
		d.cancel()
		d.end()
	}
}

// count returns how many answers are owed over the session.
func (a *duties) count(s *session) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for k := range a.open {
		if k.session == s {
			n++
		}
	}
	return n
}
