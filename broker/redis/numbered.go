package redis

import (
	"bytes"
	"encoding/binary"
	"time"

	"github.com/mastersocket/mastersocket/broker"
)

// The wire form of numbered messages, as the script publishes them: a header, then the messages. Integers are big-endian.
//
//	 0  magic    2  0xE5 'M'
//	 2  version  1  numberedMajor<<4 | minor: an older release counts and ignores it
//	 3  epoch    1  length of its name
//	 4  count    2
//	 6  first    8  the number of the first message; the others follow without gaps
//	14  epoch    n
//	    for each message its length (4) and the message in the form of frame.go, with kindNumbered
const (
	numberedMajor = 2
	numberedFixed = 14
)

// numbered are the messages of one call of the script, as far as they are not read yet.
type numbered struct {
	epoch []byte
	count int
	first uint64
	rest  numberedMessages
}

// numberedMessages are messages, each behind its length. The stream has them in this form, too.
type numberedMessages []byte

// isNumbered says whether b has the wire form of numbered messages.
func isNumbered(b []byte) bool {
	return len(b) >= numberedFixed && binary.BigEndian.Uint16(b) == headerMagic && b[2]>>4 == numberedMajor
}

// parseNumbered reads the header of b.
func parseNumbered(b []byte) (n numbered, ok bool) {
	if !isNumbered(b) || len(b) < numberedFixed+int(b[3]) || b[3] == 0 {
		return n, false
	}
	be := binary.BigEndian
	end := numberedFixed + int(b[3])
	n = numbered{b[numberedFixed:end], int(be.Uint16(b[4:])), be.Uint64(b[6:]), b[end:]}
	return n, n.count > 0 && n.first > 0 && n.first < 1<<63
}

// next takes the next message and its number.
func (n *numbered) next() (raw []byte, offset uint64, ok bool) {
	if raw, ok = n.rest.next(); !ok || n.count == 0 {
		return nil, 0, false
	}
	offset = n.first
	n.count--
	n.first++
	return raw, offset, true
}

// next takes the next message.
func (n *numberedMessages) next() (raw []byte, ok bool) {
	b := *n
	if len(b) < 4 {
		return nil, false
	}
	size := uint64(binary.BigEndian.Uint32(b))
	if size > uint64(len(b)-4) {
		return nil, false
	}
	*n = b[4+size:]
	return b[4 : 4+size : 4+size], true
}

// parseNumberedFrame reads one message of a group with history.
func (r *Broker) parseNumberedFrame(raw []byte, f *frame) error {
	if err := r.parse(raw, f); err != nil {
		return err
	}
	if f.Kind != kindNumbered {
		return errCorrupt
	}
	f.Kind = broker.KindGroup
	return nil
}

// sequence is a group with history to which this instance has subscribed: how far its messages were delivered. A message is
// delivered if it is the next one. When it is not, those before it are read from the stream, and what comes meanwhile is
// held. It is guarded by receiver.mu.
type sequence struct {
	group string
	sub   subscriptionID
	known bool // what was before the next message: at
	at    broker.Position
	fill  *fill // nil: nothing is missing
	lost  bool  // messages before the next one couldn't be read
}

// fill is the wait for messages that were, or may have been, missed.
type fill struct {
	begun int64
	held  []heldNumber
	bytes int
	more  bool // some found no room in held: they are read, too
	turns int  // without a message, since the last one
}

// heldNumber is a message that waits for those before it.
type heldNumber struct {
	at  broker.Position
	raw []byte
}

// maxFillTurns bounds the rounds of a fill that bring nothing: what is published and what is kept contradict each other.
const maxFillTurns = 5

