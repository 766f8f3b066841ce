package socketio

import (
	"github.com/go-json-experiment/json/jsontext"

	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/services/socketio/packet"
)

// Application has clients of its own in the main namespace. Their events have a meaning of its own, and are not sent to
// others.
type Application interface {
	// Accept is called on the loop with the payload of a CONNECT, empty for none, and returns what handles the client. ok is
	// false for a client that is not the application's. payload is valid during the call only.
	Accept(c *Client, payload []byte) (h ClientHandler, ok bool)
}

// ClientHandler gives the events of one client of an Application their meaning. Its methods are called on the client's
// loop.
type ClientHandler interface {
	// Identify is called first: it identifies the client's Peer, or disconnects it.
	Identify()
	// Connected is called when the client is identified and its CONNECT answered.
	Connected()
	// Event handles an event: its name, its first argument (JSON; empty for none) and the id of its acknowledgement, empty
	// where the client wants none. args and ack are valid during the call only.
	Event(name string, args, ack []byte)
	// Sweep is called about once a second, for deadlines.
	Sweep()
	// Closed is the last call.
	Closed()
}

// Client is a client of an Application. It belongs to its loop.
type Client struct {
	socket  *socket
	handler ClientHandler
}

// Peer returns the client's connection.
func (c *Client) Peer() *hub.Peer { return c.socket.s.peer }

// Loop returns the client's loop among the hub's, by its index.
func (c *Client) Loop() int { return c.socket.s.loop.on.Index() }

// Emit sends the client an event with one argument, which is JSON.
func (c *Client) Emit(event string, argument []byte) {
	quoted, err := jsontext.AppendQuote(nil, event)
	if err == nil {
		c.socket.sendValues(packet.Event, packet.BinaryEvent, nil, quoted, argument, false)
	}
}

// Acknowledge answers an event. values are JSON values with commas between them, empty for none.
func (c *Client) Acknowledge(ack, values []byte) {
	c.socket.sendValues(packet.Ack, packet.BinaryAck, ack, nil, values, false)
}

// Fail answers an event with an error, if ack is not empty.
func (c *Client) Fail(ack []byte, code, message string) {
	if len(ack) > 0 {
		c.socket.fail(ack, code, message)
	}
}

// End closes the connection of a client that does what the application doesn't allow. Its library connects again.
func (c *Client) End() { c.socket.refuse() }

// accepted hands the client to the application if that wants it. It returns false for a client whose events are the hub's.
func (c *socket) accepted(payload []byte) bool {
	o := &c.s.loop.all.opts
	if o.Application != nil && c.namespace == packet.MainNamespace {
		client := &Client{socket: c}
		if h, ok := o.Application.Accept(client, payload); ok {
			client.handler, c.own().client = h, client
			h.Identify()
			return true
		}
	}
	if o.ApplicationOnly {
		c.s.peer.Disconnect(opcodes.IdentifyFailed)
	}
	return o.ApplicationOnly
}

// applicationEvent hands the application an event of its client.
func (c *socket) applicationEvent(p *packet.Packet, args []byte) {
	name, err := jsontext.AppendUnquote(nil, p.Name)
	if err != nil {
		c.refuse()
		return
	}
	values := *p
	values.Args = args
	first, _ := values.First()
	c.client.handler.Event(string(name), first, p.ID)
}
