package hub

import (
	"errors"
	"slices"
	"sync"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/intent"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

// This file is the sender's side of groups with history. The broker numbers a message to such a group, and every member on
// every instance gets it from the broker, those of the sender's own instance included.
//
// That way is longer than the others. So that what a sender sends stays in its order, a sender that goes on to anything but
// messages to the same group waits until the broker has handed its numbered messages to this instance. A client is not read
// meanwhile: one message is kept, and handled then. What a service type sends is queued.

const (
	// maxUnnumbered is how many messages of a sender may be on their way to the broker before nothing more is read from it.
	maxUnnumbered = 256
	// maxBehind is how many messages of a service type's sender may wait for its numbered ones.
	maxBehind = 4096
)

// numbering is what a sender has on the way to the broker. It belongs to the sender's loop, and exists while there is some.
type numbering struct {
	client *session // nil for a sender without a connection
	gone   bool     // the client is
	group  []byte   // that all of it is for
	open   int
	bytes  int
	full   bool     // too much: the client is not read
	kept   []byte   // the message of the client that waits; nil for none. The client is not read
	queue  []behind // what a service type's sender sent since
	paused bool     // its client is not read because of it
}

// behind is what waits for the numbered messages of a service type's sender.
type behind struct {
	group []byte // of a message to a group with history; nil for anything else
	do    func()
}

// appending is a message on its way to the broker: its completion, and then mail for the sender's loop.
type appending struct {
	shard     *shard
	sender    *sender
	numbering *numbering
	feedback  *feedback
	bytes     int

	offset    uint64
	duplicate bool
	err       error
}

var appendingPool = sync.Pool{New: func() any { return new(appending) }}

// number has the broker number the message, which is to a group with history, and send it to all members.
func (sh *shard) number(c *chronicle, e *opcodes.Envelope, o *outbound) {
	if !c.admits(e.Identifier) {
		sh.count.history.refused[RefusedGroups].Add(1)
		sh.reject(o.feedback, opcodes.CodeOverloaded)
		return
	}
	n := sh.numberingOf(o)
	if len(n.group) == 0 {
		n.group = append(n.group, e.Identifier...)
	}
	size := len(o.buf.Payload())
	n.open++
	n.bytes += size
	if s := o.client; s != nil && !n.full && (n.open >= maxUnnumbered || n.bytes > sh.hub.opts.Transport.SendQueueBytes/4) {
		n.full = true
		s.wait()
	}
	how := broker.Appending{Limits: c.Limits}
	if e.Once && e.ID != nil {
		how.Once = string(e.PlainID())
	}
	a := appendingPool.Get().(*appending)
	*a = appending{shard: sh, sender: o.from, numbering: n, feedback: o.feedback, bytes: size}
	// The broker hands the message to the other loops itself: what this loop has collected for them comes before it.
	sh.loop.SendMail()
	sh.outgoing = broker.Message{Kind: broker.KindGroup, Sender: o.from.id, Group: e.Identifier, Payload: o.buf.Payload()}
	sh.hub.broker.Append(&sh.outgoing, how, a)
}

// numberingOf returns what the message's sender has on the way to the broker.
func (sh *shard) numberingOf(o *outbound) *numbering {
	if n := sh.numberings[o.from]; n != nil {
		return n
	}
	n := &numbering{}
	if last := len(sh.spareNumberings) - 1; last >= 0 {
		n = sh.spareNumberings[last]
		sh.spareNumberings = sh.spareNumberings[:last]
	}
	n.client = o.client
	if sh.numberings == nil {
		sh.numberings = make(map[*sender]*numbering)
	}
	sh.numberings[o.from] = n
	o.from.numbers = true
	return n
}

// Appended implements broker.AppendCompletion. This instance has the message by now, if it is to have it: what this mail
// causes comes behind it on every loop.
func (a *appending) Appended(offset uint64, duplicate bool, err error) {
	a.offset, a.duplicate, a.err = offset, duplicate, err
	if !a.shard.loop.Post(a) {
		a.recycle()
	}
}

func (a *appending) recycle() {
	*a = appending{}
	appendingPool.Put(a)
}

// Size implements transport.Mail.
func (a *appending) Size() int { return 64 }

// Deliver implements transport.Mail: it tells the sender, and lets it go on.
func (a *appending) Deliver(l *transport.Loop) {
	sh, n := a.shard, a.numbering
	a.tell(l)
	n.open--
	n.bytes -= a.bytes
	from := a.sender
	a.recycle()
	if n.full && n.open <= maxUnnumbered/2 && n.bytes <= sh.hub.opts.Transport.SendQueueBytes/8 {
		n.full = false
		if !n.gone {
			n.client.goOn()
		}
	}
	if n.open == 0 {
		sh.endNumbering(from, n)
	}
}

// tell counts what became of the message, and tells the sender that asked for it.
func (a *appending) tell(l *transport.Loop) {
	count, code := &a.shard.count.history, opcodes.ErrorCode("")
	switch {
	case a.err != nil:
		code = appendCode(a.err)
		count.refused[asRefusal(code)].Add(1)
		a.shard.count.drop(dropOf(code))
	case a.duplicate:
		count.duplicates.Add(1)
	default:
		count.appended.Add(1)
	}
	f := a.feedback
	if f == nil {
		return
	}
	if f.code = code; code == "" {
		f.acked, f.offset, f.duplicate = 1, a.offset, a.duplicate
	}
	if f.hearer != nil || !f.isWanted() {
		f.send()
		return
	}
	f.Deliver(l) // before what the client sends next
}

// appendCode translates an error of an append.
func appendCode(err error) opcodes.ErrorCode {
	switch {
	case err == broker.ErrUnknown:
		return opcodes.CodeOutcomeUnknown
	case errors.Is(err, broker.ErrRefused):
		return opcodes.CodeOverloaded
	}
	return opcodes.CodeBrokerUnavailable
}

// asRefusal returns as what a refused message is counted.
func asRefusal(code opcodes.ErrorCode) HistoryRefusal {
	switch code {
	case opcodes.CodeOutcomeUnknown:
		return RefusedUnknown
	case opcodes.CodeOverloaded:
		return RefusedBroker
	}
	return RefusedUnavailable
}

// endNumbering lets the sender go on, whose numbered messages have all come back.
func (sh *shard) endNumbering(from *sender, n *numbering) {
	if n.gone {
		sh.spare(n)
		return
	}
	n.group = n.group[:0]
	if s := n.client; s != nil && n.kept != nil {
		sh.dropNumbering(from)
		kept := n.kept
		sh.spare(n)
		s.again(kept)
		return
	}
	for len(n.queue) > 0 && (n.open == 0 || string(n.queue[0].group) == string(n.group)) {
		next := n.queue[0]
		n.queue[0] = behind{}
		n.queue = n.queue[1:]
		next.do() // it may number further messages
		if n.gone {
			return
		}
	}
	if len(n.queue) > 0 {
		return
	}
	if n.paused {
		n.paused = false
		n.client.goOn()
	}
	if n.open == 0 {
		sh.dropNumbering(from)
		sh.spare(n)
	}
}

func (sh *shard) dropNumbering(from *sender) {
	delete(sh.numberings, from)
	from.numbers = false
}

// maxSpareNumberings is how many numberings a loop keeps to use them again.
const maxSpareNumberings = 64

func (sh *shard) spare(n *numbering) {
	if len(sh.spareNumberings) < maxSpareNumberings && cap(n.queue) <= 64 {
		*n = numbering{group: n.group[:0], queue: n.queue[:0]}
		sh.spareNumberings = append(sh.spareNumberings, n)
	}
}

// mustFollow reports whether the client's message has to wait for its numbered ones: it is none to the same group.
func (s *session) mustFollow(e *opcodes.Envelope) bool {
	switch e.Op {
	case opcodes.Event, opcodes.Reply:
		n := s.shard.numberings[&s.sender]
		return string(e.Identifier) != string(n.group) || !s.isNumbered(e)
	case opcodes.Fence, opcodes.Unsubscribe:
		return true
	}
	return false
}

// isRequest reports whether the client's message is a request.
func (s *session) isRequest(e *opcodes.Envelope) bool {
	return e.Expect != nil && e.Op == opcodes.Event && s.features.Has(opcodes.FeatureRequests)
}

// isNumbered reports whether the client's EVENT or REPLY is one to a group with history that gets a number.
func (s *session) isNumbered(e *opcodes.Envelope) bool {
	return e.Target == intent.Group && !e.Selects() && !s.isRequest(e) && s.shard.hub.chronicles.find(e.Identifier) != nil
}

// forgesNumber reports whether the client's message has a number of its own, and is to a group with history.
func (s *session) forgesNumber(e *opcodes.Envelope) bool {
	switch {
	case !e.Numbered || s.isRequest(e):
		return false
	case !e.Selects():
		return s.isNumbered(e)
	}
	return slices.ContainsFunc(e.Targets(), func(name []byte) bool { return s.shard.hub.chronicles.find(name) != nil })
}

// keep keeps the client's message until its numbered ones have come back. Nothing more is read from the client.
func (s *session) keep(message []byte) {
	s.shard.numberings[&s.sender].kept = append(make([]byte, 0, len(message)), message...)
	s.wait()
}

// again handles the message that was kept, and reads on.
func (s *session) again(message []byte) {
	e := &s.shard.scan
	if e.Scan(message) == nil { // it was scanned before
		s.handle(e)
	}
	if s.phase != phaseOver {
		s.goOn()
	}
}

// dropNumberings forgets what the client, which is over, has on the way to the broker.
func (s *session) dropNumberings() {
	if !s.numbers {
		return
	}
	if n := s.shard.numberings[&s.sender]; n != nil {
		n.gone, n.client, n.kept, n.queue = true, nil, nil, nil
		s.shard.dropNumbering(&s.sender)
	}
}

// follow does what a service type's sender does next: now or, where its numbered messages are on the way and this is none
// to the same group, behind them. of is the sender's client, nil for none. It reports whether there is room for it.
func (sh *shard) follow(from *sender, of *session, group []byte, do func()) bool {
	n := sh.numberings[from]
	switch {
	case n == nil, len(n.queue) == 0 && group != nil && string(group) == string(n.group):
		do()
		return true
	case len(n.queue) >= maxBehind:
		return false
	}
	n.queue = append(n.queue, behind{group, do})
	if of != nil && !n.paused {
		n.paused = true
		of.wait()
	}
	return true
}

// numberedGroup returns the group of a message that a service type sends and that gets a number; nil for any other.
func (sh *shard) numberedGroup(m *opcodes.Message) []byte {
	if m.Target != intent.Group || sh.hub.chronicles.find(m.Group) == nil {
		return nil
	}
	return m.Group
}
