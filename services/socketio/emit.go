package socketio

import (
	"bytes"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/intent"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/services/socketio/packet"
	"github.com/mastersocket/mastersocket/transport"
)

// An event of Socket.IO is an EVENT of the hub: its first argument is data, and these members carry the rest, so that
// what one client of Socket.IO sends arrives at another one unchanged.
const (
	memberArgs   = "args"   // an array: the further arguments
	memberReply  = "reply"  // true: the sender waits for a REPLY
	memberExpect = "expect" // the message is a request, whose sender waits for a REPLY
	memberBinary = "binary" // true: data and args hold {"$binary":"<base64>"} objects that stand for bytes
)

// emit sends the client's event.
func (c *socket) emit(p *packet.Packet, args []byte) {
	name, err := jsontext.AppendUnquote(nil, p.Name)
	if err != nil {
		c.refuse()
		return
	}
	to, values := c.to, *p
	values.Args = args
	event := string(name)
	if t, ok := parseTarget(event); ok {
		quoted, rest := values.First()
		if len(quoted) == 0 || quoted[0] != '"' {
			c.reject(p.ID, "INVALID_PAYLOAD", "the first argument behind a target is the event's name")
			return
		}
		if name, err = jsontext.AppendUnquote(nil, quoted); err != nil {
			c.refuse()
			return
		}
		to, event = &t, string(name)
		values.Args, values.Count = rest, values.Count-1
	}
	switch {
	case event == "subscribe" || event == "unsubscribe":
		c.changeGroups(event, p.ID, &values)
		return
	case to == nil:
		c.reject(p.ID, "INVALID_PAYLOAD", "the event names no target, such as GROUP:orders, and CONNECT's payload has no to")
		return
	case len(event) > 128:
		c.reject(p.ID, "INVALID_PAYLOAD", "the event's name is longer than 128 bytes")
		return
	case !c.s.peer.MaySend(to.to, to.group):
		c.reject(p.ID, string(opcodes.CodeForbidden), "the token may not send this")
		return
	}
	data, rest := values.First()
	l := c.s.loop
	m := &l.message
	*m = opcodes.Message{Op: opcodes.Event, Event: event, Data: data, Target: to.to, Group: to.group, Receiver: to.receiver, Members: m.Members[:0]}
	if len(rest) > 0 {
		m.Members = append(append(append(m.Members, `,"`+memberArgs+`":[`...), rest...), ']')
	}
	if p.Attachments > 0 {
		m.Members = append(m.Members, `,"`+memberBinary+`":true`...)
	}
	if len(p.ID) == 0 {
		c.s.peer.Publish(m)
		return
	}
	r := c.openRequests()
	if len(r.asked) >= maxOpen {
		c.reject(p.ID, "TOO_MANY_REQUESTS", "too many requests of this client have no answer yet")
		return
	}
	timeout := l.all.ackTimeout
	m.Members = append(m.Members, `,"`+memberReply+`":true,"`+memberExpect+`":{"timeout_ms":`...)
	m.Members = append(strconv.AppendInt(m.Members, timeout.Milliseconds(), 10), '}')
	m.ID = uuid.NewString()
	r.asked[m.ID] = string(p.ID)
	c.s.peer.Request(m, timeout)
}

// settled implements protocol: a request without an answer gets none any more.
func (c *socket) settled(id string, s *opcodes.Settlement) {
	if c.requests == nil {
		return
	}
	ack, ok := c.requests.asked[id]
	if !ok {
		return // it was answered
	}
	delete(c.requests.asked, id)
	code, message := string(opcodes.CodeNoReceiver), "the request was not delivered"
	switch {
	case s.Receivers > 0 && s.Passed == s.Receivers:
		message = "no client that got the request answers it"
	case len(s.Missing) > 0 && s.Missing[0].Reason != opcodes.MissingNotDelivered:
		code, message = s.Missing[0].Reason, "the request was not answered"
	}
	if code == opcodes.MissingTimeout {
		c.s.loop.count.ackTimeouts.Add(1)
		message = "the request was not answered in time"
	}
	c.fail([]byte(ack), code, message)
}

// reject tells the client that its event was not sent, if it asked for an answer.
func (c *socket) reject(ack []byte, code, message string) {
	c.s.loop.count.refusedEvents.Add(1)
	if len(ack) > 0 {
		c.fail(ack, code, message)
	}
}

// fail answers the client's request with an error.
func (c *socket) fail(ack []byte, code, message string) {
	b := append(c.header(packet.Ack, 0, ack), `[{"error":{"code":`...)
	b, _ = jsontext.AppendQuote(b, code)
	b = append(b, `,"message":`...)
	b, _ = jsontext.AppendQuote(b, message)
	c.sendText(append(b, `}}]`...))
}

