package socketio

import (
	"bytes"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/intent"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/services/socketio/engineio"
	"github.com/mastersocket/mastersocket/services/socketio/packet"
	"github.com/mastersocket/mastersocket/transport"
)

// Limits of one client.
const (
	maxOpen       = 1000             // requests of the client without an answer, and as many to it
	ackTimeout    = 60 * time.Second // for the answer to a request
	attachTimeout = 30 * time.Second // for the attachments of a packet
)

// socket is a client of Socket.IO: the one namespace that it opened. It implements protocol.
type socket struct {
	s        *session
	*extras       // never nil; see own
	open     bool // CONNECT was answered
	envelope bool // deliveries end with an object that has the message's id and sender
	// nextID is that of the next acknowledgement of the client. It outlives requests, so that a late acknowledgement is not
	// taken for that of a later request.
	nextID uint32
}

// extras are what only some clients have, or have for a while.
type extras struct {
	namespace string  // "" before CONNECT
	to        *target // of events that name none; nil for none
	requests  *requests
	partial   *partial // a packet that waits for its attachments; nil for none
	client    *Client  // of the application; nil for the others
}

// The extras of all clients that have none of their own. They are never changed.
var (
	unconnected = &extras{}
	inMain      = &extras{namespace: packet.MainNamespace}
)

// own returns the client's extras, to be changed.
func (c *socket) own() *extras {
	if c.extras == unconnected || c.extras == inMain {
		e := *c.extras
		c.extras = &e
	}
	return c.extras
}

// disown gives up extras that say nothing.
func (c *socket) disown() {
	if *c.extras == *inMain {
		c.extras = inMain
	}
}

// requests are the requests of a client, and those to it, that have no answer yet.
type requests struct {
	asked map[string]string // the ids that the client gave its requests, by those of the hub's messages
	given map[uint64]given  // by the id that the client's acknowledgement will have
}

// given is a request that was delivered to the client.
type given struct {
	sender uuid.UUID
	id     string
	at     uint32 // loop clock
}

// partial is a packet whose attachments are arriving.
type partial struct {
	packet      packet.Packet
	memory      []byte // what packet points into
	attachments [][]byte
	bytes       int
	at          uint32 // loop clock
}

func newSocket(s *session) protocol { return &socket{s: s, extras: unconnected} }

// message implements protocol.
func (c *socket) message(binary bool, b []byte) {
	if c.partial != nil || binary {
		c.attach(binary, b)
		return
	}
	var p packet.Packet
	if p.Parse(b) != nil {
		c.refuse()
		return
	}
	if p.Attachments > 0 {
		if !c.open { // it would take memory of ours
			c.refuse()
			return
		}
		c.own().partial = &partial{memory: bytes.Clone(b), at: c.s.loop.on.Clock()}
		_ = c.partial.packet.Parse(c.partial.memory) // it is what was parsed above
		return
	}
	c.handle(&p, p.Args)
}

// refuse ends the session of a client that sent what the protocol doesn't allow.
func (c *socket) refuse() {
	c.s.loop.count.refusedPackets.Add(1)
	c.s.end()
}

// attach adds an attachment to the packet that waits for it.
func (c *socket) attach(binary bool, b []byte) {
	p := c.partial
	if p == nil || !binary || p.bytes+len(b) > c.s.loop.all.maxPayload {
		c.refuse()
		return
	}
	p.bytes += len(b)
	if p.attachments = append(p.attachments, bytes.Clone(b)); len(p.attachments) < p.packet.Attachments {
		return
	}
	c.partial = nil
	c.disown()
	args, err := packet.Inline(nil, p.packet.Args, p.attachments)
	if err != nil {
		c.refuse()
		return
	}
	c.handle(&p.packet, args)
}

// handle handles a packet that is complete. args are its arguments, with attachments in their places.
func (c *socket) handle(p *packet.Packet, args []byte) {
	switch {
	case p.Type == packet.Connect:
		c.connect(p)
	case c.namespace == "" || string(p.Namespace) != c.namespace || !c.open:
		// For a namespace that is not open. The library may have sent it before it knew that.
	case p.Type == packet.Disconnect:
		c.s.leave()
	case p.IsEvent() && c.client != nil:
		c.applicationEvent(p, args)
	case p.IsEvent():
		c.emit(p, args)
	default:
		c.acknowledge(p, args)
	}
}

// connect handles CONNECT, whose payload is the data of an IDENTIFY.
func (c *socket) connect(p *packet.Packet) {
	if c.namespace != "" {
		c.sendText(c.appendError(nil, string(p.Namespace), "one namespace for each connection"))
		return
	}
	if c.extras = inMain; string(p.Namespace) != c.namespace {
		c.own().namespace = string(p.Namespace)
	}
	if c.accepted(p.Data) {
		return
	}
	data := p.Data
	if len(data) == 0 {
		data = []byte("{}")
	}
	c.readOptions(data)
	c.s.peer.IdentifyAs(data)
}

// readOptions reads the members of CONNECT's payload that are not IDENTIFY's.
func (c *socket) readOptions(data []byte) {
	var o struct {
		Envelope bool   `json:"envelope"`
		To       string `json:"to"`
	}
	if readMembers(data, &o.Envelope, &o.To) {
		c.envelope = o.Envelope
		if t, ok := parseTarget(o.To); ok {
			c.own().to = &t
		}
	}
	if name := c.namespace[1:]; c.to == nil && name != "" && intent.CheckGroup(name) == nil {
		c.own().to = &target{to: intent.Any, group: []byte(name)}
	}
}

