package transport

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Sizes of what a loop owns.
const (
	readBytes = 64 << 10 // one read
	maxEvents = 256      // one wait
	slabConns = 256      // connections allocated together
	maxFree   = 1024     // objects of one kind kept for later
)

// Loop owns a share of a server's connections and runs on a goroutine of its own.
type Loop struct {
	// Set before the loop runs.
	srv   *Server
	index int
	epfd  int
	inbox inbox

	// Read by others.
	conns  atomic.Int32 // connections, so that the acceptor can balance
	public publicStats

	// Owned by the loop's goroutine.
	now       uint32        // milliseconds since the server started, less those skipped; wraps after 49 days
	seen      time.Duration // the server's clock at the last tick
	skipped   time.Duration // what this loop's clock is behind the server's
	buf       []byte
	events    []unix.EpollEvent
	slabs     []*[slabConns]Conn
	traffic   []*[slabConns]Traffic     // of the connections in slabs; apart, so that each of those is one cache line
	secured   []*[slabConns]*secureConn // likewise; nil where none of the slab was ever over TLS
	freeSlots []uint32
	dirty     []*Conn
	stalled   []Ref
	resumed   []Ref
	spare     []Ref
	gathered  gathered
	request   Request // the handshake that is being read
	hold      *localRef
	refSeq    uint64
	freeRefs  []*localRef
	freeTx    []*txState
	idleTx    int // the fewest that freeTx held since the pools were trimmed
	freeRx    []*rxState
	outboxes  []outbox       // mail for other loops, by their index
	outgoing  bool           // there is some
	pending   int            // frames queued since the last flush; a standing backlog must not count, it would end all gathering
	queued    int            // unsent bytes of all connections
	untrusted int            // bytes buffered for connections that are not trusted
	plain     []byte         // TLS: what was just decrypted; nil until there is some
	sealed    []byte         // TLS: what was just encrypted
	shaking   []*handshaking // TLS handshakes under way
	patience  time.Duration  // with their clients, while others wait
	leaving   int            // those of them whose connections are gone, so that they end at once
	waiting   []Ref          // connections whose TLS handshake has to wait for others to end, and some that are gone
	awaiting  int            // how many of waiting are still there
	cursor    uint32
	nextSweep uint32
	stats     turnStats
	stopping  bool
}

// Index returns the loop's place among the server's loops, from 0.
func (l *Loop) Index() int { return l.index }

// Server returns the server that the loop belongs to.
func (l *Loop) Server() *Server { return l.srv }

// Clock returns the loop's clock as of the beginning of its turn, in milliseconds; it wraps after 49 days.
func (l *Loop) Clock() uint32 { return l.now }

// Since returns the time since the loop's clock showed t, if that was less than 24 days ago.
func (l *Loop) Since(t uint32) time.Duration { return l.since(t) }

func (l *Loop) since(t uint32) time.Duration {
	return time.Duration(int32(l.now-t)) * time.Millisecond
}

// conn returns the connection in a slot, which may be free, or nil if there is no such slot.
func (l *Loop) conn(slot uint32) *Conn {
	if int(slot/slabConns) >= len(l.slabs) {
		return nil
	}
	return &l.slabs[slot/slabConns][slot%slabConns]
}

// run is the loop's goroutine.
func (l *Loop) run() {
	var mail []Mail
	var acc []accepted
	for !l.stopping {
		n := l.wait()
		begin := l.tick()
		for i := range l.events[:n] {
			l.event(&l.events[i])
		}
		mail, acc = l.swap(mail, acc)
		for i, m := range mail {
			mail[i] = nil
			m.Deliver(l)
			if l.full() {
				l.flush()
			}
		}
		for _, a := range acc {
			l.adopt(a)
		}
		mail, acc = mail[:0], acc[:0]
		l.resume()
		if int32(l.now-l.nextSweep) >= 0 {
			l.sweep()
		}
		l.flush()
		l.sendMail()
		l.publish(l.srv.clock() - begin)
	}
	l.end()
}

// tick moves the loop's clock on and returns the server's. The loop looks at the clock many times in a sweep interval.
// If it did not, the process or the machine stood still, or a turn was long: clients may have spoken or read meanwhile
// without anybody noticing, so that this time must not count against them.
func (l *Loop) tick() time.Duration {
	t := l.srv.clock()
	l.skipped += max(t-l.seen-l.srv.opts.SweepInterval, 0)
	l.seen = t
	l.now = uint32((t - l.skipped) / time.Millisecond)
	return t
}

// wait waits for events, for mail, or for the next sweep.
func (l *Loop) wait() int {
	timeout := 0
	if len(l.resumed) == 0 && l.inbox.sleep() && (len(l.stalled) == 0 || l.srv.gate.Closed()) {
		l.tick()
		timeout = max(int(int32(l.nextSweep-l.now)), 0)
	}
	n, err := unix.EpollWait(l.epfd, l.events, timeout)
	if err != nil { // EINTR: the runtime preempts with signals
		return 0
	}
	return n
}