// acknowledge sends the client's answer to a request.
func (c *socket) acknowledge(p *packet.Packet, args []byte) {
	id, err := strconv.ParseUint(string(p.ID), 10, 64)
	var g given
	ok := false
	if err == nil && c.requests != nil {
		g, ok = c.requests.given[id]
	}
	if !ok {
		c.s.loop.count.refusedAcks.Add(1)
		return
	}
	delete(c.requests.given, id)
	if !c.s.peer.MaySend(intent.Direct, nil) {
		c.s.loop.count.refusedAcks.Add(1)
		return
	}
	values := *p
	values.Args = args
	data, rest := values.First()
	m := &c.s.loop.message
	*m = opcodes.Message{Op: opcodes.Reply, ID: g.id, Data: data, Target: intent.Direct, Receiver: g.sender, Members: m.Members[:0]}
	if len(rest) > 0 {
		m.Members = append(append(append(m.Members, `,"`+memberArgs+`":[`...), rest...), ']')
	}
	if p.Attachments > 0 {
		m.Members = append(m.Members, `,"`+memberBinary+`":true`...)
	}
	c.s.peer.Publish(m)
}

// joinValues appends the JSON values of a message: data, and the elements of the array args.
func joinValues(dst, data, args []byte) []byte {
	dst = append(dst, data...)
	if len(args) < 2 || args[0] != '[' {
		return dst
	}
	inner := bytes.TrimSpace(args[1 : len(args)-1])
	if len(inner) == 0 {
		return dst
	}
	if len(data) == 0 {
		dst = append(dst, "null"...) // args are the further arguments: the first one keeps its place
	}
	return append(append(dst, ','), inner...)
}

func isTrue(value []byte) bool { return string(value) == "true" }

// encoded is what a message is for the clients of one loop, made once for all of them.
type encoded struct {
	of     uint64 // the delivery: see hub.ServiceLoop.Delivery
	reply  bool
	binary bool
	event  []byte // the name, as a JSON string
	values []byte // the arguments

	plain     *transport.Buffer // for clients in namespace, without envelope; nil for none
	namespace string
}

// read takes a message apart.
func (e *encoded) read(m *opcodes.Envelope, delivery uint64) {
	if e.plain != nil {
		e.plain.Release()
		e.plain = nil
	}
	e.of = delivery
	e.reply = (isTrue(m.Member(memberReply)) || m.Member(memberExpect) != nil) && len(m.ID) > 0
	e.binary = isTrue(m.Member(memberBinary))
	name := m.Event
	if len(name) == 0 {
		name = []byte("message")
	}
	e.event, _ = jsontext.AppendQuote(e.event[:0], name)
	e.values = joinValues(e.values[:0], m.Data, m.Member(memberArgs))
}

// sendTo gives the message to a client. id is that of the acknowledgement, empty for none.
func (e *encoded) sendTo(c *socket, m *opcodes.Envelope, id []byte) hub.Outcome {
	values := e.values
	if c.envelope {
		values = append([]byte(nil), values...)
		if len(values) > 0 {
			values = append(values, ',')
		}
		values = append(append(values, `{"id":"`...), m.ID...)
		values = append(append(values, `","sender":"`...), m.Sender.String()...)
		values = append(values, `"}`...)
	}
	if len(id) > 0 || c.envelope || e.binary {
		if !c.sendValues(packet.Event, packet.BinaryEvent, id, e.event, values, e.binary) {
			return hub.Refused
		}
		return hub.Taken
	}
	if e.plain == nil || e.namespace != c.namespace {
		if e.plain != nil {
			e.plain.Release()
		}
		p := appendValues(c.header(packet.Event, 0, nil), e.event, values)
		c.s.loop.scratch = p
		e.plain, e.namespace = transport.NewMessage(p), c.namespace
	}
	return c.s.peer.SendDelivery(e.plain)
}

// appendValues appends the JSON array of an event's name, empty for none, and its arguments.
func appendValues(dst, event, values []byte) []byte {
	dst = append(append(dst, '['), event...)
	if len(event) > 0 && len(values) > 0 {
		dst = append(dst, ',')
	}
	return append(append(dst, values...), ']')
}

// sendValues sends a packet with the values, and with the bytes in them as attachments if binary.
func (c *socket) sendValues(text, withBytes packet.Type, id, event, values []byte, binary bool) bool {
	var attachments [][]byte
	if binary {
		values, attachments = packet.Outline(nil, values)
	}
	t := text
	if len(attachments) > 0 {
		t = withBytes
	}
	p := appendValues(c.header(t, len(attachments), id), event, values)
	if cap(p) <= maxKeptPayload {
		c.s.loop.scratch = p
	}
	b := transport.NewMessage(p)
	sent := c.s.send(b)
	b.Release()
	for _, a := range attachments {
		b := transport.AllocBuffer(len(a))
		b.SealBinary(append(b.Room(), a...))
		sent = c.s.send(b) && sent
		b.Release()
	}
	return sent
}
