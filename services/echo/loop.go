package echo

import (
	"hash/maphash"
	"math/rand/v2"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/intent"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/services/echo/wire"
	"github.com/mastersocket/mastersocket/transport"
)

// loop is the service type's share of one loop.
type loop struct {
	all      *Type
	on       *hub.ServiceLoop
	identity hub.Identity
	count    counters
	waiting  table
	scratch  []byte // the text or data being handled
	message  opcodes.Message

	returns   []given // messages on their way back to their senders: see giveBack
	returning bool    // sendBack is posted
	again     func()  // sendBack, for Post
}

func newLoop(t *Type, on *hub.ServiceLoop) *loop {
	l := &loop{all: t, on: on, identity: hub.Identity{Groups: []string{group}}, waiting: newTable()}
	l.again = l.sendBack
	return l
}

// Open implements hub.LoopService.
func (l *loop) Open(p *hub.Peer, _ *transport.Request) (hub.PeerHandler, *transport.Rejection) {
	p.Identify(l.identity)
	return &conn{loop: l, peer: p}, nil
}

// hash returns the hash of a text. The seed is secret, so clients can't construct collisions.
func (l *loop) hash(text []byte) uint64 { return maphash.Bytes(l.all.seed, text) }

// newKey returns an unguessable key for a message: an integer that a JSON number holds exactly.
func newKey() uint64 { return rand.Uint64() >> 11 }

// drawFor sends the message of w to a connection drawn at random.
func (l *loop) drawFor(w *wait) {
	l.scratch = appendMessage(l.scratch[:0], w.key, w.text)
	l.message = opcodes.Message{Event: eventMessage, Data: l.scratch, Target: intent.Any, Group: groupName}
	w.conn.peer.Publish(&l.message)
}

// publishOK announces to every loop that the text was received.
func (l *loop) publishOK(p *hub.Peer, text []byte) {
	l.scratch, _ = jsontext.AppendQuote(l.scratch[:0], text) // it is valid UTF-8: the transport looks
	l.message = opcodes.Message{Event: eventOK, Data: l.scratch, Target: intent.Group, Group: okGroupName}
	p.Publish(&l.message)
}

var groupName, okGroupName = []byte(group), []byte(okGroup)

// answer handles an ok from any connection: all connections here that wait for its text get it.
func (l *loop) answer(m *opcodes.Envelope) {
	if string(m.Event) != eventOK {
		return
	}
	text, err := jsontext.AppendUnquote(l.scratch[:0], m.Data)
	if err != nil {
		return
	}
	l.scratch = text
	var b *transport.Buffer
	for w := range l.waiting.all(l.hash(text), text) {
		if b == nil {
			b = transport.AllocBuffer(wire.Overhead + len(text))
			b.Seal(append(wire.Append(b.Room(), wire.OK), text...))
		}
		w.conn.peer.Send(b) // a failure means that the connection ends; its client connects again
		w.conn.endWait(w)
		l.count.answered.Add(1)
	}
	if b != nil {
		b.Release()
	}
}

// returnsPerTurn bounds the messages that a loop sends back in one turn.
const returnsPerTurn = 256

// giveBack returns the messages to their senders, in later turns: one departure may cause others, and they must not
// hold up the loop all at once.
func (l *loop) giveBack(messages []given) {
	l.returns = append(l.returns, messages...)
	l.count.returned.Add(uint64(len(messages)))
	if len(l.returns) > 0 && !l.returning {
		l.returning = l.on.Post(l.again)
	}
}

// sendBack sends messages back to their senders.
func (l *loop) sendBack() {
	n := min(len(l.returns), returnsPerTurn)
	for _, g := range l.returns[:n] {
		l.sendBackTo(g.sender, g.key)
	}
	if n == len(l.returns) {
		l.returns, l.returning = nil, false
		return
	}
	l.returns = l.returns[n:]
	l.returning = l.on.Post(l.again)
}

func (l *loop) sendBackTo(sender uuid.UUID, key uint64) {
	l.scratch = appendKey(l.scratch[:0], key)
	l.message = opcodes.Message{Event: eventBack, Data: l.scratch, Target: intent.Direct, Receiver: sender}
	l.on.Publish(&l.message)
}
