package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/coder/websocket"
	"github.com/go-json-experiment/json"

	"github.com/mastersocket/mastersocket/opcodes"
)

// keptReadBuffer is the largest read buffer that a session keeps for its next message, in bytes.
const keptReadBuffer = 64 << 10

// read returns the next message, which is valid until the next call. The error has the hub's reason for the disconnect, if
// there is one.
func (s *session) read(ctx context.Context) ([]byte, error) {
	typ, r, err := s.conn.Reader(ctx)
	if err != nil {
		return nil, s.readError(err)
	}
	if s.buf.Cap() > keptReadBuffer {
		s.buf = bytes.Buffer{}
	}
	s.buf.Reset()
	if _, err := s.buf.ReadFrom(r); err != nil {
		return nil, s.readError(err)
	}
	if typ != websocket.MessageText {
		return nil, errors.New("binary message from the hub: is it a mastersocket hub?")
	}
	return s.buf.Bytes(), nil
}

func (s *session) readError(err error) error {
	var closed websocket.CloseError
	if errors.As(err, &closed) {
		reason := s.reason
		if reason == "" {
			reason = closed.Reason
		}
		return &DisconnectError{Reason: reason, Code: int(closed.Code)}
	}
	if s.reason != "" {
		return &DisconnectError{Reason: s.reason}
	}
	return fmt.Errorf("read: %w", err)
}

// readLoop handles messages until the connection ends, and returns why.
func (s *session) readLoop() error {
	s.tellJoined(s.joined)
	for _, raw := range s.early {
		if err := s.handleRaw(raw); err != nil {
			return err
		}
	}
	s.early = nil
	for {
		raw, err := s.read(context.Background()) // end closes the connection
		if err != nil {
			return err
		}
		if err := s.handleRaw(raw); err != nil {
			return err
		}
	}
}

func (s *session) handleRaw(raw []byte) error {
	if s.dropped {
		return errDropped
	}
	w, err := parseWire(raw)
	if err != nil {
		return err
	}
	switch w.Op {
	case opcodes.Event:
		m := s.copyMessage(w, raw)
		if w.Expect != nil {
			s.c.owe(s, m, w.Expect)
		}
		s.c.stream.receive(s, m)
	case opcodes.Settled:
		return s.handleSettled(w)
	case opcodes.Cancel:
		s.c.duties.cancelled(s, w.Sender, w.ID)
	case opcodes.Reply:
		s.handleReply(s.copyMessage(w, raw))
	case opcodes.Ping:
		select {
		case s.pong <- struct{}{}:
		default: // one PONG answers both
		}
	case opcodes.Disconnect:
		s.disconnect(w)
	case opcodes.Error:
		return s.handleError(w)
	case opcodes.Ack:
		return s.handleAck(w)
	case opcodes.Subscribe, opcodes.Unsubscribe:
		return s.handleChanged(w)
	case opcodes.Drain:
		return s.handleDrain(w)
	case opcodes.History:
		return s.handleHistory(w)
	case opcodes.Presence:
		return s.handlePresence(w)
	case opcodes.Fence:
		s.c.stream.fenceArrived(s, w.Sender)
	default:
		// A PONG has done its work by arriving. Unknown opcodes belong to later versions.
	}
	return nil
}

// copyMessage returns w with a copy of its text, which is in the read buffer.
func (s *session) copyMessage(w *wireMessage, raw []byte) *Message {
	return w.message(append(make([]byte, 0, len(raw)), raw...), s.c)
}

// disconnect records the reason of a DISCONNECT, and gives the hub goodbyeTimeout to close the connection.
func (s *session) disconnect(w *wireMessage) {
	if err := json.Unmarshal(w.Data, &s.reason); err != nil || s.reason == "" {
		s.reason = opcodes.NoReason.String()
	}
	_ = s.link.SetReadDeadline(time.Now().Add(goodbyeTimeout))
}

