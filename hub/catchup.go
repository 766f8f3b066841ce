package hub

import (
	"slices"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

// This file brings members of groups with history what they missed. A member that recovers is a member like any other, save
// that numbered messages pass it by. It reads pages of the history from the broker, one at a time over all of its groups,
// the next when it has read what it was sent. So recovery is as fast as the client reads, and what waits for it is bounded:
//
//   - for a client by a page, and by half of its send queue;
//   - on a loop by maxReads pages that are asked for, and by maxRecovering bytes that were queued and not read yet. What a
//     loop makes of the last pages is shared by all that read the same ones.
//
// A member goes over to live in the step in which a page ends where the loop is, or within the last messages that the loop
// has delivered. A page that ends further on makes it live, too: it passes over what it has when that comes.
//
// A new epoch, or a gap, while a page is on its way makes the member ask again, as its position may be void.

const (
	// maxReads is how many pages a loop asks for at the same time.
	maxReads = 8
	// maxRecovering bounds what a loop has queued for members that recover, in bytes.
	maxRecovering = 32 << 20
	// sentPages is how many pages a loop keeps as it sends them.
	sentPages = 4
	// readRetry is the time between two attempts to read, and readTimeout that after which it is given up; in milliseconds.
	readRetry   = 500
	readTimeout = 30_000
)

// catchup is the recovery of one member. It belongs to the member's loop.
type catchup struct {
	session *session
	group   *group
	pos     broker.Position // behind what the client has
	told    string          // the epoch that the client knows

	measure   bool // its position is not known: it begins where the history ends
	reading   bool // a page is on its way
	queued    bool // it waits for one of the loop's reads
	breaks    uint32
	failing   bool
	failedAt  uint32 // loop clock at the first of the attempts that failed
	attemptAt uint32 // loop clock at the last attempt
	live      bool   // it goes on with what comes behind pos
	passed    bool   // live: what comes next is not behind pos
	over      bool
}

// recovering is what a loop does for members that recover.
type recovering struct {
	reads   int // under way
	bytes   int // queued for members, and not read yet
	waiting []*catchup
	pages   [sentPages]sentPage
	next    int
}

// sentPage is a page as the loop sends it. Pages of readers that are at different places of one page end with the same
// message in memory.
type sentPage struct {
	last *broker.Numbered
	bufs []*transport.Buffer // from the last message to the first; nil for one that was not sent yet
}

// recover makes the member read on from pos.
func (s *session) recover(r *catchup) {
	t := s.shard.timelineOf(r.group)
	s.stopRecovering(t)
	if t.readers == nil {
		t.readers = make(map[*session]*catchup)
	}
	t.readers[s] = r
	t.behind++
	o := s.others()
	o.readers = append(o.readers, r)
	s.shard.count.history.readers.Add(1)
	s.pull()
}

// stopRecovering ends the member's recovery, if it recovers.
func (s *session) stopRecovering(t *timeline) {
	r := t.readers[s]
	if r == nil {
		return
	}
	delete(t.readers, s)
	r.over = true
	if !r.live {
		r.isNotBehind(t)
		s.dropReader(r)
	}
}

// isNotBehind counts the member as one that does not recover any more.
func (r *catchup) isNotBehind(t *timeline) {
	sh := r.session.shard
	sh.count.history.readers.Add(-1)
	if t.behind--; t.behind == 0 {
		t.forget(sh)
	}
}

// dropReader takes the reader out of the client's queue, and lets the next one go on.
func (s *session) dropReader(r *catchup) {
	if i := slices.Index(s.extra().readers, r); i >= 0 {
		x := s.others()
		x.readers = slices.Delete(x.readers, i, i+1)
		if i == 0 {
			s.pull()
		}
	}
}

// endReaders forgets what a client, which is over, had queued by recovering.
func (s *session) endReaders() {
	if len(s.extra().readers) > 0 {
		s.others().readers = nil
	}
	s.uncharge()
}

// uncharge notes that the client has read what it was sent.
func (s *session) uncharge() {
	if n := s.extra().recovered; n > 0 {
		s.others().recovered = 0
		s.shard.recovering.bytes -= n
		s.shard.serveReaders()
	}
}

// pull has the client's first reader read the next page, if the client has read what it was sent.
func (s *session) pull() {
	if len(s.extra().readers) == 0 && s.extra().recovered == 0 {
		return
	}
	if s.conn.QueueLoad() >= readOn {
		s.conn.NotifyBelow(readOn)
		return
	}
	s.uncharge()
	if s.phase != phaseIdentified || len(s.extra().readers) == 0 {
		return
	}
	r := s.extra().readers[0]
	now := s.shard.loop.Clock()
	if r.reading || r.queued || r.failing && now-r.attemptAt < readRetry {
		return
	}
	r.queued = true
	sh := s.shard
	sh.recovering.waiting = append(sh.recovering.waiting, r)
	sh.serveReaders()
}

// serveReaders asks for the pages of those readers whose turn it is.
func (sh *shard) serveReaders() {
	c := &sh.recovering
	for len(c.waiting) > 0 && c.reads < maxReads && c.bytes < maxRecovering {
		r := c.waiting[0]
		c.waiting[0] = nil
		c.waiting = c.waiting[1:]
		if r.queued = false; !r.over {
			r.read()
		}
	}
	sh.tidyPages()
}

// read asks the broker for the next page.
func (r *catchup) read() {
	s := r.session
	sh := s.shard
	r.reading = true
	r.breaks = sh.timelineOf(r.group).breaks
	r.attemptAt = sh.loop.Clock()
	sh.recovering.reads++
	if r.measure {
		sh.hub.broker.Extent(r.group.name, sh.hub.limitsOf(r.group), func(e broker.Extent, err error) {
			sh.loop.Post(&pageMail{r, &broker.Page{Extent: e}, err})
		})
		return
	}
	sh.hub.broker.Read(r.group.name, r.pos, func(p *broker.Page, err error) { sh.loop.Post(&pageMail{r, p, err}) })
}

// limitsOf returns the limits of a group with history: for one that has none any more, those that leave it as it is for now.
func (h *Hub) limitsOf(g *group) broker.Limits {
	if c := h.chronicles.find([]byte(g.name)); c != nil {
		return c.Limits
	}
	return unruled
}

// pageMail brings a page to the loop of its reader.
type pageMail struct {
	reader *catchup
	page   *broker.Page
	err    error
}

// Size implements transport.Mail.
func (m *pageMail) Size() int { return 64 }

// Deliver implements transport.Mail.
func (m *pageMail) Deliver(*transport.Loop) {
	r := m.reader
	sh := r.session.shard
	sh.recovering.reads--
	if r.reading = false; !r.over {
		r.take(m.page, m.err)
	}
	sh.serveReaders()
}

// take sends the client what the page has.
func (r *catchup) take(p *broker.Page, err error) {
	s := r.session
	t := s.shard.timelineOf(r.group)
	if err != nil {
		r.fail(t)
		return
	}
	r.failing = false
	if r.told == "" {
		r.told = p.Epoch
	}
	if r.measure {
		r.measure = false
		r.pos, r.told = broker.Position{Epoch: p.Epoch, Offset: p.Last}, p.Epoch
	}
	if t.breaks != r.breaks && len(p.Messages) == 0 { // the page may say nothing of it
		s.pull()
		return
	}
	if p.Gap != nil {
		r.skip(p.Gap.Reason, p.Gap.Position)
	}
	if p.Gap == nil && len(p.Messages) == 0 {
		r.pos = broker.Position{Epoch: r.told, Offset: p.Last}
	}
	if !r.send(p) {
		s.pull()
		return
	}
	if t.breaks != r.breaks || !r.goOver(t, p.Last) {
		s.pull()
	}
}

// fail tries again later or, where nothing could be read for long, gives up what is behind the client's position.
func (r *catchup) fail(t *timeline) {
	s := r.session
	now := s.shard.loop.Clock()
	if !r.failing {
		r.failing, r.failedAt = true, now
	}
	if now-r.failedAt < readTimeout || !t.known {
		return // the sweep pulls again
	}
	r.skip(broker.GapUnavailable, t.at)
	r.finish(t)
}

// skip tells the client of a gap, behind which it goes on.
func (r *catchup) skip(reason broker.GapReason, to broker.Position) {
	d := gapData(reason, to)
	d.Group = r.group.name
	r.session.sendHistory(d)
	r.session.shard.count.history.gaps[reason-1].Add(1)
	r.pos, r.told = to, to.Epoch
}

// send queues the page's messages for the client, and reports whether there was room for all.
func (r *catchup) send(p *broker.Page) bool {
	s := r.session
	bufs := s.shard.sentPageOf(p)
	for i := range p.Messages {
		at := len(p.Messages) - 1 - i
		m := &p.Messages[i]
		if m.Offset <= r.pos.Offset { // read twice
			continue
		}
		if !r.sendOne(m.Position, m.Message.Sender, func() *transport.Buffer {
			if bufs[at] == nil {
				b := transport.AllocBuffer(opcodes.NumberedSize(m.Message.Payload))
				b.Seal(opcodes.AppendNumbered(b.Room(), m.Message.Payload, m.Offset))
				bufs[at] = b
			}
			return bufs[at]
		}) {
			return false
		}
	}
	return true
}

// sendOne queues a message for the client, and reports whether there was room.
func (r *catchup) sendOne(at broker.Position, sender uuid.UUID, message func() *transport.Buffer) bool {
	s := r.session
	sh := s.shard
	if s.conn.QueueLoad() > sh.hub.opts.Transport.SendQueueBytes/2 {
		return false
	}
	if at.Epoch != r.told {
		s.sendHistory(&opcodes.HistoryData{
			Group: r.group.name, Position: opcodes.Position{Epoch: at.Epoch, Offset: at.Offset - 1},
		})
		r.told = at.Epoch
	}
	if !s.noEcho || sender != s.id {
		b := message()
		if len(b.Payload()) > 0 {
			if !s.conn.Send(b) {
				return false // it is being disconnected
			}
			n := len(b.Payload())
			sh.count.types[0].deliveries.Add(1)
			sh.count.history.recovered.Add(1)
			sh.count.history.recoveredBytes.Add(uint64(n))
			s.others().recovered += n
			sh.recovering.bytes += n
		}
	}
	r.pos = at
	return true
}

// goOver makes the client live if it has everything that its loop has delivered, and reports whether it did. last is the
// number of the newest message when the page was read.
func (r *catchup) goOver(t *timeline, last uint64) bool {
	if r.pos.Offset < last {
		return false
	}
	if r.pos.Offset < t.at.Offset {
		if len(t.recent) == 0 || t.recent[0].at.Offset > r.pos.Offset+1 {
			return false
		}
		for _, m := range t.recent {
			if m.at.Offset > r.pos.Offset && !r.sendOne(m.at, m.sender, func() *transport.Buffer { return m.buf }) {
				return false
			}
		}
	}
	r.finish(t)
	return true
}

// finish makes the client live.
func (r *catchup) finish(t *timeline) {
	s := r.session
	s.sendHistory(&opcodes.HistoryData{
		Group: r.group.name, Position: opcodes.Position{Epoch: r.told, Offset: r.pos.Offset}, Live: true,
	})
	s.shard.count.history.caughtUp.Add(1)
	r.pos.Epoch = r.told
	if !t.known {
		t.at, t.known = r.pos, true
	}
	if r.live = r.pos.Offset > t.at.Offset; !r.live {
		r.over = true
		delete(t.readers, s)
	}
	r.isNotBehind(t)
	s.dropReader(r)
}

// sentPageOf returns the page's messages as the loop sends them, nil where it has not sent one yet.
func (sh *shard) sentPageOf(p *broker.Page) []*transport.Buffer {
	if len(p.Messages) == 0 {
		return nil
	}
	c := &sh.recovering
	last := &p.Messages[len(p.Messages)-1]
	i := slices.IndexFunc(c.pages[:], func(k sentPage) bool { return k.last == last })
	if i < 0 {
		i = c.next
		c.next = (c.next + 1) % sentPages
		c.pages[i].release()
		c.pages[i].last = last
	}
	kept := &c.pages[i]
	if n := len(p.Messages) - len(kept.bufs); n > 0 {
		kept.bufs = append(kept.bufs, make([]*transport.Buffer, n)...)
	}
	return kept.bufs
}

func (k *sentPage) release() {
	for _, b := range k.bufs {
		if b != nil {
			b.Release()
		}
	}
	*k = sentPage{}
}

// tidyPages drops the pages that are kept while no member recovers.
func (sh *shard) tidyPages() {
	if c := &sh.recovering; c.reads == 0 && len(c.waiting) == 0 && c.bytes == 0 {
		for i := range c.pages {
			c.pages[i].release()
		}
	}
}
