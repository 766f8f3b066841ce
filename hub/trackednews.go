package hub

import (
	"encoding/binary"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/hub/internal/clientid"
	"github.com/mastersocket/mastersocket/opcodes"
)

// maxMissing is how many missing answers are named in one SETTLED, and in what an instance tells at once.
const maxMissing = 100

// newsKind is what is told of a request.
type newsKind byte

// The kinds, as they travel in the payload of a message of KindTracking.
const (
	newsReport newsKind = 'R' // to the requester's loop: how many receivers there are
	newsOver   newsKind = 'O' // to the requester's loop: parts that are over without an answer
	newsCancel newsKind = 'C' // to the receivers' loops: the answer is not wanted any more
)

// news is what one loop tells another of a request. It is mail for that loop.
type news struct {
	kind    newsKind
	shard   *shard // whose loop gets it
	handle  handle
	attempt uint8
	node    broker.NodeID // the instance that tells it

	receivers int               // newsReport
	passed    int               // newsOver: receivers that don't answer
	by        uuid.UUID         // newsOver: the one, if there is one
	gone      int               // newsOver: those that can't
	begun     bool              // newsOver: the receiver had sent a first answer
	none      bool              // newsOver: the message did not reach them
	missing   []opcodes.Missing // newsOver: as many of these as can be named

	reason string // newsCancel
	silent bool   // newsCancel: the requester is gone, and waits for no newsOver
}

// Size implements transport.Mail.
func (n *news) Size() int { return 128 + 160*len(n.missing) }

// tell brings news of t to the loop of its requester, behind all that this loop has sent there.
func (sh *shard) tell(t *tracked, n *news) {
	n.handle, n.attempt, n.node = t.handle, t.attempt, sh.hub.node.ID
	at := clientid.Locate(&t.requester)
	switch {
	case at.Node != sh.hub.node.ID:
		sh.hub.publishNews(at.Node, n)
	case at.Loop == sh.index:
		n.shard = sh
		sh.loop.Post(n)
	default:
		n.shard = sh.hub.shards[at.Loop]
		sh.loop.ForwardUrgent(n.shard.loop, n)
	}
}

// publishNews brings news to another instance.
func (h *Hub) publishNews(to broker.NodeID, n *news) {
	m := broker.Message{Kind: broker.KindTracking, To: to, Payload: n.encode()}
	h.broker.Publish(&m, losses{h.shards[0].count})
}

// encode returns the news as they travel between instances.
func (n *news) encode() []byte {
	be := binary.BigEndian
	b := be.AppendUint64([]byte{byte(n.kind)}, uint64(n.handle))
	b = append(b, n.attempt)
	switch n.kind {
	case newsReport:
		b = be.AppendUint32(b, uint32(n.receivers))
	case newsOver:
		b = be.AppendUint32(be.AppendUint32(b, uint32(n.passed)), uint32(n.gone))
		b = append(b, n.by[:]...)
		b = append(b, boolByte(n.begun)|boolByte(n.none)<<1, byte(len(n.missing)))
		for i := range n.missing {
			m := &n.missing[i]
			b = append(b, m.ID[:]...)
			b = append(append(b, byte(len(m.Name))), m.Name...)
			b = append(append(b, byte(len(m.Reason))), m.Reason...)
		}
	case newsCancel:
		b = append(b, boolByte(n.silent), byte(len(n.reason)))
		b = append(b, n.reason...)
	}
	return b
}

// readNews reads what encode wrote on the instance from; nil for what this release doesn't understand.
func readNews(from broker.NodeID, b []byte) *news {
	r := reader{b: b}
	n := &news{kind: newsKind(r.byte()), handle: handle(r.uint64()), attempt: r.byte(), node: from}
	switch n.kind {
	case newsReport:
		n.receivers = int(r.uint32())
	case newsOver:
		n.passed, n.gone, n.by = int(r.uint32()), int(r.uint32()), r.uuid()
		flags := r.byte()
		n.begun, n.none = flags&1 != 0, flags&2 != 0
		for range min(int(r.byte()), maxMissing) {
			m := opcodes.Missing{ID: r.uuid(), Name: string(r.bytes(int(r.byte())))}
			m.Reason = string(r.bytes(int(r.byte())))
			n.missing = append(n.missing, m)
		}
	case newsCancel:
		n.silent = r.byte() == 1
		n.reason = string(r.bytes(int(r.byte())))
	default:
		return nil
	}
	if r.short {
		return nil
	}
	return n
}

// tellReceivers tells the requester how many receivers its request has on this loop, or here in all once every loop has said it.
func (sh *shard) tellReceivers(t *tracked) {
	n := int(t.added)
	if t.reporting != nil {
		total, last := t.reporting.add(t.added)
		if !last {
			return
		}
		n = total
	}
	sh.tell(t, &news{kind: newsReport, receivers: n})
}
