package hub

import (
	"context"
	"slices"
	"time"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/hub/internal/roster"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

// This file is what happens at the home of a watched group: what has come of loops and other instances goes to the watchers.

// home returns the loop's share.
func (sh *shard) home() *presence {
	if sh.presence == nil {
		p := &presence{
			shard: sh, groups: make(map[string]*watched), sent: make(map[streamKey]*outgoing), asked: make(map[uint64]*source),
		}
		p.tick = p.attend
		sh.presence = p
	}
	return sh.presence
}

// attend says what changed, and looks after what is due.
func (p *presence) attend(now time.Time) {
	for _, w := range p.groups {
		w.attend(now)
	}
	if p.reachable && now.Sub(p.beatAt) >= beatInterval {
		p.beatAt = now
		p.sendBeats()
	}
}

func (w *watched) attend(now time.Time) {
	w.endStreams()
	w.flushLedger(now)
	for _, s := range w.streams {
		s.goOn(now)
	}
	m := w.mirror
	if m == nil {
		w.drop()
		return
	}
	if len(m.watchers) == 0 && now.Sub(m.idle) >= lingerTime {
		w.unwatch()
		return
	}
	w.followOthers(now)
	w.judgeSize(now)
	switch {
	case !m.ready:
		w.begin(now)
	case m.counting:
		w.tellCount(now)
	default:
		w.tellChanges(now)
	}
	if m.ready {
		w.tellMissing(now)
	}
	if w.ledger.Changed() || m.roster.Changed() {
		w.presence.changedSoon()
	}
}

// flushLedger says what changed among the members here.
func (w *watched) flushLedger(now time.Time) {
	if !w.ledger.Changed() {
		return
	}
	ops := w.ledger.Flush(nil)
	for _, s := range w.streams {
		s.change(ops)
	}
	if w.mirror != nil && !w.mirror.counting {
		for i := range ops {
			w.mirror.apply(w.presence.shard.hub.node.ID, 0, &ops[i], now)
		}
	}
}

// watch begins the mirror, if it is not there yet.
func (w *watched) watch(now time.Time) *mirror {
	if w.mirror != nil {
		return w.mirror
	}
	h := w.presence.shard.hub
	w.mirror = &mirror{
		sources: make(map[broker.NodeID]*source), watchers: make(map[*watching]struct{}),
		live: make([][]*watching, len(h.shards)), limit: h.opts.PresenceMembers,
	}
	w.mirror.counting = w.group.staying() > w.mirror.limit
	w.restart(now)
	return w.mirror
}

// restart asks all instances for their members, or for their numbers where there are too many.
func (w *watched) restart(now time.Time) {
	m := w.mirror
	m.ready, m.since, m.roster, m.pages = false, now, roster.Roster{}, nil
	for loop := range m.live {
		m.live[loop] = nil
	}
	for watcher := range m.watchers {
		watcher.live, watcher.started = false, false
	}
	for _, s := range m.sources {
		w.presence.forget(s)
	}
	clear(m.sources)
	w.adjust()
	if !m.counting { // those that the ledger has told of already
		for page, next := []roster.Member(nil), roster.Start; next != 0; {
			page, next = w.ledger.Page(page[:0], next, maxFrame)
			for _, member := range page {
				m.roster.Put(uint32(w.presence.shard.hub.node.ID), 0, member)
			}
		}
	}
	w.followOthers(now)
	w.presence.changedSoon()
}

// unwatch ends the mirror: its last watcher has gone.
func (w *watched) unwatch() {
	for _, s := range w.mirror.sources {
		w.presence.forget(s)
		w.presence.cancel(s)
	}
	w.mirror = nil
	w.adjust()
	w.drop()
}

// judgeSize changes between members and their number.
func (w *watched) judgeSize(now time.Time) {
	m := w.mirror
	switch {
	case !m.counting && (m.roster.Len() > m.limit || w.forcedLimit()):
		m.counting = true
		m.count, m.countAt = m.roster.Len(), now
		w.restart(now)
	case m.counting && m.ready && m.settled() && w.total() < m.limit*4/5:
		m.counting = false
		w.restart(now)
	}
}

// forcedLimit reports whether an instance names no members because it has too many by its own limit, and takes that limit
// over.
func (w *watched) forcedLimit() (forced bool) {
	for _, s := range w.mirror.sources {
		if s.large {
			forced = true
			w.mirror.limit = min(w.mirror.limit, s.count)
		}
	}
	return forced
}

// settled reports whether every instance has answered that can.
func (m *mirror) settled() bool {
	for _, s := range m.sources {
		if !s.settled && !s.old {
			return false
		}
	}
	return true
}

// total returns the number of members, as far as it is known.
func (w *watched) total() int {
	if !w.mirror.counting {
		return w.mirror.roster.Len()
	}
	n := w.group.staying()
	for _, s := range w.mirror.sources {
		n += s.count
	}
	return n
}

// begin tells the watchers who is there, once all instances have answered or had the time to.
func (w *watched) begin(now time.Time) {
	m := w.mirror
	if w.listing > 0 || !m.settled() && now.Sub(m.since) < answerTime {
		return
	}
	m.ready = true
	for m.roster.Changed() {
		if len(m.roster.Flush(nil, maxChange, now)) == 0 {
			break // what is left waits for something
		}
	}
	m.missing = w.missing(now)
	m.count, m.countAt = w.total(), now
	for watcher := range m.watchers {
		w.start(watcher)
	}
}

// tellCount tells the watchers of a large group how many members it has.
func (w *watched) tellCount(now time.Time) {
	m := w.mirror
	n := w.total()
	if n == m.count || now.Sub(m.countAt) < countInterval {
		return
	}
	m.count, m.countAt = n, now
	w.toAll(&opcodes.PresenceData{Group: w.name, Counts: true, Count: n})
}

// tellMissing tells the watchers which instances don't answer.
func (w *watched) tellMissing(now time.Time) {
	missing := w.missing(now)
	if slices.Equal(missing, w.mirror.missing) {
		return
	}
	w.mirror.missing = missing
	w.toAll(&opcodes.PresenceData{Group: w.name, Missing: missing})
}

// missing returns the names of the instances that don't answer, sorted.
func (w *watched) missing(now time.Time) []string {
	names := []string{}
	for id, s := range w.mirror.sources {
		if s.isMissing(now) {
			names = append(names, nameIn(w.presence.nodes, id))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// tellChanges tells the watchers what changed.
func (w *watched) tellChanges(now time.Time) {
	m := w.mirror
	if !m.roster.Changed() {
		return
	}
	changes := m.roster.Flush(nil, maxChange, now)
	if len(changes) == 0 {
		return
	}
	m.pages = nil
	var whole *transport.Buffer
	for loop, live := range m.live {
		if len(live) > 0 {
			if whole == nil {
				whole = w.encodeChanges(changes)
			}
			w.toLoop(w.presence.shard.hub.shards[loop], &parcel{buf: whole, to: live})
		}
	}
	if whole != nil {
		whole.Release()
	}
	for watcher := range m.watchers {
		if watcher.started && !watcher.live {
			w.tellReader(watcher, changes)
		}
	}
}

// tellReader tells a watcher that reads the snapshot what changed of the part that it has, and what is newer than the
// snapshot.
func (w *watched) tellReader(watcher *watching, changes []roster.Change) {
	var mine []roster.Change
	for _, c := range changes {
		if c.Position <= watcher.after || c.Position > watcher.until {
			mine = append(mine, c)
		}
	}
	if len(mine) > 0 {
		b := w.encodeChanges(mine)
		w.toLoop(watcher.session.shard, &parcel{buf: b, to: []*watching{watcher}})
		b.Release()
	}
}

// encodeChanges makes a message of changes.
func (w *watched) encodeChanges(changes []roster.Change) *transport.Buffer {
	d := opcodes.PresenceData{Group: w.name}
	for i := range changes {
		switch c := &changes[i]; c.Kind {
		case roster.Joined:
			d.Joined = append(d.Joined, c.About)
		case roster.Left:
			d.Left = append(d.Left, opcodes.PresenceLeft{ID: c.ID, Reason: c.Reason})
		case roster.Moved:
			d.Moved = append(d.Moved, opcodes.PresenceMoved{From: c.ID, To: c.About})
		case roster.Updated:
			d.Updated = append(d.Updated, c.About)
		}
	}
	return encodePresence(&d)
}

// toAll sends a message to all watchers that were told who is there.
func (w *watched) toAll(d *opcodes.PresenceData) {
	byLoop := make([][]*watching, len(w.mirror.live))
	for watcher := range w.mirror.watchers {
		if watcher.started {
			loop := watcher.session.shard.index
			byLoop[loop] = append(byLoop[loop], watcher)
		}
	}
	b := encodePresence(d)
	for loop, to := range byLoop {
		if len(to) > 0 {
			w.toLoop(w.presence.shard.hub.shards[loop], &parcel{buf: b, to: to})
		}
	}
	b.Release()
}

// beginWatch adds a watcher to the group's mirror.
func (p *presence) beginWatch(watcher *watching) {
	now := time.Now()
	p.look(now)
	w := p.find(watcher.group)
	m := w.watch(now)
	m.watchers[watcher] = struct{}{}
	if m.ready {
		w.start(watcher)
	}
}

// endWatch takes a watcher from the group's mirror.
func (p *presence) endWatch(watcher *watching) {
	w := p.groups[watcher.group]
	if w == nil || w.mirror == nil {
		return
	}
	delete(w.mirror.watchers, watcher)
	w.mirror.leaveLive(watcher)
	w.mirror.idle = time.Now()
}

// leaveLive takes the watcher from those that get changes as they come.
func (m *mirror) leaveLive(watcher *watching) {
	if watcher.live {
		watcher.live = false
		loop := watcher.session.shard.index
		m.live[loop] = slices.DeleteFunc(slices.Clone(m.live[loop]), func(o *watching) bool { return o == watcher })
	}
}

// start tells a watcher who is there, or how many, from the beginning.
func (w *watched) start(watcher *watching) {
	m := w.mirror
	watcher.started, watcher.after, watcher.until = true, 0, m.roster.Last()
	if m.counting {
		w.toOne(watcher, &opcodes.PresenceData{Group: w.name, Counts: true, Count: m.count})
		w.tellMissingTo(watcher)
		return
	}
	w.turnPage(watcher)
}

// startAgain starts a watcher that did not keep up. The count says that what it knows counts no more.
func (p *presence) startAgain(watcher *watching) {
	w := p.groups[watcher.group]
	if w == nil || w.mirror == nil {
		return
	}
	m := w.mirror
	m.leaveLive(watcher)
	p.shard.count.presence.restarts.Add(1)
	n := m.roster.Len()
	if m.counting {
		n = m.count
	}
	b := encodePresence(&opcodes.PresenceData{Group: w.name, Counts: true, Count: n})
	w.toLoop(watcher.session.shard, &parcel{buf: b, to: []*watching{watcher}, start: true})
	b.Release()
	switch {
	case !watcher.started: // begin starts it
	case m.counting:
		w.tellMissingTo(watcher)
	default:
		w.start(watcher)
	}
}

// readOn sends a watcher the next page: it has read the one before.
func (p *presence) readOn(watcher *watching) {
	if w := p.groups[watcher.group]; w != nil && w.mirror != nil && watcher.started && !watcher.live && !w.mirror.counting {
		w.turnPage(watcher)
	}
}

// turnPage sends a watcher the next page of the snapshot. With the last one it is live.
func (w *watched) turnPage(watcher *watching) {
	m := w.mirror
	next := m.pages[watcher.after]
	if next == nil || watcher.until != m.roster.Last() {
		next = w.makePage(watcher)
	}
	watcher.after = next.last
	w.toLoop(watcher.session.shard, &parcel{buf: next.buf, to: []*watching{watcher}, more: next.more})
	if next.more {
		return
	}
	watcher.live = true
	loop := watcher.session.shard.index
	m.live[loop] = append(slices.Clone(m.live[loop]), watcher)
	w.tellMissingTo(watcher)
}

// makePage makes the watcher's next page, and keeps it where others may need it.
func (w *watched) makePage(watcher *watching) *page {
	m := w.mirror
	d := opcodes.PresenceData{Group: w.name, Snapshot: true}
	next := &page{}
	d.Members, next.last, next.more = m.roster.Page(nil, watcher.after, watcher.until, maxFrame-opcodes.PresenceSize(&d))
	d.Complete = !next.more
	next.buf = encodePresence(&d) // the page's reference ends with the page: its memory is left to the garbage collector
	if watcher.until == m.roster.Last() {
		if m.pages == nil || len(m.pages) >= keptPages {
			m.pages = make(map[uint64]*page)
		}
		m.pages[watcher.after] = next
	}
	return next
}

// tellMissingTo tells a watcher which instances don't answer, if any.
func (w *watched) tellMissingTo(watcher *watching) {
	if len(w.mirror.missing) > 0 {
		w.toOne(watcher, &opcodes.PresenceData{Group: w.name, Missing: w.mirror.missing})
	}
}

// toOne sends a message to one watcher.
func (w *watched) toOne(watcher *watching, d *opcodes.PresenceData) {
	b := encodePresence(d)
	w.toLoop(watcher.session.shard, &parcel{buf: b, to: []*watching{watcher}})
	b.Release()
}

// keptPages is how many pages are kept for watchers that read them soon after another.
const keptPages = 16

// Deliver implements transport.Mail.
func (m *presenceMail) Deliver(*transport.Loop) { m.shard.home().receive(m, time.Now()) }

// Size implements transport.Mail.
func (m *presenceMail) Size() int { return len(m.b) + len(m.group) }

// receivePresence takes a message of another instance to the home that it is for.
func (h *Hub) receivePresence(m *broker.Message) {
	o := &presenceMail{from: m.From, group: string(m.Group), b: append([]byte(nil), m.Payload...)}
	switch {
	case o.group != "":
		o.shard = h.homeOf(o.group)
	case m.Seq < uint64(len(h.shards)):
		o.shard = h.shards[m.Seq]
	default:
		return
	}
	o.shard.loop.PostWait(o)
}

// watchersOf returns how many clients of this instance watch the group.
func (h *Hub) watchersOf(ctx context.Context, group string) (int, error) {
	sh := h.homeOf(group)
	result := make(chan int, 1) // has room for the result: the asker may have given up
	posted := sh.loop.Post(task(func() {
		n := 0
		if sh.presence != nil {
			if w := sh.presence.groups[group]; w != nil && w.mirror != nil {
				n = len(w.mirror.watchers)
			}
		}
		result <- n
	}))
	if !posted {
		return 0, ErrDraining
	}
	return receive(ctx, result)
}
