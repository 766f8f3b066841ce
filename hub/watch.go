package hub

import (
	"slices"

	"github.com/mastersocket/mastersocket/intent"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

// This file is the clients that watch groups. What a watcher is told is made at the group's home, and queued on the watcher's
// own loop. A snapshot goes page by page, each when the watcher has read the one before. A watcher that does not keep up with
// the changes is sent none until it does, and then a new snapshot.

// maxWatched is how many groups a client may watch.
const maxWatched = 64

// readOn is the backlog, in bytes, below which a watcher counts as one that has read what it was sent.
const readOn = 16 << 10

// watch makes the client watch groups that it does not watch yet.
func (s *session) watch(names []string) {
	for _, name := range names {
		if s.watchOf(name) >= 0 {
			continue
		}
		w := &watching{session: s, group: name, home: s.shard.hub.homeOf(name)}
		o := s.others()
		o.watches = append(o.watches, w)
		s.shard.count.presence.watchers.Add(1)
		s.toHome(w, (*presence).beginWatch)
	}
}

// watchOf returns the place of a group among those that the client watches, -1 for none.
func (s *session) watchOf(name string) int {
	return slices.IndexFunc(s.watches(), func(w *watching) bool { return w.group == name })
}

// watches returns what the client watches.
func (s *session) watches() []*watching { return s.extra().watches }

// unwatch ends the watching of groups.
func (s *session) unwatch(names []string) {
	for _, name := range names {
		if i := s.watchOf(name); i >= 0 {
			o := s.others()
			s.endWatch(o.watches[i])
			o.watches = slices.Delete(o.watches, i, i+1)
		}
	}
	s.readFurther() // the page that others wait for may have been one of these
}

// unwatchAll ends all watching of a client that ends.
func (s *session) unwatchAll() {
	for _, w := range s.watches() {
		s.endWatch(w)
	}
	if s.watches() != nil {
		s.others().watches = nil
	}
}

func (s *session) endWatch(w *watching) {
	w.over = true
	s.shard.count.presence.watchers.Add(-1)
	s.toHome(w, (*presence).endWatch)
}

// toHome has f called on the home's loop, behind what the client's loop has sent there before.
func (s *session) toHome(w *watching, f func(*presence, *watching)) {
	s.shard.loop.Forward(w.home.loop, task(func() { f(w.home.home(), w) }))
}

// watchedGroups is the changePart of the groups that clients watch.
type watchedGroups struct{}

func (watchedGroups) check(c *change) *ChangeError {
	s := c.session
	names := c.toWatch()
	if c.op == opcodes.Unsubscribe {
		return nil
	}
	n := len(s.watches())
	for _, name := range names {
		if !s.mayWatch(name) {
			return &ChangeError{opcodes.CodeForbidden, name}
		}
		if s.watchOf(name) < 0 {
			n++
		}
		if n > maxWatched {
			return &ChangeError{opcodes.CodeTooManyGroups, name}
		}
	}
	return nil
}

func (watchedGroups) acquire(*change) {}

func (watchedGroups) release(*change) {}

func (watchedGroups) leave(c *change) { c.session.unwatch(c.toWatch()) }

func (watchedGroups) answer(c *change, a *opcodes.Changed) { a.Watch = c.toWatch() }

func (watchedGroups) enter(c *change) {
	s := c.session
	if c.op == opcodes.Identify && s.isHidden() {
		s.extra().moving.since = s.shard.loop.Clock()
	}
	s.watch(c.toWatch())
}

// toWatch returns the groups that the client wants to watch, or to watch no more. For a client without the feature these are
// names without a meaning.
func (c *change) toWatch() []string {
	if !c.session.features.Has(opcodes.FeaturePresence) {
		return nil
	}
	return c.asked.Watch
}

// mayWatch reports whether the client may watch the group with the rights that it has.
func (s *session) mayWatch(name string) bool {
	return intent.CheckGroup(name) == nil && s.grant != nil && s.grant.MayWatch(name)
}

// Deliver implements transport.Mail: it queues the message for its watchers on their loop.
func (m *parcel) Deliver(*transport.Loop) {
	for _, w := range m.to {
		if !w.over {
			w.deliver(m)
		}
	}
	m.buf.Release()
}

// Size implements transport.Mail.
func (m *parcel) Size() int { return len(m.buf.Payload()) + 8*len(m.to) }

// deliver queues a message for the watcher, unless it does not keep up.
func (w *watching) deliver(m *parcel) {
	s := w.session
	if m.start {
		w.lagging = false
	}
	if w.lagging {
		return
	}
	backlog := s.conn.QueueBytes()
	if backlog > 0 && backlog+len(m.buf.Payload()) > s.shard.hub.opts.Transport.SendQueueBytes/2 {
		w.lagging = true
		s.awaitRead(w)
		return
	}
	if s.conn.Send(m.buf) {
		s.shard.count.presence.frames.Add(1)
	}
	if m.more {
		s.awaitRead(w)
	} else {
		s.readFurther()
	}
}

// awaitRead has the watcher go on when the client has read what it was sent.
func (s *session) awaitRead(w *watching) {
	if !w.waits {
		w.waits = true
		o := s.others()
		o.reading = append(o.reading, w)
	}
	s.readFurther()
}

// readFurther lets the first watcher go on that waits for the client to read, if it has.
func (s *session) readFurther() {
	if len(s.extra().reading) == 0 {
		return
	}
	if s.conn.QueueLoad() >= readOn {
		s.conn.NotifyBelow(readOn)
		return
	}
	o := s.others()
	w := o.reading[0]
	o.reading = slices.Delete(o.reading, 0, 1)
	w.waits = false
	switch {
	case w.over:
		s.readFurther()
	case w.lagging:
		s.toHome(w, (*presence).startAgain)
	default:
		s.toHome(w, (*presence).readOn)
	}
}
