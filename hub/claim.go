package hub

import (
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/hub/internal/clientid"
)

// claim is a claim to an exclusive group, of a client or a service type. It belongs to its loop, to which the broker's
// calls come as mail. It knows no members of the group: who holds it without being a member is none.
type claim struct {
	shard  *shard
	group  string
	client uuid.UUID
	owner  claimant

	over  bool // released or refused: the owner hears no more
	term  uint64
	lease atomic.Pointer[broker.Lease] // nil while it doesn't hold the group
}

// claimant hears of its claim, on its loop.
type claimant interface {
	waiting(c *claim)
	granted(c *claim)
	lost(c *claim)
	refused(c *claim, err error)
}

// ask makes the claim.
func (c *claim) ask() { c.shard.hub.broker.Claim(c.group, c.client, (*claimed)(c)) }

// giveUp releases what the claim has, to the client of that id if it waits; uuid.Nil for none.
func (c *claim) giveUp(to uuid.UUID) {
	if c.over {
		return
	}
	c.over = true
	c.lease.Store(nil)
	var at broker.NodeID
	if to != uuid.Nil {
		at = clientid.Locate(&to).Node
	}
	c.shard.hub.broker.Release(c.group, c.client, to, at)
}

// left returns for how long the claim's owner may act. Any goroutine may call it.
func (c *claim) left() time.Duration {
	if l := c.lease.Load(); l != nil {
		return l.Left()
	}
	return 0
}

// claimed is a claim as the broker sees it.
type claimed claim

// Waiting implements broker.Claimant.
func (c *claimed) Waiting() { c.post(func(c *claim) { c.owner.waiting(c) }) }

// Granted implements broker.Claimant.
func (c *claimed) Granted(term uint64, lease *broker.Lease) {
	c.post(func(c *claim) {
		c.term = term
		c.lease.Store(lease)
		c.owner.granted(c)
	})
}

// Lost implements broker.Claimant.
func (c *claimed) Lost() {
	c.post(func(c *claim) {
		c.lease.Store(nil)
		c.owner.lost(c)
	})
}

// Refused implements broker.Claimant.
func (c *claimed) Refused(err error) {
	c.post(func(c *claim) {
		c.over = true
		c.lease.Store(nil)
		c.owner.refused(c, err)
	})
}

// post has f called on the claim's loop, unless the claim is over by then.
func (c *claimed) post(f func(*claim)) {
	c.shard.loop.Post(task(func() {
		if !c.over {
			f((*claim)(c))
		}
	}))
}
