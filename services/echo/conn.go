package echo

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/intent"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/services/echo/wire"
	"github.com/mastersocket/mastersocket/transport"
)

// conn is one connection. It implements hub.PeerHandler.
type conn struct {
	loop *loop
	peer *hub.Peer

	waits     *wait // messages that wait for their ok, the latest first
	waiting   int   // number of waits
	waitBytes int   // bytes of their texts

	owes []given // messages to answer, in no order
}

// given is a message that the connection was given and has not answered.
type given struct {
	sender uuid.UUID
	key    uint64
	hash   uint64 // of its text, which is not kept: a collision of 64 bits is too unlikely
}

// Receive implements hub.PeerHandler.
func (c *conn) Receive(binary bool, b []byte) {
	kind, text := wire.Parse(b)
	switch {
	case binary || kind == wire.Invalid:
		c.loop.count.refusedFrame.Add(1)
		c.peer.Disconnect(opcodes.InvalidPayload)
	case kind == wire.Message:
		c.message(text)
	default:
		c.ok(text)
	}
}

// message handles "message X". If the client already waits for X, its message is drawn once more, and it still gets one
// ok.
func (c *conn) message(text []byte) {
	l := c.loop
	hash := l.hash(text)
	w := c.waitFor(hash, text)
	if w == nil {
		if !c.mayWait(len(text)) {
			return
		}
		w = c.await(hash, text)
	}
	l.count.messages.Add(1)
	w.passes = 0
	l.drawFor(w)
}

// mayWait reports whether the client may wait for another text of n bytes. If not, it disconnects the client.
func (c *conn) mayWait(n int) bool {
	l, limits := c.loop, &c.loop.all.limits
	switch {
	case c.waiting > 0 && (c.waiting >= limits.Waiting || c.waitBytes+n > limits.WaitingBytes):
		l.count.refusedWaiting.Add(1)
		c.peer.Disconnect(opcodes.RateLimited)
	case l.waiting.bytes+n > limits.TotalBytes:
		l.count.refusedMemory.Add(1)
		c.peer.Disconnect(opcodes.TryAgainLater)
	default:
		return true
	}
	return false
}

// ok handles "ok X".
func (c *conn) ok(text []byte) {
	l := c.loop
	l.count.oks.Add(1)
	if c.pay(l.hash(text)) == 0 {
		l.count.unasked.Add(1)
	}
	l.publishOK(c.peer, text)
}

// Deliver implements hub.PeerHandler.
func (c *conn) Deliver(m *opcodes.Envelope) hub.Outcome {
	switch {
	case m.Target == intent.Any && string(m.Event) == eventMessage:
		return c.give(m)
	case m.Target == intent.Direct && string(m.Event) == eventBack:
		return c.takeBack(m.Data)
	}
	return hub.Ignored // a client of the hub sent another event
}

// give hands a message to the client.
func (c *conn) give(m *opcodes.Envelope) hub.Outcome {
	l := c.loop
	key, quoted, ok := parseMessage(m.Data)
	if !ok {
		return hub.Ignored
	}
	if len(c.owes) >= l.all.limits.Given {
		l.count.refusedGiven.Add(1)
		c.peer.Disconnect(opcodes.SlowConsumer)
		return hub.Refused
	}
	b := transport.AllocBuffer(wire.Overhead + len(quoted))
	defer b.Release()
	frame, err := jsontext.AppendUnquote(wire.Append(b.Room(), wire.Message), quoted)
	if err != nil {
		return hub.Ignored
	}
	b.Seal(frame)
	outcome := c.peer.SendDelivery(b)
	if outcome == hub.Taken {
		c.owe(given{m.Sender, key, l.hash(frame[wire.Overhead:])})
	}
	return outcome
}

// takeBack draws a message of this client again, if the client still waits for it: the receiver has left.
func (c *conn) takeBack(digits []byte) hub.Outcome {
	key, ok := parseKey(digits)
	w := c.waits
	for w != nil && w.key != key {
		w = w.nextOfConn
	}
	switch {
	case !ok || w == nil:
	case w.passes >= c.loop.all.limits.Passes:
		c.loop.count.givenUp.Add(1)
	default:
		w.passes++
		c.loop.count.passedOn.Add(1)
		c.loop.drawFor(w)
	}
	return hub.Taken
}

// Identified implements hub.PeerHandler.
func (*conn) Identified() {}

// Sweep implements hub.PeerHandler. The protocol has no deadlines of its own: clients decide how long they wait.
func (*conn) Sweep() {}

// Farewell implements hub.PeerHandler: the Close frame has the reason.
func (*conn) Farewell(opcodes.Reason) *transport.Buffer { return nil }

// Closed implements hub.PeerHandler.
func (c *conn) Closed() {
	for c.waits != nil {
		c.endWait(c.waits)
	}
	c.loop.count.given.Add(-int64(len(c.owes)))
	c.loop.giveBack(c.owes)
	c.owes = nil
}

// waitFor returns the client's wait for an ok of the text, or nil.
func (c *conn) waitFor(hash uint64, text []byte) *wait {
	for w := c.waits; w != nil; w = w.nextOfConn {
		if w.hash == hash && bytes.Equal(w.text, text) {
			return w
		}
	}
	return nil
}

// await notes that the client waits for an ok of the text.
func (c *conn) await(hash uint64, text []byte) *wait {
	w := c.loop.waiting.add(c, hash, text)
	if w.nextOfConn = c.waits; c.waits != nil {
		c.waits.lastOfConn = w
	}
	c.waits = w
	c.waiting++
	c.waitBytes += len(text)
	c.loop.count.waiting.Add(1)
	return w
}

// endWait removes a wait and frees it.
func (c *conn) endWait(w *wait) {
	if w.lastOfConn != nil {
		w.lastOfConn.nextOfConn = w.nextOfConn
	} else {
		c.waits = w.nextOfConn
	}
	if w.nextOfConn != nil {
		w.nextOfConn.lastOfConn = w.lastOfConn
	}
	c.waiting--
	c.waitBytes -= len(w.text)
	c.loop.count.waiting.Add(-1)
	c.loop.waiting.remove(w)
}

// owe notes that the client owes an ok. A message that was drawn for it twice counts once.
func (c *conn) owe(g given) {
	for i := range c.owes {
		if c.owes[i] == g {
			return
		}
	}
	c.owes = append(c.owes, g)
	c.loop.count.given.Add(1)
}

// keptOwes is the capacity of owes that a connection keeps when it owes nothing.
const keptOwes = 32

// pay removes all messages with the text from owes and returns their number.
func (c *conn) pay(hash uint64) int {
	before := len(c.owes)
	for i := 0; i < len(c.owes); {
		if c.owes[i].hash != hash {
			i++
			continue
		}
		last := len(c.owes) - 1
		c.owes[i] = c.owes[last]
		c.owes = c.owes[:last]
	}
	paid := before - len(c.owes)
	c.loop.count.given.Add(-int64(paid))
	if len(c.owes) == 0 && cap(c.owes) > keptOwes {
		c.owes = nil
	}
	return paid
}
