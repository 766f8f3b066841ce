package redis

import (
	"bytes"
	"time"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/internal/deque"
)

// sequence is a group with history to which this instance has subscribed: how far its messages were delivered. A message is
// delivered if it is the next one. When it is not, those before it are read from the stream, and what comes meanwhile is
// held. It is guarded by receiver.mu.
type sequence struct {
	group string
	sub   subscriptionID
	known bool // what was before the next message: at
	at    broker.Position
	fill  *fill // nil: nothing is missing, and nothing waits
	lost  bool  // messages before the next one couldn't be read
}

// fill is the wait for messages that were, or may have been, missed. What was read or came behind it is queued, and
// delivered at once, unless a merge puts it in order with other messages.
type fill struct {
	begun  int64
	to     broker.Position // of the last message that was queued
	any    bool            // whatever comes next follows to
	lost   bool            // so it does, and messages before it couldn't be read
	loaded bool            // nothing is missing before what comes next
	queue  deque.Deque[queued]

	held  []heldNumber // came, and wait for those before them
	bytes int          // of held
	asked int          // the first ones of held, which were there when the last reading began
	more  bool         // some found no room in held: they are read, too
	turns int          // of reading without a message, since the last one
}

// heldNumber is a message that waits for those before it.
type heldNumber struct {
	at  broker.Position
	raw []byte
}

// queued is a message, or a gap, whose place is known.
type queued struct {
	at      broker.Position
	message broker.Message
	by      publication
	gap     broker.GapReason // zero: a message
	lost    bool             // messages before this one couldn't be read
	read    bool             // from the stream
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
			r.mergeFor(f, now)
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
	r.setFill(s, nil)
}

// setFill sets s.fill. What the one before had queued is dropped. It needs mu.
func (r *receiver) setFill(s *sequence, f *fill) {
	if s.fill != nil && r.merge != nil {
		r.merge.drop(s)
	}
	if s.fill = f; f == nil {
		delete(r.filling, s)
	} else {
		r.filling[s] = struct{}{}
	}
}

