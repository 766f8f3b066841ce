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
	maxFree   = 1024     // objects of one kind kept for later
)

// Loop owns a share of a server's connections and runs on a goroutine of its own. Each of its parts has a type of its
// own, in the file that works on it.
type Loop struct {
	// Set before the loop runs.
	srv   *Server
	index int
	poll  poller

	// Shared with other goroutines.
	inbox  inbox
	conns  atomic.Int32 // connections, so that they can be balanced
	public publicStats

	// Owned by the loop's goroutine.
	clock     loopClock
	table     table
	in        inbound
	unread    unread
	accepting accepting
	out       outbound
	outboxes  outboxes
	pacer     pacer
	tls       loopTLS
	sweeper   sweeper
	stats     turnStats
	stopping  bool
}

// Index returns the loop's place among the server's loops, from 0.
func (l *Loop) Index() int { return l.index }

// Server returns the server that the loop belongs to.
func (l *Loop) Server() *Server { return l.srv }

// Clock returns the loop's clock as of the beginning of its turn, in milliseconds; it wraps after 49 days.
func (l *Loop) Clock() uint32 { return l.clock.now }

// TurnBegan returns when the loop's turn began, as the time since the server started.
func (l *Loop) TurnBegan() time.Duration { return l.clock.seen }

// Since returns the time since the loop's clock showed t, if that was less than 24 days ago.
func (l *Loop) Since(t uint32) time.Duration { return l.clock.since(t) }

// run is the loop's goroutine.
func (l *Loop) run() {
	var mail []Mail
	var acc []accepted
	for !l.stopping {
		events := l.wait()
		begin := l.tick()
		for i := range events {
			l.handleEvent(&events[i])
		}
		mail, acc = l.takeMail(mail, acc)
		for i, m := range mail {
			mail[i] = nil
			m.Deliver(l)
			if l.mustFlush() {
				l.flush()
			}
		}
		for _, a := range acc {
			l.adopt(a)
		}
		mail, acc = mail[:0], acc[:0]
		l.readOn()
		l.endRests(begin)
		if int32(l.clock.now-l.sweeper.next) >= 0 {
			l.sweep()
		}
		l.flush()
		l.SendMail()
		end := l.srv.Clock()
		l.publish(end - begin)
		if len(events) > 0 {
			l.poll.heat.worked(begin, end)
		}
	}
	l.shutDown()
}

// tick moves the loop's clock on and returns the server's.
func (l *Loop) tick() time.Duration {
	t := l.srv.Clock()
	l.clock.tick(t, l.srv.opts.SweepInterval)
	return t
}

// wait waits for events, for mail, or for the next sweep.
func (l *Loop) wait() []unix.EpollEvent {
	timeout := 0
	if len(l.unread.resumed) == 0 && !l.unread.moving() && l.inbox.sleep() && (len(l.unread.stalled) == 0 || l.srv.gate.Closed()) {
		l.tick()
		timeout = l.pacer.untilRestEnds(l.clock.seen, max(int(int32(l.sweeper.next-l.clock.now)), 0))
	}
	return l.poll.wait(l.clock.seen, timeout)
}

// handleEvent handles what epoll reports of one descriptor.
func (l *Loop) handleEvent(e *unix.EpollEvent) {
	if e.Fd < 0 {
		if e.Fd != wakeEvent { // mail is taken in every turn
			l.acceptAll(int(listenerEvent - e.Fd))
		}
		return
	}
	c := l.table.at(uint32(e.Fd))
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
	l.read(c)
}

// stop ends the loop at the end of its turn.
type stop struct{}

func (stop) Deliver(l *Loop) { l.stopping = true }

func (stop) Size() int { return 0 }

// shutDown destroys what is left when the loop stops.
func (l *Loop) shutDown() {
	mail, acc := l.closeInbox()
	for _, m := range mail {
		m.Deliver(l)
	}
	for _, a := range acc {
		l.closeAccepted(a)
	}
	for slot := uint32(0); slot < l.Slots(); slot++ {
		l.destroy(l.table.at(slot), EndLocal)
	}
	_ = unix.Close(l.inbox.evfd)
	_ = unix.Close(l.poll.fd)
}
