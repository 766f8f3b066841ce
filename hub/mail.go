package hub

import (
	"sync"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/hub/internal/tally"
	"github.com/mastersocket/mastersocket/transport"
)

// outbound is a message on its way from its sender's loop.
type outbound struct {
	from     *sender
	client   *session // the sender's; nil for a sender without a connection
	buf      *transport.Buffer
	feedback *feedback    // nil for a sender that asks for none
	tally    *tally.Count // what this instance does with a message to many; nil for a sender that does not wait for a receipt
	track    *tracked     // of a request; nil for others
	loops    int          // other loops of this instance that a request to many was forwarded to
	selected bool         // a DIRECT that leaves out some clients
}

// except returns the member that the message is not for, nil for none.
func (o *outbound) except() *session {
	if o.from.noEcho {
		return o.client
	}
	return nil
}

// mail takes a message to a loop. It comes from a pool and goes back once it is delivered.
type mail struct {
	handle   func(*shard, *mail) // what the loop does with it
	draws    uint8               // of an ANY so far
	remote   bool                // it came from another instance
	selected bool                // a DIRECT that leaves out some clients
	shard    *shard
	buf      *transport.Buffer // one reference
	group    *group
	name     []byte // the group's name, of an ANY that found no receiver; of a message to several groups, the terms; its memory stays with the mail
	sender   uuid.UUID
	receiver uuid.UUID
	seq      uint64 // of an ANY: its sender's count; of a message to a group: the term of the holder that it is for
	feedback *feedback
	tally    *tally.Count  // of a message whose sender waits for a receipt; nil for others
	track    *tracked      // of a request; nil for others
	origin   broker.NodeID // the sender's instance; of an ANY that came back, one that has no receiver, 0 for none
}

var mailPool = sync.Pool{New: func() any { return new(mail) }}

// newMail returns mail for the shard's loop, which takes a reference to b.
func (sh *shard) newMail(handle func(*shard, *mail), b *transport.Buffer) *mail {
	m := mailPool.Get().(*mail)
	*m = mail{handle: handle, shard: sh, buf: b, name: m.name[:0]}
	b.Retain()
	return m
}

// copy returns a copy of the mail, with a reference of its own.
func (m *mail) copy() *mail {
	c := m.shard.newMail(m.handle, m.buf)
	name := append(c.name, m.name...)
	*c = *m
	c.name = name
	return c
}

// recycle drops the reference to the buffer and returns m to the pool.
func (m *mail) recycle() {
	m.buf.Release()
	*m = mail{name: m.name[:0]}
	mailPool.Put(m)
}

// hurry hands m to its loop, from the goroutine of sh, at once unless other mail waits to leave before it.
func (sh *shard) hurry(m *mail) { sh.loop.ForwardUrgent(m.shard.loop, m) }

// postWait hands m, of another instance, to its loop. It waits while the loop's inbox is full.
func (m *mail) postWait() {
	m.remote = true
	if !m.shard.loop.PostWait(m) {
		m.recycle()
	}
}

// Size implements transport.Mail.
func (m *mail) Size() int { return len(m.buf.Payload()) }

// Deliver implements transport.Mail.
func (m *mail) Deliver(*transport.Loop) {
	m.handle(m.shard, m)
	m.recycle()
}