// place delivers a message in its place, holds it, or drops it as a duplicate. It needs mu.
func (r *receiver) place(s *sequence, f *frame, raw, epoch []byte, offset uint64) {
	same := string(epoch) == s.at.Epoch
	if s.fill == nil && r.merge != nil { // the members are new
		r.setFill(s, &fill{begun: r.now(), to: s.at, any: !s.known, lost: s.lost, loaded: true})
	}
	switch {
	case s.fill != nil:
		s.fill.hold(epoch, offset, raw)
		if s.fill.loaded {
			r.advance(s)
		}
	case !s.known || same && offset == s.at.Offset+1:
		if !same {
			s.at.Epoch = string(epoch)
		}
		s.at.Offset = offset
		r.deliverNumbered(s, &f.Message)
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

// deliverNumbered delivers m, whose place is s.at. It needs mu.
func (r *receiver) deliverNumbered(s *sequence, m *broker.Message) {
	s.known = true
	if s.lost {
		s.lost = false
		r.gap(s, broker.GapUnavailable, broker.Position{Epoch: s.at.Epoch, Offset: s.at.Offset - 1})
	}
	r.stats.received.Add(1)
	r.handler.DeliverNumbered(m, s.at)
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
	r.setFill(s, &fill{begun: r.now(), to: s.at})
	r.readOn(s)
}

// readOn reads the next page of a fill. It needs mu.
func (r *receiver) readOn(s *sequence) {
	of := s.fill
	of.loaded, of.asked = false, len(of.held)
	if r.away {
		return // it is read on the next connection
	}
	r.read(s.group, of.to, func(p *broker.Page, by []publication, err error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.sequences[s.group] == s && s.fill == of {
			r.filled(s, p, by, err)
		}
	})
}

// filled takes a page of a fill. It needs mu.
func (r *receiver) filled(s *sequence, p *broker.Page, by []publication, err error) {
	if r.sequenceOf([]byte(s.group)) != s {
		return // the last member left
	}
	of := s.fill
	if err != nil {
		if !r.away { // else it is read on the next connection
			of.lost = true
			r.advance(s)
		}
		return
	}
	of.lost = false
	if r.merge != nil {
		r.merge.marked, r.merge.caught = 0, false
	}
	if p.Gap != nil {
		of.to, of.turns = p.Gap.Position, 0
		r.enqueue(s, queued{at: of.to, gap: p.Gap.Reason})
	}
	for i := range p.Messages {
		of.to, of.turns = p.Messages[i].Position, 0
		r.enqueue(s, queued{at: of.to, message: p.Messages[i].Message, by: by[i], read: true})
	}
	switch {
	case of.to.Offset < p.Last && len(p.Messages) > 0:
		r.readOn(s)
		r.deliverQueued(s)
	case of.more:
		of.more = false
		r.readOn(s)
		r.deliverQueued(s)
	default:
		of.to.Epoch = p.Epoch
		r.advance(s)
	}
}

// advance queues what is held as far as nothing is missing before it, and reads on where something is. It needs mu.
func (r *receiver) advance(s *sequence) {
	of := s.fill
	of.loaded = true
	var f frame
	for i, h := range of.held {
		q := queued{at: h.at}
		switch {
		case of.any:
			of.any = false
			s.known, s.at = true, broker.Position{Epoch: h.at.Epoch, Offset: h.at.Offset - 1}
		case of.lost:
			q.lost, of.lost = true, false
		case h.at.Epoch == of.to.Epoch && h.at.Offset == of.to.Offset+1:
		case h.at.Offset <= of.to.Offset && (h.at.Epoch == of.to.Epoch || i < of.asked):
			r.stats.duplicates.Add(1)
			continue
		default:
			if of.turns++; of.turns <= maxFillTurns {
				of.held = of.held[i:]
				r.readOn(s)
				r.deliverQueued(s)
				return
			}
			q.lost = true
		}
		if r.parseNumber(h.raw, &f) == nil { // it was parsed before it was held
			of.to, of.turns = h.at, 0
			q.message, q.by = f.Message, publication{f.run, f.pubSeq}
			r.enqueue(s, q)
		}
	}
	of.held, of.bytes, of.asked = nil, 0, 0
	if of.more { // what found no room came behind them
		of.more = false
		r.readOn(s)
	}
	r.deliverQueued(s)
}

// enqueue puts q behind what waits for its delivery. It needs mu.
func (r *receiver) enqueue(s *sequence, q queued) {
	s.fill.queue.PushBack(q)
	if r.merge != nil {
		r.merge.add(s, &q)
	}
}

// deliverQueued delivers what is queued, at once or in its turn. It needs mu.
func (r *receiver) deliverQueued(s *sequence) {
	if r.merge != nil {
		r.mergeOn()
		return
	}
	for s.fill != nil && s.fill.queue.Len() > 0 {
		r.deliverFirst(s)
	}
	r.endFill(s)
}

// deliverFirst delivers the first of what is queued. It needs mu.
func (r *receiver) deliverFirst(s *sequence) {
	q := &r.turn
	*q, _ = s.fill.queue.PopFront()
	if r.merge != nil {
		r.merge.remove(q)
	}
	s.at = q.at
	if q.gap != 0 {
		s.known, s.lost = true, false
		r.gap(s, q.gap, q.at)
		r.told.reach(s.group, q.at.Offset)
		return
	}
	if s.lost = q.lost; q.read {
		r.stats.filled.Add(1)
	}
	r.deliverNumbered(s, &q.message)
}

// endFill ends the fill of s where nothing is missing and nothing waits. It needs mu.
func (r *receiver) endFill(s *sequence) {
	of := s.fill
	if of == nil || !of.loaded || of.queue.Len() > 0 {
		return
	}
	s.at, s.lost, s.known = of.to, of.lost, !of.lost && !of.any
	r.setFill(s, nil)
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
			r.setFill(s, &fill{begun: r.now(), to: s.at})
		} else {
			r.setFill(s, nil)
		}
	}
}

// sequencesJoined reads what may have been missed. It needs mu.
func (r *receiver) sequencesJoined() {
	r.joins.Add(1)
	for s := range r.filling {
		if s.fill.begun = r.now(); !s.fill.loaded {
			r.readOn(s)
		}
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
	switch {
	case r.away || r.joins.Load() != from.join:
		r.beginFill(s)
	case s.fill != nil: // nothing came yet
		s.fill.to, s.fill.any = at, false
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
