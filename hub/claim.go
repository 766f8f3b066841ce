package hub

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/hub/internal/clientid"
)

// claim is a claim to an exclusive group, of a client or a service type. It belongs to its loop, to which the broker's
// calls come as mail. It knows no members of the group: a service type that holds it is none.
type claim struct {
	shard  *shard
	group  string
	client uuid.UUID
	owner  claimant

	over     bool // released or refused: the owner hears no more
	term     uint64
	lease    atomic.Pointer[broker.Lease] // nil while it doesn't hold the group
	standing claimStanding
}

// claimant hears of its claim, on its loop.
type claimant interface {
	waiting(c *claim)
	granted(c *claim)
	lost(c *claim)
	refused(c *claim, err error)
}

// claimStanding is as what a claim is counted.
type claimStanding uint8

const (
	claimUnknown claimStanding = iota // the broker has not answered
	claimWaits
	claimHolds
)

// ask makes the claim.
func (c *claim) ask() { c.shard.hub.broker.Claim(c.group, c.client, (*claimed)(c)) }

// giveUp releases what the claim has.
func (c *claim) giveUp() {
	if c.end() {
		c.release()
	}
}

// giveUpTo hands what the claim has to the client of that id, if that waits. Otherwise it is released after the time left,
// for which a client that tried to hand over to itself may go on.
func (c *claim) giveUpTo(to uuid.UUID, left time.Duration) {
	if !c.end() {
		return
	}
	c.shard.hub.broker.HandOver(c.group, c.client, to, clientid.Locate(&to).Node)
	c.releaseAfter(left)
}

// end makes the owner hear no more, and reports whether it did. What the broker has of the claim is to be released.
func (c *claim) end() bool {
	if c.over {
		return false
	}
	c.over = true
	c.lease.Store(nil)
	c.stand(claimUnknown)
	return true
}

// release tells the broker that the claim has ended. Any goroutine may call it.
func (c *claim) release() { c.shard.hub.broker.Release(c.group, c.client) }

// releaseAfter is release once the time is over.
func (c *claim) releaseAfter(left time.Duration) {
	if left <= 0 {
		c.release()
		return
	}
	time.AfterFunc(left, c.release)
}

// left returns for how long the claim's owner may act. Any goroutine may call it.
func (c *claim) left() time.Duration {
	if l := c.lease.Load(); l != nil {
		return l.Left()
	}
	return 0
}

// holdRetry is the time after which a claim that was refused is made again.
const holdRetry = time.Second

// claimed is a claim as the broker sees it.
type claimed claim

// Waiting implements broker.Claimant.
func (c *claimed) Waiting() {
	c.post(func(c *claim) {
		c.stand(claimWaits)
		c.owner.waiting(c)
	})
}

// Granted implements broker.Claimant.
func (c *claimed) Granted(term uint64, lease *broker.Lease) {
	c.post(func(c *claim) {
		c.term = term
		c.lease.Store(lease)
		c.shard.count.exclusive.granted.Add(1)
		c.stand(claimHolds)
		c.owner.granted(c)
	})
}

// Lost implements broker.Claimant.
func (c *claimed) Lost() {
	c.post(func(c *claim) {
		c.lease.Store(nil)
		c.shard.count.exclusive.lost.Add(1)
		c.stand(claimWaits)
		c.owner.lost(c)
	})
}

// Refused implements broker.Claimant.
func (c *claimed) Refused(err error) {
	c.post(func(c *claim) {
		c.end()
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

// claims are the claims of this instance by their groups, for operators.
type claims struct {
	mu      sync.Mutex
	groups  map[string]claimsOf
	service map[*claim]struct{} // those of service types
}

// addService notes a claim of a service type, which is released with the hub.
func (a *claims) addService(c *claim) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.service == nil {
		a.service = make(map[*claim]struct{})
	}
	a.service[c] = struct{}{}
}

func (a *claims) removeService(c *claim) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.service, c)
}

// releaseService releases the claims of service types, whose loops have ended.
func (a *claims) releaseService() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for c := range a.service {
		c.lease.Store(nil)
		c.release()
	}
	a.service = nil
}

// claimsOf are the claims to one group.
type claimsOf struct {
	holder  uuid.UUID // uuid.Nil for none here
	term    uint64
	waiting int
}

// stand counts the claim as what it is now.
func (c *claim) stand(now claimStanding) {
	all := &c.shard.hub.claims
	all.mu.Lock()
	defer all.mu.Unlock()
	of := all.groups[c.group]
	switch c.standing {
	case claimWaits:
		of.waiting--
	case claimHolds:
		if of.holder == c.client { // else another one here has taken over
			of.holder, of.term = uuid.Nil, 0
		}
	}
	switch now {
	case claimWaits:
		of.waiting++
	case claimHolds:
		of.holder, of.term = c.client, c.term
	}
	c.standing = now
	if of == (claimsOf{}) {
		delete(all.groups, c.group)
		return
	}
	if all.groups == nil {
		all.groups = make(map[string]claimsOf)
	}
	all.groups[c.group] = of
}

// of returns the claims to a group.
func (a *claims) of(group string) claimsOf {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.groups[group]
}

// count returns how many groups are held here, and how many claims wait.
func (a *claims) count() (held, waiting int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, of := range a.groups {
		waiting += of.waiting
		if of.holder != uuid.Nil {
			held++
		}
	}
	return held, waiting
}
