package hub

import (
	"slices"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/hub/internal/clientid"
	"github.com/mastersocket/mastersocket/hub/internal/parts"
	"github.com/mastersocket/mastersocket/intent"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

// What an open request, and a part, count for in Options.RequestMemory, in bytes.
const (
	requestBytes = 256
	owedBytes    = 32
)

// owed are the parts of a loop's clients in requests.
type owed struct {
	parts *parts.Table[tracked]
	// others are the requests of other loops and instances that have parts here. Those of this loop are found by their handles.
	others map[trackedKey]*tracked
	swept  uint32 // loop clock when others was last looked through
}

// trackedKey names a request of another loop or instance, and how often it was handed on.
type trackedKey struct {
	handle  handle
	node    broker.NodeID
	attempt uint8
}

func (t *tracked) keyIn() trackedKey { return trackedKey{t.handle, t.origin(), t.attempt} }

// owing returns the loop's parts, for one to be added.
func (sh *shard) owing() *owed {
	if sh.owed == nil {
		sh.owed = &owed{parts: parts.New(func(t *tracked) uint32 { return t.hash }), others: make(map[trackedKey]*tracked)}
	}
	return sh.owed
}

// isOwn reports whether the id is one of a client of this loop.
func (sh *shard) isOwn(id uuid.UUID) bool {
	at := clientid.Locate(&id)
	return at.Loop == sh.index && at.Node == sh.hub.node.ID
}

// mayAnswer reports whether the client can answer a request: a token that may not send DIRECT can't, and of service types
// only connections that say so can.
func (s *session) mayAnswer() bool {
	if f := s.foreign(); f != nil {
		return f.answers() && (s.grant == nil || s.grant.MaySend(intent.Direct, nil))
	}
	return s.grant != nil && s.grant.MaySend(intent.Direct, nil)
}

// owe notes that the request was queued for the client, which owes an answer if it can give one.
func (sh *shard) owe(t *tracked, s *session) {
	if !s.mayAnswer() {
		return
	}
	o, memory := sh.owing(), int64(owedBytes)
	if t.first == 0 && !sh.isOwn(t.requester) {
		o.others[t.keyIn()] = t
		memory += requestBytes
	}
	o.parts.Add(s.conn.Slot(), t, &t.first)
	t.added++
	sh.hub.requestMemory.Add(memory)
}

// owedAnswers returns how many requests the client has got and not answered.
func (s *session) owedAnswers() (n int) {
	if s.shard.owed == nil {
		return 0
	}
	table := s.shard.owed.parts
	for i := table.FirstOn(s.conn.Slot()); i != 0; i = table.NextOn(i) {
		n++
	}
	return n
}

// suits reports whether an ANY may be given to the client: a request is for one that can answer, and has not had it. A nil
// request is a message that is none.
func (t *tracked) suits(s *session) bool { return t == nil || s.mayAnswer() && !t.isTried(&s.id) }

// named returns the member that the key of an ANY names; nil for none, or a message without a key.
func (t *tracked) named(list []*session, departing bool) (best *session) {
	if t == nil || t.drawing == nil || !t.drawing.keyed {
		return nil
	}
	most := 0.0
	for _, s := range list {
		if s.departing != departing || s.weight == 0 || !t.suits(s) {
			continue
		}
		if v := score(t.drawing.key, hashKey(s.id[:]), int(s.weight)); v > most {
			best, most = s, v
		}
	}
	return best
}

// partOf returns the client's part in the request of that id and requester, and the request's hash.
func (s *session) partOf(requester *uuid.UUID, id []byte) (i parts.Index, hash uint64) {
	hash = s.shard.hub.hashRequest(requester, id)
	i = s.shard.owed.parts.Find(s.conn.Slot(), uint32(hash), func(t *tracked) bool { return t.isFor(requester, id) })
	return i, hash
}

// endPart ends a part, and returns its request.
func (sh *shard) endPart(i parts.Index) *tracked {
	o := sh.owed
	t := o.parts.Of(i)
	o.parts.Remove(i, &t.first)
	memory := int64(owedBytes)
	if t.first == 0 {
		memory += sh.forgetTracked(t)
	}
	sh.hub.requestMemory.Add(-memory)
	return t
}

// forgetTracked forgets a request of another loop or instance that has no part here any more. It returns what that frees.
func (sh *shard) forgetTracked(t *tracked) (memory int64) {
	if sh.isOwn(t.requester) {
		return 0
	}
	k := t.keyIn()
	if sh.owed.others[k] != t {
		return 0
	}
	delete(sh.owed.others, k)
	return requestBytes
}

// maxPast is how many parts of a client that are over are remembered, by their hashes, so that what it replies late is
// recognized.
const maxPast = 256

// past are a client's last parts that are over. The first n of its length are used before it turns round.
type past struct {
	hashes []uint64
	next   int
}

func (p *past) add(hash uint64) {
	if len(p.hashes) < maxPast {
		p.hashes = append(p.hashes, hash)
		return
	}
	p.hashes[p.next] = hash
	p.next = (p.next + 1) % maxPast
}

func (p *past) has(hash uint64) bool { return slices.Contains(p.hashes, hash) }

// remember notes a part of the client that is over.
func (s *session) remember(hash uint64) { s.others().past.add(hash) }

// pass handles the client's word that it does not answer a request.
func (s *session) pass(e *opcodes.Envelope) {
	sh := s.shard
	if sh.owed == nil {
		return
	}
	i, hash := s.partOf(&e.Receiver, e.PlainID())
	if i == 0 {
		return // it is over already, or never was
	}
	begun := sh.owed.parts.Begun(i)
	t := sh.endPart(i)
	s.remember(hash)
	sh.tell(t, &news{kind: newsOver, passed: 1, by: s.id, begun: begun})
}

// passCopies passes what the client owes of requests to many, which its other connection has got too.
func (s *session) passCopies() {
	sh := s.shard
	if sh.owed == nil {
		return
	}
	table := sh.owed.parts
	for i := table.FirstOn(s.conn.Slot()); i != 0; {
		next := table.NextOn(i)
		if table.Of(i).toMany {
			begun := table.Begun(i)
			sh.tell(sh.endPart(i), &news{kind: newsOver, passed: 1, by: s.id, begun: begun})
		}
		i = next
	}
}

// leaveParts ends all parts of a client that goes, for that reason.
func (s *session) leaveParts(reason string) {
	sh := s.shard
	if sh.owed == nil {
		return
	}
	name := ""
	if s.about != nil {
		name = s.about.name
	}
	for {
		i := sh.owed.parts.FirstOn(s.conn.Slot())
		if i == 0 {
			return
		}
		begun := sh.owed.parts.Begun(i)
		t := sh.endPart(i)
		sh.tell(t, &news{
			kind: newsOver, gone: 1, begun: begun, missing: []opcodes.Missing{{ID: s.id, Name: name, Reason: reason}},
		})
	}
}

// cancelParts ends the parts in a request that are left, tells their clients, and returns how many they were and those that
// can be named.
func (sh *shard) cancelParts(t *tracked, reason string) (count int, missing []opcodes.Missing) {
	if t.first == 0 {
		return 0, nil
	}
	b := transport.AllocBuffer(opcodes.CancelSize(t.id))
	b.Seal(opcodes.AppendCancel(b.Room(), t.id, t.requester))
	defer b.Release()
	hash := sh.hub.hashRequest(&t.requester, []byte(t.id))
	for t.first != 0 {
		s := sh.sessionAt(sh.owed.parts.Slot(t.first))
		sh.endPart(t.first)
		count++
		if s == nil { // not reached: a session's end ends its parts
			continue
		}
		s.remember(hash)
		if f := s.foreign(); f != nil {
			f.cancelled(t.requester, t.id)
		} else if s.features.Has(opcodes.FeatureRequests) {
			s.conn.Send(b)
		}
		if len(missing) < maxMissing {
			name := ""
			if s.about != nil {
				name = s.about.name
			}
			missing = append(missing, opcodes.Missing{ID: s.id, Name: name, Reason: reason})
		}
	}
	return count, missing
}

// sessionAt returns the session of the connection in that slot, nil for none.
func (sh *shard) sessionAt(slot uint32) *session {
	if c := sh.loop.Conn(slot); c != nil {
		s, _ := c.Session().(*session)
		return s
	}
	return nil
}

// receiveCancel handles a CANCEL from the requester's loop.
func (sh *shard) receiveCancel(n *news) {
	if sh.owed == nil {
		return
	}
	t := sh.owed.others[trackedKey{n.handle, n.node, n.attempt}]
	if t == nil {
		return
	}
	count, missing := sh.cancelParts(t, n.reason)
	if !n.silent {
		sh.tell(t, &news{kind: newsOver, gone: count, missing: missing})
	}
}

// requesterLost cancels what the clients of another instance asked for, which is gone.
func (sh *shard) requesterLost(node broker.NodeID) {
	if sh.owed == nil {
		return
	}
	for k, t := range sh.owed.others {
		if k.node == node {
			sh.cancelParts(t, opcodes.MissingCancelled)
		}
	}
}

// A part whose request was not cancelled in time, because the word of it was lost, ends overdue after its timeout.
const (
	overdue    = 10_000 // ms
	sweepOwing = 5_000  // ms
)

// sweepParts ends the parts that are overdue.
func (sh *shard) sweepParts() {
	if sh.owed == nil || sh.loop.Clock()-sh.owed.swept < sweepOwing {
		return
	}
	sh.owed.swept = sh.loop.Clock()
	now := sh.hub.now()
	for _, t := range sh.owed.others {
		if int32(now-t.expires) > overdue {
			sh.cancelParts(t, opcodes.MissingTimeout)
			sh.count.requests.released.Add(1)
		}
	}
}

// isExpired counts a request that waited here for so long that its requester has given it up.
func (sh *shard) isExpired(t *tracked) bool {
	if t == nil || int32(sh.hub.now()-t.expires) < 0 {
		return false
	}
	sh.count.requests.expired.Add(1)
	return true
}