// handleReply hands a REPLY to the request that waits for it. A REPLY to many may arrive on two connections, so it goes
// through the stream.
func (s *session) handleReply(m *Message) {
	if ca := s.c.pending.request(m.ID); ca != nil && !m.Intent.toMany() {
		ca.reply(m)
		return
	}
	s.c.stream.receive(s, m)
}

func (s *session) handleError(w *wireMessage) error {
	var data struct {
		Code    opcodes.ErrorCode `json:"code"`
		Message string            `json:"message"`
	}
	if err := json.Unmarshal(w.Data, &data, readOptions); err != nil {
		return fmt.Errorf("malformed ERROR from the hub: %w", err)
	}
	hubErr := &HubError{ID: w.ID, Code: data.Code, Message: data.Message}
	ca := s.c.pending.writtenBy(s, w.ID)
	if ca != nil {
		hubErr.Event, hubErr.Intent = ca.event, ca.to
	} else {
		m := s.c.sent.find(w.ID)
		hubErr.Event, hubErr.Intent = m.event, m.to
		if s.c.stream.fenceRefused(s, w.ID) {
			return nil
		}
		if hook := s.c.opts.OnError; hook != nil {
			s.enqueue(delivery{hook: func() { hook(hubErr) }})
		} else {
			s.c.logError(hubErr)
		}
		return nil
	}
	s.c.pending.remove(ca)
	ca.complete(0, hubErr)
	return nil
}

func (s *session) handleAck(w *wireMessage) error {
	var data struct {
		Nodes  int    `json:"nodes"`
		Offset uint64 `json:"offset"`
	}
	if err := json.Unmarshal(w.Data, &data, readOptions); err != nil {
		return fmt.Errorf("malformed ACK from the hub: %w", err)
	}
	if ca := s.c.pending.writtenBy(s, w.ID); ca != nil && ca.kind == callAcked {
		s.c.pending.remove(ca)
		ca.offset = data.Offset // before its caller reads it
		ca.complete(data.Nodes, nil)
	}
	return nil
}

// deliver hands the message to its request or handlers.
func (s *session) deliver(m *Message) { s.c.give(m, s.enqueue) }

// give hands the message to the request that it answers, or to its handlers by way of enqueue.
func (c *Client) give(m *Message, enqueue func(delivery) bool) {
	d, wanted := c.progress.next(m)
	if !wanted { // it has been received before
		m.Pass()
		return
	}
	switch ca := c.answered(m); {
	case m.history != nil:
		if hook := c.opts.OnGap; hook != nil && m.history.gap != "" {
			gap := Gap{m.history.group, m.history.gap, m.history.Position}
			d.hook = func() { hook(gap) }
		}
	case ca != nil:
		ca.reply(m)
	case c.handlers.wants(m, c.opts.OnMessage):
		d.message = m
	default:
		m.Pass()
	}
	if (d.message != nil || d.hook != nil || d.mark.place != nil) && enqueue(d) {
		c.progress.received(d.mark)
	}
}

// answered returns the request that the message answers; nil for none.
func (c *Client) answered(m *Message) *call {
	if m.Op != opcodes.Reply {
		return nil
	}
	return c.pending.request(m.ID)
}

// errDropped ends a reader: what comes behind a message that was dropped must not be taken for all there is.
var errDropped = errors.New("the connection ended while a message waited for handlers")

// enqueue hands d to dispatch and waits while the inbox is full. It returns false if the connection ended in the meantime.
func (s *session) enqueue(d delivery) bool {
	added := s.c.inbox.add(d)
	if !added {
		s.stall(func() { added = s.c.enqueue(d, s.ended) })
		s.dropped = s.dropped || !added
	}
	return added
}

// stall calls wait, which blocks until handlers catch up.
func (s *session) stall(wait func()) {
	s.stalled.Add(1)
	wait()
	s.link.touch()
	s.stalled.Add(-1)
}
