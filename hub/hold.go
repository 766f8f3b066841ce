package hub

import (
	"errors"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/hub/internal/clientid"
)

// Hold is a service type's claim to an exclusive group, made by [ServiceLoop.Hold]. Its methods, save Left, may be called
// on its loop's goroutine only.
type Hold struct {
	claim  *claim
	told   bool // onHeld was called last
	onHeld func(term uint64)
	onLost func()
}

// Hold claims the exclusive group for the service type, for as long as the instance lives or until Release: of all
// claims in the cluster, whether of clients or of service types, one at a time is granted. So a service type has one
// leader among all instances and loops, for example:
//
//	func (t *Type) Attach(l *hub.ServiceLoop) hub.LoopService {
//		s := &loopService{loop: l}
//		if l.Index() == 0 { // one claim an instance is enough
//			s.leader = l.Hold("$fleet.leader", s.lead, s.follow)
//		}
//		return s
//	}
//
// held is called with the term when the group is granted: a number that rises with each holder. lost is called when it
// is not held any more, before another held; the claim then waits again. Both are called on the loop's goroutine, never
// within Hold. lost may come late, as when the process was stopped: what must not be done by two at a time needs
// [Hold.Left] to be more than it takes, looked at directly before, and a store should refuse a term that is lower than
// one that it has seen.
//
// Hold may be called in Attach. The service type is no member of the group: what is sent to it goes to others, or to
// observers. Names that begin with $ can't be claimed by clients. While the broker is away the claim waits.
func (l *ServiceLoop) Hold(group string, held func(term uint64), lost func()) *Hold {
	h := &Hold{onHeld: held, onLost: lost}
	h.claim = &claim{shard: l.shard, group: group, owner: h}
	l.Post(h.ask)
	return h
}

// ask makes the claim, once the instance has its id.
func (h *Hold) ask() {
	c := h.claim
	switch {
	case c.over:
	case !c.shard.hub.joined.Load():
		h.askAgain(holdRetry / 20)
	default:
		at := clientid.Location{Node: c.shard.hub.node.ID, Loop: c.shard.index, Slot: clientid.AgentSlot}
		c.client = clientid.New(at)
		c.shard.hub.claims.addService(c)
		c.ask()
	}
}

func (h *Hold) askAgain(after time.Duration) {
	time.AfterFunc(after, func() { h.claim.shard.loop.Post(task(h.ask)) })
}

// Term returns the term under which the group is held, zero while it is not.
func (h *Hold) Term() uint64 {
	if h.claim.lease.Load() == nil {
		return 0
	}
	return h.claim.term
}

// Left returns for how long the group is held for certain; zero while it is not. Any goroutine may call it.
func (h *Hold) Left() time.Duration { return h.claim.left() }

// Release gives up what is held, or the place. Neither held nor lost is called after it.
func (h *Hold) Release() {
	if h.claim.client == uuid.Nil {
		h.claim.over = true // it was not made yet
		return
	}
	h.claim.shard.hub.claims.removeService(h.claim)
	h.claim.giveUp()
}

// waiting implements claimant, as do the following.
func (h *Hold) waiting(*claim) {}

func (h *Hold) granted(c *claim) {
	h.told = true
	h.onHeld(c.term)
}

func (h *Hold) lost(*claim) {
	if h.told {
		h.told = false
		h.onLost()
	}
}

func (h *Hold) refused(c *claim, err error) {
	h.lost(c)
	if errors.Is(err, broker.ErrClosed) {
		return
	}
	c.shard.hub.log.Warn("a service type's claim to an exclusive group was refused: it is made again",
		slog.String("group", c.group), slog.Any("error", err))
	c.over = false
	h.askAgain(holdRetry)
}
