package hub

import (
	"hash/maphash"
	"time"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/hub/internal/roster"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

// This file keeps who is in the groups that are watched. Each group has a home, a loop of the instance that its name says. On
// that loop live, as long as a client of this instance or another instance watches the group,
//
//   - a ledger with the members on this instance, which every loop reports;
//   - the streams of changes of the ledger to the instances that watch the group: see stream.go;
//   - where clients of this instance watch it, a mirror: a roster with the members on all instances, and the watchers.
//
// What changes is collected for presenceInterval, and then said at once: in the ledger to the streams and the mirror, in the
// mirror to the watchers. So a storm of changes costs as much as some changes.
//
// A group of more members than Options.PresenceMembers has no ledger and no roster anywhere. Its instances tell each other
// how many members they have, and watchers are told of the sum.
//
// What may die, and what follows:
//
//   - a member: its loop reports it with the reason.
//   - a watcher: its loop takes it from the mirror. With the last one the mirror and its streams end.
//   - an instance: its members stay until its lease ends, and leave with INSTANCE_LOST. The instances that it streamed from
//     end these streams when its lease ends.
//   - messages between instances: streams are numbered, and each instance says once a second how far they are. An instance
//     that sees a gap, or hears nothing for askAgain, asks for a new stream. Its parts are compared with the members known,
//     and what is not among them has left.
//   - the broker: the same, for every instance. Until then what is known stands, and the others are missing.

const (
	presenceInterval = 50 * time.Millisecond  // between two frames about a group
	presenceSweep    = 250 * time.Millisecond // between two looks at what no mail reports
	beatInterval     = time.Second            // between two Beats to an instance
	countInterval    = time.Second            // between two counts of a large group
	answerTime       = 500 * time.Millisecond // for other instances, before a watcher is told who is there
	askAgain         = 1500 * time.Millisecond
	missingAfter     = 2500 * time.Millisecond // of silence an instance is missing
	lingerTime       = time.Second             // without a watcher a mirror ends: one that comes back finds it

	maxFrame  = 32 << 10  // of a snapshot
	maxChange = 120 << 10 // of a frame with changes, about
)

// presence is a loop's share: the groups whose home it is.
type presence struct {
	shard  *shard
	tick   func(now time.Time) // says what changed, and looks after what is due
	groups map[string]*watched
	// Streams by their numbers: those that this instance sends, by receiver, and those that it asked for.
	sent  map[streamKey]*outgoing
	asked map[uint64]*source

	soon, late bool      // timers run
	beatAt     time.Time // of the last Beats
	lookedAt   time.Time // of the last look
	nodes      []broker.Node
	reachable  bool // other instances can be
}

// watched is a group that is watched, here or on other instances.
type watched struct {
	presence *presence
	name     string
	group    *group
	reports  *reports // nil while the loops report nothing
	listing  int      // loops that have not reported all members yet
	ledger   roster.Ledger
	streams  map[broker.NodeID]*outgoing
	mirror   *mirror // nil while no client of this instance watches the group
}

// mirror is who is in the group, for its watchers on this instance.
type mirror struct {
	roster   roster.Roster
	sources  map[broker.NodeID]*source
	since    time.Time // when the other instances were asked first
	ready    bool      // watchers are told
	counting bool      // the group is too large
	limit    int       // of members; less than that of the options where another instance has a smaller one
	count    int       // what the watchers were told, if counting
	countAt  time.Time
	missing  []string // what the watchers were told

	watchers map[*watching]struct{}
	idle     time.Time        // without a watcher: since when
	live     [][]*watching    // those that have the whole snapshot, by loop; replaced, never changed
	pages    map[uint64]*page // parts of a snapshot that several watchers may need, until something changes
}

// streamKey is a stream to another instance.
type streamKey struct {
	node   broker.NodeID
	stream uint64
}

// outgoing is a stream to another instance.
type outgoing struct {
	watched *watched
	streamKey
	full   bool   // it has members, else their number
	large  bool   // it was to have members, of which there are too many
	number uint64 // of the last message

	// Of a full one.
	begun    bool
	next     int  // the ledger's page that is next
	inFlight bool // a part is on its way to the broker
	complete bool // all parts are sent

	count   int // of others: what was sent last
	countAt time.Time
}

// source is an instance whose members a mirror has, or asks for.
type source struct {
	watched *watched
	node    broker.NodeID
	old     bool   // it is of a release that can't answer
	full    bool   // asked for members
	stream  uint64 // that it sends; 0 for none that counts
	number  uint64 // of the last message
	pending uint64 // a stream that it was asked for in the place of that one; 0 for none
	round   uint32 // of the stream: see roster.Settle
	settled bool   // it has said all, once
	large   bool   // it has too many members to name them
	count   int    // of members, where it doesn't name them

	asks     int // for pending
	askedAt  time.Time
	firstAsk time.Time
	heardAt  time.Time // or when it was asked first
	suspect  bool      // its stream may have been ended: this process was stopped
}

// watching is a client that watches a group.
type watching struct {
	session *session // owned by its loop
	group   string
	home    *shard

	// Owned by the client's loop.
	over    bool // it watches no more
	lagging bool // it does not keep up: it gets nothing until it starts again
	waits   bool // it is among those that wait for the client to read

	// Owned by the home's loop.
	started      bool   // it is told who is there
	live         bool   // it has the whole snapshot
	after, until uint64 // of the snapshot, what it has and what it is to get: see roster.Page
}

// parcel is a message for watchers on a loop.
type parcel struct {
	buf   *transport.Buffer // one reference
	to    []*watching
	more  bool // a page, which others follow
	start bool // for a watcher that starts again
}

// page is a part of a snapshot.
type page struct {
	buf  *transport.Buffer
	last uint64
	more bool
}

// presenceMail is a message of another instance about who is there.
type presenceMail struct {
	shard *shard
	from  broker.NodeID
	group string
	b     []byte
}

// homeOf returns the shard whose loop is the home of the group.
func (h *Hub) homeOf(group string) *shard {
	return h.shards[maphash.String(h.groups.seed, group)%uint64(len(h.shards))]
}

// find returns what is kept of a group, and begins it where nothing is.
func (p *presence) find(name string) *watched {
	w := p.groups[name]
	if w == nil {
		w = &watched{presence: p, name: name, group: p.shard.hub.groups.reserve(name), streams: make(map[broker.NodeID]*outgoing)}
		p.groups[name] = w
		p.shard.count.presence.watched.Add(1)
		p.look(time.Now()) // the instances, unless it knows them
		p.later()
	}
	return w
}

// changedSoon has tick called when what changes meanwhile is to be said.
func (p *presence) changedSoon() {
	if !p.soon {
		p.soon = true
		p.after(presenceInterval, func() { p.soon = false })
	}
}

// later has tick called when it is time to look again.
func (p *presence) later() {
	if !p.late && len(p.groups) > 0 {
		p.late = true
		p.after(presenceSweep, func() { p.late = false; p.look(time.Now()); p.later() })
	}
}

func (p *presence) after(d time.Duration, then func()) {
	time.AfterFunc(d, func() {
		p.shard.loop.Post(task(func() {
			then()
			p.tick(time.Now())
		}))
	})
}

// look asks the broker for the instances.
func (p *presence) look(now time.Time) {
	if now.Sub(p.lookedAt) < presenceSweep/2 {
		return
	}
	h := p.shard.hub
	if pause := now.Sub(p.lookedAt); pause > 4*presenceSweep && !p.lookedAt.IsZero() && len(p.asked) > 0 {
		for _, s := range p.asked { // this process was stopped: first ask, then judge
			s.heardAt, s.suspect = now, true
		}
	}
	p.lookedAt = now
	p.nodes, p.reachable = h.broker.Nodes(), h.broker.State().Available
}

// drop forgets the group if it is watched no more.
func (w *watched) drop() {
	if w.mirror != nil || len(w.streams) > 0 {
		return
	}
	w.adjust()
	p := w.presence
	delete(p.groups, w.name)
	p.shard.count.presence.watched.Add(-1)
	p.shard.hub.groups.release(w.group)
}

// adjust has the loops report the group's members as long as there is a use for it.
func (w *watched) adjust() {
	wanted := w.mirror != nil && !w.mirror.counting
	for _, s := range w.streams {
		wanted = wanted || s.full
	}
	sh := w.presence.shard
	switch {
	case wanted && w.reports == nil:
		w.reports, w.listing, w.ledger = &reports{sh, w}, len(sh.hub.shards), roster.Ledger{}
		for _, other := range sh.hub.shards {
			sh.loop.Forward(other.loop, &listing{shard: other, group: w.group, reports: w.reports})
		}
	case !wanted && w.reports != nil:
		for _, other := range sh.hub.shards {
			sh.loop.Forward(other.loop, silence{other, w.group, w.reports})
		}
		w.reports, w.listing, w.ledger = nil, 0, roster.Ledger{}
	}
}

// reported takes what a loop reports.
func (w *watched) reported(r *report) {
	switch {
	case r.reports != w.reports: // it was asked for no more
		return
	case r.listed:
		w.listing--
	case r.op.Left:
		w.ledger.Remove(r.op.ID, r.op.Reason, r.op.Successor)
	default:
		w.ledger.Put(r.op.Member)
	}
	w.presence.changedSoon()
}

// apply takes a change of the members on an instance.
func (m *mirror) apply(node broker.NodeID, round uint32, op *roster.Op, now time.Time) {
	if op.Left {
		m.roster.Remove(op.ID, op.Reason, op.Successor, now)
		return
	}
	m.roster.Put(uint32(node), round, op.Member)
}

// encodePresence makes a message. The caller owns a reference.
func encodePresence(d *opcodes.PresenceData) *transport.Buffer {
	b := transport.AllocBuffer(opcodes.PresenceSize(d))
	b.Seal(opcodes.AppendPresence(b.Room(), d))
	return b
}

// toLoop sends a parcel to the loop of its watchers. The loop takes a reference to the message.
func (w *watched) toLoop(sh *shard, m *parcel) {
	m.buf.Retain()
	w.presence.shard.loop.Forward(sh.loop, m)
}