// numbered takes what the script published.
func (r *receiver) numbered(b []byte, f *frame, now int64) error {
	n, ok := parseNumbered(b)
	if !ok {
		return errCorrupt
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for n.count > 0 {
		raw, offset, ok := n.next()
		if !ok {
			return errCorrupt
		}
		if err := r.parseNumber(raw, f); err != nil {
			return err
		}
		if s := r.sequenceOf(f.Group); s != nil {
			r.place(s, f, raw, n.epoch, offset)
		}
	}
	r.tickLocked(now)
	return nil
}

// sequenceOf finds or makes the sequence of a group, nil where the Handler has no members there. It needs mu.
func (r *receiver) sequenceOf(group []byte) *sequence {
	s := r.sequences[string(group)]
	id, want := r.subs.wanted(group)
	if s != nil && (!want || s.sub != id) {
		r.dropSequence(s)
		s = nil
	}
	if s == nil && want {
		s = &sequence{group: string(group), sub: id}
		r.sequences[s.group] = s
	}
	return s
}

func (r *receiver) dropSequence(s *sequence) {
	delete(r.sequences, s.group)
	delete(r.filling, s)
}

// setFill sets s.fill. It needs mu.
func (r *receiver) setFill(s *sequence, f *fill) {
	if s.fill = f; f == nil {
		delete(r.filling, s)
	} else {
		r.filling[s] = struct{}{}
	}
}

// place delivers a message in its place, holds it, or drops it as a duplicate. It needs mu.
func (r *receiver) place(s *sequence, f *frame, raw, epoch []byte, offset uint64) {
	same := string(epoch) == s.at.Epoch
	switch {
	case s.fill != nil:
		s.fill.hold(epoch, offset, raw)
	case !s.known || same && offset == s.at.Offset+1:
		if !same {
			s.at.Epoch = string(epoch)
		}
		s.at.Offset = offset
		r.deliverNumbered(s, f)
	case same && offset <= s.at.Offset:
		r.stats.duplicates.Add(1)
	default:
		r.beginFill(s)
		s.fill.hold(epoch, offset, raw)
	}
}

func (f *fill) hold(epoch []byte, offset uint64, raw []byte) {
	if f.more || f.bytes+len(raw) > maxHeldBytes && len(f.held) > 0 {
		f.more = true
		return
	}
	if n := len(f.held); n > 0 && f.held[n-1].at.Epoch == string(epoch) {
		f.held = append(f.held, heldNumber{broker.Position{Epoch: f.held[n-1].at.Epoch, Offset: offset}, bytes.Clone(raw)})
	} else {
		f.held = append(f.held, heldNumber{broker.Position{Epoch: string(epoch), Offset: offset}, bytes.Clone(raw)})
	}
	f.bytes += len(raw)
}

// deliverNumbered delivers f, whose place is s.at. It needs mu.
func (r *receiver) deliverNumbered(s *sequence, f *frame) {
	s.known = true
	if s.lost {
		s.lost = false
		r.gap(s, broker.GapUnavailable, broker.Position{Epoch: s.at.Epoch, Offset: s.at.Offset - 1})
	}
	r.stats.received.Add(1)
	r.handler.DeliverNumbered(&f.Message, s.at)
	r.told.reach(s.group, s.at.Offset)
}

func (r *receiver) gap(s *sequence, reason broker.GapReason, at broker.Position) {
	switch reason {
	case broker.GapTrimmed:
		r.stats.gapsTrimmed.Add(1)
	case broker.GapEpoch:
		r.stats.gapsEpoch.Add(1)
	case broker.GapUnavailable:
		r.stats.gapsUnavailable.Add(1)
	}
	r.handler.Gap(s.group, broker.Gap{Reason: reason, Position: at})
}

// beginFill begins to read what follows s.at. It needs mu.
func (r *receiver) beginFill(s *sequence) {
	r.setFill(s, &fill{begun: r.now()})
	if !r.away {
		r.readOn(s, s.fill)
	}
}

// readOn reads the next page of a fill. It needs mu.
func (r *receiver) readOn(s *sequence, of *fill) {
	r.read(s.group, s.at, func(p *broker.Page, err error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.sequences[s.group] == s && s.fill == of {
			r.filled(s, p, err)
		}
	})
}

// filled takes a page of a fill. It needs mu.
func (r *receiver) filled(s *sequence, p *broker.Page, err error) {
	if r.sequenceOf([]byte(s.group)) != s {
		return // the last member left
	}
	of := s.fill
	if err != nil {
		if !r.away { // else it is read on the next connection
			s.lost = true
			r.endFill(s)
		}
		return
	}
	s.known, s.lost = true, false
	if p.Gap != nil {
		s.at = p.Gap.Position
		r.gap(s, p.Gap.Reason, s.at)
		r.told.reach(s.group, s.at.Offset)
		of.turns = 0
	}
	for i := range p.Messages {
		m := p.Messages[i].Message
		s.at = p.Messages[i].Position
		r.stats.filled.Add(1)
		r.deliverNumbered(s, &frame{Message: m})
		of.turns = 0
	}
	switch {
	case s.at.Offset < p.Last && len(p.Messages) > 0:
		r.readOn(s, of)
	case of.more:
		of.more = false
		r.readOn(s, of)
	default:
		s.at.Epoch = p.Epoch
		r.endFill(s)
	}
}

// endFill delivers what was held. It may begin another fill. It needs mu.
func (r *receiver) endFill(s *sequence) {
	of := s.fill
	r.setFill(s, nil)
	if of.turns++; of.turns > maxFillTurns {
		s.lost = true
	}
	var f frame
	for _, h := range of.held {
		if s.fill == nil && h.at.Offset <= s.at.Offset && !s.lost {
			r.stats.duplicates.Add(1)
			continue
		}
		if s.lost {
			s.known = false // whatever comes next
		}
		if r.parseNumber(h.raw, &f) == nil { // it was parsed before it was held
			r.place(s, &f, h.raw, []byte(h.at.Epoch), h.at.Offset)
		}
	}
	switch {
	case s.fill != nil:
		s.fill.turns = of.turns
	case s.lost:
		s.known = false
	}
	r.releaseFences()
}

// isFilling reports whether numbered messages may be missing that are yet to come. It needs mu.
func (r *receiver) isFilling(now int64) bool {
	for s := range r.filling {
		if now-s.fill.begun < int64(r.limits.fences) {
			return true
		}
	}
	return false
}

// sequencesAway has every sequence read on once there is a connection: what was held will come again. It needs mu.
func (r *receiver) sequencesAway() {
	for _, s := range r.sequences {
		if s.known || s.lost {
			r.setFill(s, &fill{begun: r.now()})
		}
	}
}

// sequencesJoined reads what may have been missed. It needs mu.
func (r *receiver) sequencesJoined() {
	r.joins.Add(1)
	for s := range r.filling {
		s.fill.begun = r.now()
		r.readOn(s, s.fill)
	}
}

// standing is what must not have changed between a question for the extent of a group and its answer.
type standing struct {
	sub  subscriptionID
	here bool // this instance had subscribed
	join int64
}

// stand is called before a group's extent is asked for.
func (r *receiver) stand(group string) standing {
	join := r.joins.Load()
	id, here := r.subs.confirmedID(group)
	return standing{id, here, join}
}

// follow has everything behind at delivered from now on. It is called when the extent is known that was asked for at from.
func (r *receiver) follow(group string, from standing, at broker.Position) {
	if !from.here {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.sequenceOf([]byte(group))
	if s == nil || s.known || s.sub != from.sub {
		return
	}
	s.known, s.lost, s.at = true, false, at
	r.told.reach(group, at.Offset)
	if r.away || r.joins.Load() != from.join {
		r.beginFill(s)
	}
}

// tickSequences forgets what belongs to no subscription. It needs mu.
func (r *receiver) tickSequences(now int64) {
	if now < r.nextSequences {
		return
	}
	r.nextSequences = now + int64(time.Second)
	for group, s := range r.sequences {
		if id, want := r.subs.wanted([]byte(group)); !want || s.sub != id {
			r.dropSequence(s)
		}
	}
}
