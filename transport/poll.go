package transport

import "golang.org/x/sys/unix"

// poller is a loop's epoll instance.
type poller struct {
	fd     int
	events []unix.EpollEvent // room for what one wait returns
	heat   heat
}

// watchConn tells epoll, by op, what the flags of a connection say to wait for. A connection that can't be watched is
// broken.
func (p *poller) watchConn(op int, c *Conn) {
	if c.Detached() {
		return
	}
	ev := unix.EpollEvent{Fd: int32(c.slot), Pad: int32(c.gen)}
	if c.flags&flagNoRead == 0 {
		ev.Events |= unix.EPOLLIN
	}
	if c.flags&flagWantWrite != 0 {
		ev.Events |= unix.EPOLLOUT
	}
	if err := unix.EpollCtl(p.fd, op, int(c.fd), &ev); err != nil {
		c.flags |= flagBroken
		c.markDirty()
	}
}

// setEvents changes what the loop waits for on the connection to what flags say.
func (c *Conn) setEvents(flags uint16) {
	const mask = flagNoRead | flagWantWrite
	if (c.flags^flags)&mask == 0 {
		return
	}
	c.flags = c.flags&^mask | flags&mask
	c.loop.poll.watchConn(unix.EPOLL_CTL_MOD, c)
}