// event handles what epoll reports of one descriptor.
func (l *Loop) event(e *unix.EpollEvent) {
	if e.Fd < 0 {
		l.inbox.drainEventfd()
		return
	}
	c := l.conn(uint32(e.Fd))
	if c.state == stateFree || c.gen != uint32(e.Pad) {
		return
	}
	if e.Events&unix.EPOLLOUT != 0 {
		c.markDirty()
	}
	if e.Events&(unix.EPOLLIN|unix.EPOLLERR|unix.EPOLLHUP) == 0 {
		return
	}
	if e.Events&(unix.EPOLLERR|unix.EPOLLHUP) != 0 && c.flags&flagNoRead != 0 {
		l.destroy(c, EndError) // broken while nothing is read; epoll would say so again and again
		return
	}
	l.readable(c)
}

// control changes what epoll watches of a connection.
func (l *Loop) control(op int, c *Conn) {
	ev := unix.EpollEvent{Fd: int32(c.slot), Pad: int32(c.gen)}
	if c.flags&flagNoRead == 0 {
		ev.Events |= unix.EPOLLIN
	}
	if c.flags&flagWantWrite != 0 {
		ev.Events |= unix.EPOLLOUT
	}
	if err := unix.EpollCtl(l.epfd, op, int(c.fd), &ev); err != nil {
		c.flags |= flagBroken
		c.markDirty()
	}
}

// accepted is a connection on its way from the acceptor to a loop.
type accepted struct {
	fd     int32
	excess bool
	lis    *listener
}

// adopt makes an accepted descriptor a connection of this loop.
func (l *Loop) adopt(a accepted) {
	if l.stopping {
		l.refuse(a)
		return
	}
	c := l.take()
	c.fd = a.fd
	c.session = a.lis
	c.protocol = a.lis.protocol
	c.state = stateHandshake
	c.since, c.lastRead = l.now, l.now
	if a.lis.tls != nil {
		c.flags |= flagTLS
	}
	if a.excess {
		c.flags |= flagExcess
	}
	l.control(unix.EPOLL_CTL_ADD, c)
	if c.protocol == protocolTCP {
		r := &l.request
		*r = Request{}
		if reject := l.open(c, a.lis.route(nil), r); reject != nil {
			l.reject(c, reject, r)
		}
		return
	}
	l.readable(c) // the request is often there already
}

// refuse closes what was accepted too late.
func (l *Loop) refuse(a accepted) {
	l.srv.closeFD(a.fd)
	l.conns.Add(-1)
}

// take returns a free slot, making it the connection's.
func (l *Loop) take() *Conn {
	if len(l.freeSlots) == 0 {
		first := uint32(len(l.slabs) * slabConns)
		slab := new([slabConns]Conn)
		l.slabs = append(l.slabs, slab)
		l.traffic = append(l.traffic, new([slabConns]Traffic))
		l.secured = append(l.secured, nil)
		for i := range slab {
			slab[i].loop = l
			slab[i].slot = first + uint32(i)
		}
		for i := uint32(slabConns); i > 0; i-- {
			l.freeSlots = append(l.freeSlots, first+i-1)
		}
	}
	n := len(l.freeSlots) - 1
	c := l.conn(l.freeSlots[n])
	l.freeSlots = l.freeSlots[:n]
	return c
}

// destroy closes a connection's descriptor, tells its session, and frees its slot.
func (l *Loop) destroy(c *Conn, end End) {
	if c.state == stateFree {
		return
	}
	handshake := c.state == stateHandshake
	c.state = stateClosing // for the session's last call: it can't send any more
	if !handshake {
		l.tell(c, end)
	}
	l.dropRx(c)
	l.releaseTx(c)
	l.releaseSecure(c, end)
	l.srv.closeFD(c.fd)
	l.conns.Add(-1)
	*l.trafficOf(c) = Traffic{}
	*c = Conn{loop: l, slot: c.slot, gen: c.gen + 1}
	l.freeSlots = append(l.freeSlots, c.slot)
}

// tell makes the session's last call, once. Where the session didn't close the connection itself, it comes as soon as
// nothing can be sent any more, though what is queued may take a while to leave and the client another to go.
func (l *Loop) tell(c *Conn, end End) {
	if _, none := c.session.(*listener); none || c.flags&flagTold != 0 {
		return
	}
	c.flags |= flagTold
	c.session.Closed(c, c.end(end))
}

// stop ends the loop at the end of its turn.
type stop struct{}

func (stop) Deliver(l *Loop) { l.stopping = true }
func (stop) Size() int       { return 0 }

// end destroys what is left when the loop stops.
func (l *Loop) end() {
	mail, acc := l.closeInbox()
	for _, m := range mail {
		m.Deliver(l)
	}
	for _, a := range acc {
		l.refuse(a)
	}
	for slot := uint32(0); slot < l.Slots(); slot++ {
		l.destroy(l.conn(slot), EndLocal)
	}
	_ = unix.Close(l.inbox.evfd)
	_ = unix.Close(l.epfd)
}

// Slots returns the number of places in the loop's table: those of connections are below it.
func (l *Loop) Slots() uint32 { return uint32(len(l.slabs) * slabConns) }

// Conn returns the open connection in a slot, or nil. It must be called on the loop's goroutine.
func (l *Loop) Conn(slot uint32) *Conn {
	if c := l.conn(slot); c != nil && c.state == stateOpen {
		return c
	}
	return nil
}
