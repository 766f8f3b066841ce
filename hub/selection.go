package hub

import (
	"encoding/binary"
	"sync"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/hub/internal/clientid"
	"github.com/mastersocket/mastersocket/hub/internal/tally"
	"github.com/mastersocket/mastersocket/intent"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

// This file delivers messages whose intent has several targets, or exceptions. Each loop finds their receivers by itself, from
// the intent in the message, and marks those that it has looked at: so each gets one copy, and membership counts at one
// moment on each loop.
//
// To other instances such a message to groups is published once for each group, since that alone reaches every instance
// with a member. The copies carry the same number, which rises for each loop of the publisher. An instance delivers the first
// that comes to all of the groups, and no other.

// maySend reports whether the grant allows the message, to each of its targets.
func maySend(g *auth.Grant, e *opcodes.Envelope) bool {
	if !e.Selects() || e.Target != intent.Group {
		return g.MaySend(e.Target, e.Identifier)
	}
	for _, name := range e.Targets() {
		if !g.MaySend(intent.Group, name) {
			return false
		}
	}
	return true
}

// flagSelected is set in a message of KindGlobal, KindGroup or KindDirect whose receivers the intent in its payload selects.
// Its Seq is a selectionNumber, but for KindDirect.
const flagSelected broker.Flags = 1 << 5

// selectionNumber is the Seq of a message with flagSelected: the publisher's loop, the targets whose exclusive holder is on the
// publisher's instance, and a number that rises with each such message of the loop.
type selectionNumber uint64

const (
	selectionLoopShift = 56
	selectionHereShift = 40
	selectionCount     = 1<<selectionHereShift - 1
)

func (n selectionNumber) loop() uint8   { return uint8(n >> selectionLoopShift) }
func (n selectionNumber) here() uint16  { return uint16(n >> selectionHereShift) }
func (n selectionNumber) count() uint64 { return uint64(n) & selectionCount }

// sendSelected sends a message whose intent has several targets, or exceptions.
func (sh *shard) sendSelected(e *opcodes.Envelope, o *outbound) {
	switch {
	case !sh.allKnowSelections(e):
		o.tally.Expect()
		o.tally.Add(0, 0)
		sh.reject(o.feedback, opcodes.CodeOldRelease)
	case e.Target == intent.Direct:
		sh.directSelected(e, o)
	default:
		sh.spreadSelected(e, o)
	}
}

// allKnowSelections reports whether no instance with receivers is of a release that would ignore exceptions, and deliver
// several copies. For DIRECT without exceptions it is no matter.
func (sh *shard) allKnowSelections(e *opcodes.Envelope) bool {
	b := sh.hub.broker
	if e.Target == intent.Direct {
		for _, id := range e.Receivers() {
			if len(e.Except()) > 0 && !b.Knows(clientid.Locate(&id).Node, broker.KindSelection) {
				return false
			}
		}
		return true
	}
	sh.known = b.Standings(nil, sh.known[:0])
	for _, name := range e.Targets() {
		sh.known = b.Standings(name, sh.known)
	}
	for i := range sh.known {
		if !b.Knows(sh.known[i].Node, broker.KindSelection) {
			return false
		}
	}
	return true
}

// spreadSelected sends the message to the members of its groups, or to all clients.
func (sh *shard) spreadSelected(e *opcodes.Envelope, o *outbound) {
	sh.deferral.beginSpread()
	o.tally.Expect()
	terms, here := sh.termsOf(e, 0)
	o.tally.Expect()
	local := sh.deliverSelected(e, terms, &o.from.id, o.except(), o.buf, o.tally)
	across := false
	for i, other := range sh.hub.shards {
		if i == sh.index {
			continue
		}
		if receivers, ok := sh.hub.selectionReaches(e, i); ok {
			o.tally.Expect()
			m := other.newMail(selectedMail, o.buf)
			m.name, m.tally, m.sender = append(m.name, terms...), o.tally, o.from.id
			sh.loop.Forward(other.loop, m)
			local += receivers
			across = true
		}
	}
	o.tally.Add(0, 0)
	if across && o.client != nil {
		o.client.sentAcross(len(o.buf.Payload()))
	}
	sh.selections++
	number := uint64(sh.index)<<selectionLoopShift | uint64(here)<<selectionHereShift | sh.selections&selectionCount
	m := broker.Message{Kind: broker.KindGlobal, Flags: flagSelected, Sender: o.from.id, Seq: number, Payload: o.buf.Payload()}
	if e.Target == intent.Global {
		sh.relay(m, local, o.feedback)
	} else {
		sh.relayCopies(m, e.Targets(), local, o.feedback)
	}
	sh.deferral.endSpread()
}

// relayCopies publishes the message to each of the groups, and then tells f what became of it.
func (sh *shard) relayCopies(m broker.Message, groups [][]byte, local int, f *feedback) {
	p := copiesPool.Get().(*copies)
	p.shard, p.local, p.feedback, p.left = sh, local, f, len(groups)
	sh.known = sh.known[:0]
	for _, name := range groups {
		sh.known = sh.hub.broker.Standings(name, sh.known)
	}
	for i := range sh.known {
		if !standsIn(sh.known[:i], sh.known[i].Node) {
			p.distinct++
		}
	}
	m.Kind = broker.KindGroup
	for _, name := range groups {
		m.Group = name
		sh.outgoing = m
		sh.hub.broker.Publish(&sh.outgoing, p)
	}
}

func standsIn(all []broker.Standing, n broker.NodeID) bool {
	for i := range all {
		if all[i].Node == n {
			return true
		}
	}
	return false
}

// copies waits for what the broker says of the copies of one message. An instance may have taken several: how many took the
// message at all is the number of those that are known to have members, within what the broker says.
type copies struct {
	shard    *shard
	local    int // receivers on this instance
	feedback *feedback
	distinct int // other instances that are known to have members of a group

	mu   sync.Mutex
	left int // copies that the broker has said nothing of
	most int // the greatest number of instances that took one copy
	sum  int // of these numbers
	err  error
}

var copiesPool = sync.Pool{New: func() any { return new(copies) }}

// Published implements broker.Completion.
func (p *copies) Published(instances int, err error) {
	p.mu.Lock()
	p.left--
	p.most, p.sum = max(p.most, instances), p.sum+instances
	if err != nil {
		p.err = err
	}
	over := p.left == 0
	p.mu.Unlock()
	if !over {
		return
	}
	r := relayingPool.Get().(*relaying)
	r.shard, r.local, r.feedback = p.shard, p.local, p.feedback
	took, err := min(max(p.distinct, p.most), p.sum), p.err
	p.shard, p.feedback, p.local, p.distinct, p.most, p.sum, p.err = nil, nil, 0, 0, 0, 0, nil
	copiesPool.Put(p)
	r.Published(took, err)
}

// termsOf returns the terms of the holders of the message's groups, eight bytes for each, or nothing where none is held, and
// which of them are held here. Targets in elsewhere are held on the publisher's instance: they have none here.
func (sh *shard) termsOf(e *opcodes.Envelope, elsewhere uint16) (terms []byte, here uint16) {
	sh.terms, here = sh.hub.appendTerms(sh.terms[:0], e, elsewhere)
	return sh.terms, here
}

// appendTerms is termsOf for any goroutine.
func (h *Hub) appendTerms(dst []byte, e *opcodes.Envelope, elsewhere uint16) (terms []byte, here uint16) {
	for i, name := range e.Targets() {
		var term uint64
		if elsewhere>>i&1 == 0 {
			term = h.groups.find(name).term()
		}
		if term != 0 {
			here |= 1 << i
		}
		dst = binary.BigEndian.AppendUint64(dst, term)
	}
	if here == 0 {
		return dst[:0], 0
	}
	return dst, here
}

// selectionReaches reports whether the message concerns a loop, and how many receivers it may have there: clients of several
// groups, and those that are left out, are counted too.
func (h *Hub) selectionReaches(e *opcodes.Envelope, loop int) (receivers int, ok bool) {
	if e.Target == intent.Global {
		return h.groups.everyone.reaches(loop)
	}
	for _, name := range e.Targets() {
		if g := h.groups.find(name); g != nil {
			n, reaches := g.reaches(loop)
			receivers, ok = receivers+n, ok || reaches
		}
	}
	return receivers, ok
}

// selectedMail delivers a message to those of the loop's clients that its intent selects.
func selectedMail(sh *shard, m *mail) {
	sh.deliverSelected(nil, m.name, &m.sender, nil, m.buf, m.tally)
}

// delivery is what becomes of one message on a loop.
type delivery struct {
	shard                 *shard
	buf                   *transport.Buffer
	own, foreign, closing int
	slowest               *session // of those that are behind
	most                  int
}

// deliverSelected queues the message for each of the loop's clients that its intent selects, once, and shows it to the
// groups' watchers. e is the message, nil to read it from b. terms are those of the groups' holders, none where it is empty.
// It returns the number of receivers, observers included.
func (sh *shard) deliverSelected(e *opcodes.Envelope, terms []byte, from *uuid.UUID, except *session, b *transport.Buffer, t *tally.Count) int {
	sh.beginDelivery()
	if e == nil {
		if e = sh.parse(b); e == nil { // an instance of a later release may have sent what this one doesn't understand
			sh.endDelivery()
			t.Add(0, 0)
			return 0
		}
	}
	d := delivery{shard: sh, buf: b, most: sh.hub.opts.Transport.SendQueueBytes / 2}
	sh.leaveOut(e, except)
	receivers := 0
	if e.Target == intent.Global {
		receivers = d.deliver(sh.hub.groups.everyone, 0)
	}
	for i, name := range e.Targets() {
		if g := sh.hub.groups.find(name); g != nil {
			var term uint64
			if len(terms) > 0 {
				term = binary.BigEndian.Uint64(terms[8*i:])
			}
			receivers += d.deliver(g, term)
		}
	}
	if d.slowest != nil {
		sh.press(from, d.slowest)
	}
	sh.endDelivery()
	sh.count.types[0].deliveries.Add(uint64(d.own))
	if d.closing > 0 {
		sh.count.drops[DropClosing].Add(uint64(d.closing))
	}
	t.Add(d.own+d.foreign, d.closing)
	return receivers
}

// leaveOut marks the clients that the message is not for.
func (sh *shard) leaveOut(e *opcodes.Envelope, except *session) {
	sh.marks.begin()
	if except != nil {
		sh.marks.mark(except)
	}
	for _, name := range e.Except() {
		if id, ok := opcodes.ParseID(name); ok {
			if s := sh.client(&id); s != nil {
				sh.marks.mark(s)
			}
		}
		if g := sh.hub.groups.find(name); g != nil {
			for _, s := range g.local[sh.index].list {
				sh.marks.mark(s)
			}
		}
	}
}

// deliver queues the message for each member of the group on the loop that is not marked.
func (d *delivery) deliver(g *group, term uint64) (receivers int) {
	sh := d.shard
	barred := g.barred(term)
	for _, s := range g.local[sh.index].list {
		if s == barred || !sh.marks.mark(s) {
			continue
		}
		receivers++
		switch {
		case s.kind != 0:
			switch sh.hand(s, d.buf) {
			case Taken:
				d.foreign++
			case Refused:
				d.closing++
			}
		case s.conn.Send(d.buf):
			d.own++
		default:
			d.closing++
		}
		if load := s.conn.QueueLoad(); load > d.most && !s.spent {
			d.slowest, d.most = s, load
		}
	}
	return receivers + sh.observed(g, d.buf)
}

// receive delivers a message of another instance to those that its intent selects. The copies of it that come later
// are no matter.
func (s *selections) receive(h *Hub, m *broker.Message, b *transport.Buffer) {
	n := selectionNumber(m.Seq)
	if !s.first(h, m.From, n) {
		return
	}
	e := &s.scan
	if e.ScanDelivery(m.Payload) != nil || !e.Selects() {
		return
	}
	t := h.countOf(&m.Sender)
	defer t.Add(0, 0)
	s.terms, _ = h.appendTerms(s.terms[:0], e, n.here())
	for i, sh := range h.shards {
		if _, ok := h.selectionReaches(e, i); ok {
			t.Expect()
			o := sh.newMail(selectedMail, b)
			o.name, o.tally, o.sender = append(o.name, s.terms...), t, m.Sender
			o.postWait()
		}
	}
}

// selections is what the goroutine that calls Deliver knows of other instances' messages with several targets.
type selections struct {
	last  map[selectionSource]uint64 // the number of the last message
	scan  opcodes.Envelope
	terms []byte
}

// selectionSource is a loop of another instance.
type selectionSource struct {
	node broker.NodeID
	loop uint8
}

func newSelections() *selections {
	return &selections{last: make(map[selectionSource]uint64)}
}

// keptSources is how many loops are remembered before those of instances that are gone are forgotten.
const keptSources = 1024

// first reports whether the message is the first of its copies.
func (s *selections) first(h *Hub, from broker.NodeID, n selectionNumber) bool {
	source := selectionSource{from, n.loop()}
	last, known := s.last[source]
	if known && n.count() <= last {
		return false
	}
	if !known && len(s.last) >= keptSources {
		live := make(map[broker.NodeID]bool)
		for _, node := range h.broker.Nodes() {
			live[node.ID] = true
		}
		for source := range s.last {
			if !live[source.node] {
				delete(s.last, source)
			}
		}
	}
	s.last[source] = n.count()
	return true
}

// directSelected sends the message to each of the clients that its intent names.
func (sh *shard) directSelected(e *opcodes.Envelope, o *outbound) {
	sh.deferral.beginSpread()
	o.tally.Expect()
	one := outbound{from: o.from, client: o.client, buf: o.buf, tally: o.tally, selected: len(e.Except()) > 0}
	ids := e.Receivers()
	var j *joint
	if o.feedback != nil {
		j = jointPool.Get().(*joint)
		j.open(sh.hub.node.ID, o.feedback, ids)
	}
	for i := range ids {
		if j != nil {
			one.feedback = newFeedback(&j.ends[i])
		}
		sh.direct(ids[i], &one)
	}
	o.tally.Add(0, 0)
	sh.deferral.endSpread()
}

// joint is the feedback of a message to several clients, made of those of its parts.
type joint struct {
	own   broker.NodeID
	whole *feedback
	nodes [opcodes.MaxSelected]broker.NodeID
	ends  [opcodes.MaxSelected]jointEnd

	mu    sync.Mutex
	left  int
	acked uint16 // the parts that were handed over
	code  opcodes.ErrorCode
}

// jointEnd hears of one part.
type jointEnd struct {
	joint *joint
	part  int
}

var jointPool = sync.Pool{New: func() any {
	j := new(joint)
	for i := range j.ends {
		j.ends[i] = jointEnd{j, i}
	}
	return j
}}

func (j *joint) open(own broker.NodeID, whole *feedback, ids []uuid.UUID) {
	j.own, j.whole, j.left, j.acked, j.code = own, whole, len(ids), 0, ""
	for i := range ids {
		j.nodes[i] = clientid.Locate(&ids[i]).Node
	}
}

// hear implements hearer: the last part to be decided decides the whole. It is handed over if one of them was.
func (e *jointEnd) hear(f *feedback) {
	j := e.joint
	j.mu.Lock()
	if f.code == "" {
		j.acked |= 1 << e.part
	} else {
		j.code = f.code
	}
	j.left--
	over := j.left == 0
	j.mu.Unlock()
	if !over {
		return
	}
	whole, code, instances := j.whole, j.code, 0
	whole.others = 0
	for i, n := range j.nodes {
		if j.acked>>i&1 != 0 && !j.ackedBefore(i, n) {
			instances++
			if n != j.own {
				whole.others++
			}
		}
	}
	j.whole = nil
	jointPool.Put(j)
	if instances == 0 {
		whole.refuse(code)
		return
	}
	whole.ack(instances)
}

// ackedBefore reports whether a part before i was handed over to the same instance.
func (j *joint) ackedBefore(i int, n broker.NodeID) bool {
	for k, other := range j.nodes[:i] {
		if other == n && j.acked>>k&1 != 0 {
			return true
		}
	}
	return false
}

// isLeftOut reports whether the message leaves out the client of that id, on its loop.
func (sh *shard) isLeftOut(id *uuid.UUID, b *transport.Buffer) bool {
	s := sh.client(id)
	if s == nil {
		return false
	}
	e := sh.selectionIn(b)
	if e == nil {
		return true
	}
	for _, name := range e.Except() {
		if id, ok := opcodes.ParseID(name); ok && id == s.id {
			return true
		}
		if g := sh.hub.groups.find(name); g != nil && s.placeOf(g) != nil {
			return true
		}
	}
	return false
}

// selectionIn reads a message between two deliveries; nil for one that this release does not understand.
func (sh *shard) selectionIn(b *transport.Buffer) *opcodes.Envelope {
	sh.parsed = nil
	e := sh.parse(b)
	sh.parsed = nil
	return e
}

// isToSeveral reports whether the message names several clients.
func (sh *shard) isToSeveral(b *transport.Buffer) bool {
	e := sh.selectionIn(b)
	return e != nil && e.Selects() && len(e.Receivers()) > 1
}
