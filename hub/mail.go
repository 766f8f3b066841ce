package hub

import (
	"sync"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/transport"
)

// mailKind says what a mail asks its loop to do.
type mailKind uint8

const (
	mailSpread  mailKind = iota // deliver to the group's members
	mailDirect                  // deliver to one client
	mailAny                     // deliver to one of the group's members
	mailReturn                  // draw again for an ANY that found nobody
	mailMissing                 // tell the sender that a DIRECT found nobody
)

// mail takes a message to another loop. It comes from a pool and goes back once it is delivered.
type mail struct {
	kind     mailKind
	draws    uint8
	remote   bool // it came from another instance
	shard    *shard
	buf      *transport.Buffer // one reference
	group    *group
	name     []byte // mailReturn: the group's name; its memory stays with the mail
	sender   uuid.UUID
	receiver uuid.UUID
	seq      uint64
	feedback *feedback
	tally    *running      // of a message that somebody waits to hear of; nil for others
	origin   broker.NodeID // remote: the instance of the sender; mailReturn: one that had nobody, 0 for none
}

var mailPool = sync.Pool{New: func() any { return new(mail) }}

// forward sends the message to another shard's loop, or to this one's own. fill sets what its kind needs.
func (sh *shard) forward(to *shard, k mailKind, b *transport.Buffer, fill func(*mail)) {
	m := to.newMail(k, b)
	fill(m)
	if k == mailSpread {
		sh.loop.Forward(to.loop, m)
	} else {
		sh.loop.ForwardUrgent(to.loop, m)
	}
}

// postWait is forward for the broker's goroutine, which may be slowed down.
func (sh *shard) postWait(k mailKind, b *transport.Buffer, fill func(*mail)) {
	m := sh.newMail(k, b)
	m.remote = true
	fill(m)
	if !sh.loop.PostWait(m) {
		m.recycle()
	}
}

func (sh *shard) newMail(k mailKind, b *transport.Buffer) *mail {
	m := mailPool.Get().(*mail)
	*m = mail{kind: k, shard: sh, buf: b, name: m.name[:0]}
	b.Retain()
	return m
}

func (m *mail) recycle() {
	m.buf.Release()
	*m = mail{name: m.name[:0]}
	mailPool.Put(m)
}

// Size implements transport.Mail.
func (m *mail) Size() int { return len(m.buf.Payload()) }

// Deliver implements transport.Mail.
func (m *mail) Deliver(*transport.Loop) {
	sh := m.shard
	switch m.kind {
	case mailSpread:
		if m.tally != nil {
			sh.deliverCounted(m.group, m.buf, m.tally)
			break
		}
		sh.deliver(m.group, nil, m.buf)
	case mailDirect:
		sh.directMail(m)
	case mailAny:
		sh.anyMail(m)
	case mailReturn:
		if m.remote {
			m.feedback = sh.lateFeedback(m)
		}
		sh.drawAgain(m)
	case mailMissing:
		sh.missing(m)
	}
	m.recycle()
}

// directMail delivers to one client, or tells its sender that it is gone.
func (sh *shard) directMail(m *mail) {
	switch {
	case sh.deliverDirect(&m.receiver, m.buf):
		m.tally.end(1, 0)
		m.feedback.ack(1)
	case m.remote:
		m.tally.end(0, 0)
		sh.count.drop(DropNoReceiver)
		sh.returnDirect(m)
	default:
		sh.noReceiver(m.feedback)
	}
}

// anyMail delivers to one member, or to one who is about to join, or sends the message back to be drawn again.
func (sh *shard) anyMail(m *mail) {
	switch {
	case sh.deliverAny(m.group, m.buf):
		m.tally.end(1, 0)
		m.feedback.ack(1)
	case m.remote && sh.hold(m):
	case m.remote:
		m.tally.end(0, 0)
		sh.returnAny(m)
	default:
		sh.forward(sh.hub.shards[locate(&m.sender).loop], mailReturn, m.buf, func(r *mail) {
			r.name = append(r.name, m.group.name...)
			r.sender, r.seq, r.draws, r.feedback = m.sender, m.seq, m.draws, m.feedback
		})
	}
}