// readMembers reads the members envelope and to of a JSON object. It returns false if it is none.
func readMembers(data []byte, envelope *bool, to *string) bool {
	d := jsontext.NewDecoder(bytes.NewReader(data))
	if t, err := d.ReadToken(); err != nil || t.Kind() != '{' {
		return false
	}
	for d.PeekKind() == '"' {
		name, err := d.ReadToken()
		if err != nil {
			return false
		}
		switch key := name.String(); {
		case key == "envelope" && d.PeekKind() == 't':
			*envelope = true
			err = d.SkipValue()
		case key == "to" && d.PeekKind() == '"':
			var v jsontext.Token
			v, err = d.ReadToken()
			*to = v.String()
		default:
			err = d.SkipValue()
		}
		if err != nil {
			return false
		}
	}
	return true
}

// identified implements protocol: the client is a member of its groups from here on.
func (c *socket) identified() {
	c.open = true
	b := append(c.header(packet.Connect, 0, nil), `{"sid":"`...)
	b = append(b, c.s.peer.ID().String()...)
	c.sendText(append(b, `"}`...))
	if c.client != nil {
		c.client.handler.Connected()
	}
}

// header begins a packet for the client in the loop's scratch memory.
func (c *socket) header(t packet.Type, attachments int, id []byte) []byte {
	b := append(c.s.loop.scratch[:0], byte(engineio.Message))
	return packet.AppendHeader(b, t, attachments, c.namespace, id)
}

// appendError appends the packet that refuses a namespace.
func (c *socket) appendError(dst []byte, namespace, message string) []byte {
	dst = packet.AppendHeader(append(dst, byte(engineio.Message)), packet.ConnectError, 0, namespace, nil)
	dst = append(dst, `{"message":`...)
	dst, _ = jsontext.AppendQuote(dst, message)
	return append(dst, '}')
}

// sendText queues a packet, header's memory or not.
func (c *socket) sendText(p []byte) {
	if l := c.s.loop; cap(p) <= maxKeptPayload {
		l.scratch = p
	}
	b := transport.NewMessage(p)
	c.s.send(b)
	b.Release()
}

// farewell implements protocol.
func (c *socket) farewell(r opcodes.Reason) *transport.Buffer {
	switch {
	case c.namespace == "":
		return nil
	case !c.open && r != opcodes.ServerRestart && r != opcodes.TryAgainLater:
		return transport.NewMessage(c.appendError(nil, c.namespace, r.String()))
	case r == opcodes.Kicked, r == opcodes.Unauthorized: // libraries don't connect again after this
		return transport.NewMessage(bytes.Clone(c.header(packet.Disconnect, 0, nil)))
	}
	return nil
}

// sweep implements protocol.
func (c *socket) sweep() {
	if c.client != nil {
		c.client.handler.Sweep()
	}
	now := c.s.loop.on.Clock()
	if p := c.partial; p != nil && time.Duration(now-p.at)*time.Millisecond > c.s.loop.all.attachTimeout {
		c.refuse()
		return
	}
	r := c.requests
	if r == nil {
		return
	}
	for id, g := range r.given {
		if time.Duration(now-g.at)*time.Millisecond > c.s.loop.all.ackTimeout {
			delete(r.given, id)
		}
	}
	if len(r.asked)+len(r.given) == 0 && c.requests == r {
		c.requests = nil
		c.disown()
	}
}

// closed implements protocol.
func (c *socket) closed() {
	client := c.client
	if c.extras = unconnected; client != nil {
		client.handler.Closed()
	}
}

// open returns the client's requests, making room for them.
func (c *socket) openRequests() *requests {
	if c.requests == nil {
		c.own().requests = &requests{asked: make(map[string]string), given: make(map[uint64]given)}
	}
	return c.requests
}

// deliver implements protocol.
func (c *socket) deliver(m *opcodes.Envelope) hub.Outcome {
	if c.client != nil {
		return hub.Ignored
	}
	if m.Op == opcodes.Reply {
		return c.answer(m)
	}
	l := c.s.loop
	l.acknowledges = nil
	if l.encoded.of != l.on.Delivery() {
		l.encoded.read(m, l.on.Delivery())
	}
	if !l.encoded.reply || len(c.openRequests().given) >= maxOpen {
		return l.encoded.sendTo(c, m, nil)
	}
	r, id := c.openRequests(), uint64(c.nextID)
	o := l.encoded.sendTo(c, m, strconv.AppendUint(nil, id, 10))
	if o == hub.Taken {
		c.nextID++
		r.given[id] = given{m.Sender, string(m.ID), l.on.Clock()}
		l.acknowledges = c
	}
	return o
}

// answers implements protocol. The hub asks before it chooses the client, and again when it has delivered the request.
func (c *socket) answers() bool {
	return c.client == nil && (c.s.loop.acknowledges == c || c.requests == nil || len(c.requests.given) < maxOpen)
}

// cancelled implements protocol: what the client answers is dropped.
func (c *socket) cancelled(requester uuid.UUID, id string) {
	if c.requests == nil {
		return
	}
	for ack, g := range c.requests.given {
		if g.sender == requester && g.id == id {
			delete(c.requests.given, ack)
			return
		}
	}
}

// answer gives the client the answer to a request of its own.
func (c *socket) answer(m *opcodes.Envelope) hub.Outcome {
	if c.requests == nil {
		return hub.Ignored
	}
	ack, ok := c.requests.asked[string(m.ID)]
	if !ok {
		return hub.Ignored // a further answer, or one to nothing
	}
	delete(c.requests.asked, string(m.ID))
	values := joinValues(nil, m.Data, m.Member(memberArgs))
	if failure := m.Member("error"); failure != nil {
		values = append(append([]byte(`{"error":`), failure...), '}')
	}
	if !c.sendValues(packet.Ack, packet.BinaryAck, []byte(ack), nil, values, isTrue(m.Member(memberBinary))) {
		return hub.Refused
	}
	return hub.Taken
}
