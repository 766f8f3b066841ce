//go:build linux

package load

import (
	"errors"
	"fmt"
	"time"
)

// a ring is a circle of clients in which each sends a message to the next one for each that it gets. The number of
// messages in flight is that of the clients.
type ring struct {
	loop      *Loop
	clients   []*Client
	before    []int
	stopped   bool
	sent      int
	delivered int
}

// Ring measures messages from one client to one other for the given time, after a fourth of it for warming up, with as
// many in flight as there are subscribers.
func (l *Loop) Ring(d time.Duration, clock CPUClock) (Result, error) {
	r := &ring{loop: l, clients: l.Clients(Member)}
	if len(r.clients) < 2 {
		return Result{}, errors.New("a ring needs two clients at least")
	}
	r.before = counts(r.clients)
	for i, c := range r.clients {
		c.sent = 0
		c.next = l.dialect.Direct(c, r.clients[(i+1)%len(r.clients)])
	}
	l.delivered = r.arrived
	defer func() { l.delivered = l.unasked }()
	for _, c := range r.clients {
		if err := r.send(c, 1); err != nil {
			return Result{}, err
		}
	}
	m := meter{clock: clock}
	if err := l.Serve(d / 4); err != nil {
		return Result{}, err
	}
	if err := m.start(r.sent, r.delivered); err != nil {
		return Result{}, err
	}
	if err := l.Serve(d); err != nil {
		return Result{}, err
	}
	if err := l.awaitOne(&m, &r.delivered); err != nil {
		return Result{}, err
	}
	result, err := m.stop(r.sent, r.delivered)
	return result, errors.Join(err, r.drain())
}

func (r *ring) send(c *Client, n int) error {
	for range n {
		if err := r.loop.send(c, c.next); err != nil {
			return r.loop.failed(c, err)
		}
		c.sent++
		r.sent++
	}
	return nil
}

func (r *ring) arrived(c *Client, n int) error {
	r.delivered += n
	if r.stopped {
		return nil
	}
	return r.send(c, n)
}

// drain lets the messages in flight arrive, and checks that each client got what the one before it sent.
func (r *ring) drain() error {
	r.stopped = true
	err := r.loop.run(time.Now().Add(r.loop.patience), func() bool { return r.delivered >= r.sent })
	if err != nil {
		return r.loop.late(err, r.sent, r.delivered)
	}
	for i, c := range r.clients {
		to := (i + 1) % len(r.clients)
		if got := r.clients[to].received - r.before[to]; got != c.sent {
			return fmt.Errorf("%w: client %d got %d of %d", ErrMissing, r.clients[to].Index, got, c.sent)
		}
	}
	return nil
}
