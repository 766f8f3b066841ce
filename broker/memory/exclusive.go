package memory

import (
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker"
)

// validity is what the lease of an instance on a Bus has left until the instance closes: nothing can cut it off. It is
// what a lease in Redis has left at most.
const validity = 2500 * time.Millisecond

// exclusive is a group that was claimed on a Bus.
type exclusive struct {
	holder *claim   // nil for none
	queue  []*claim // in the order of the claims
}

// claim is a claim of a client of an instance.
type claim struct {
	of       *Broker
	client   uuid.UUID
	claimant broker.Claimant
	term     uint64 // of a holder
}

// exclusives are the exclusive groups of a Bus, guarded by Bus.exclusive, which is held during the calls of a Claimant.
type exclusives struct {
	groups map[string]*exclusive
	last   uint64 // term
}

// Claim implements Broker.
func (m *Broker) Claim(group string, client uuid.UUID, c broker.Claimant) {
	b := m.bus
	b.exclusive.Lock()
	defer b.exclusive.Unlock()
	if m.status.Load() != statusStarted {
		c.Refused(m.notRunning())
		return
	}
	e := b.exclusives.groups[group]
	if e == nil {
		e = &exclusive{}
		b.exclusives.groups[group] = e
	}
	if len(e.queue) >= broker.MaxWaiters {
		c.Refused(broker.ErrTooManyWaiters)
		return
	}
	e.queue = append(e.queue, &claim{of: m, client: client, claimant: c})
	if e.holder != nil {
		c.Waiting()
		return
	}
	b.grant(group, e, 0)
}

// Release implements Broker.
func (m *Broker) Release(group string, client uuid.UUID) {
	b := m.bus
	b.exclusive.Lock()
	defer b.exclusive.Unlock()
	e := b.exclusives.groups[group]
	if e == nil {
		return
	}
	if e.holder == nil || e.holder.of != m || e.holder.client != client {
		e.queue = slices.DeleteFunc(e.queue, func(c *claim) bool { return c.of == m && c.client == client })
		return
	}
	e.holder = nil
	b.grant(group, e, 0)
}

// HandOver implements Broker.
func (m *Broker) HandOver(group string, client, to uuid.UUID, at broker.NodeID) {
	b := m.bus
	b.exclusive.Lock()
	defer b.exclusive.Unlock()
	e := b.exclusives.groups[group]
	if e == nil || e.holder == nil || e.holder.of != m || e.holder.client != client {
		return
	}
	if next := slices.IndexFunc(e.queue, func(c *claim) bool { return c.client == to && c.of.self.ID == at }); next >= 0 {
		e.holder = nil
		b.grant(group, e, next)
	}
}

// grant gives a group without a holder to the claim at next in its queue, once what was published before is delivered
// there. It needs b.exclusive.
func (b *Bus) grant(group string, e *exclusive, next int) {
	if len(e.queue) == 0 {
		delete(b.exclusives.groups, group)
		return
	}
	c := e.queue[next]
	e.queue = slices.Delete(e.queue, next, next+1)
	e.holder = c
	b.exclusives.last = max(b.exclusives.last+1, uint64(time.Now().UnixMilli()))
	c.term = b.exclusives.last
	b.mu.Lock() // every publication that had begun is complete
	c.of.inbox.call(func() {
		b.exclusive.Lock()
		defer b.exclusive.Unlock()
		if e.holder == c && c.of.status.Load() == statusStarted {
			c.claimant.Granted(c.term, c.of.lease)
		}
	})
	b.mu.Unlock()
}

// leaveExclusive ends the claims of an instance that has left the bus.
func (m *Broker) leaveExclusive() {
	b := m.bus
	b.exclusive.Lock()
	defer b.exclusive.Unlock()
	m.lease.End()
	for group, e := range b.exclusives.groups {
		for _, c := range e.queue {
			if c.of == m {
				c.claimant.Refused(broker.ErrClosed)
			}
		}
		e.queue = slices.DeleteFunc(e.queue, func(c *claim) bool { return c.of == m })
		if c := e.holder; c != nil && c.of == m {
			e.holder = nil
			c.claimant.Refused(broker.ErrClosed)
			b.grant(group, e, 0)
		}
	}
}
