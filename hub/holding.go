package hub

import (
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/intent"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

// This file is the exclusive groups of clients. A client that holds one is a member of it like others, with a tenure: the
// term and the lease under which it gets messages.
//
// A message to the group reaches at most one holder. Which one is decided where the message passes first: on its sender's
// instance if the holder is there, and then no other instance gives it to a holder; else on each other instance when the
// broker delivers it. It is given to that tenure or to none. The broker grants a tenure behind the messages that were
// published before, and the instance gives out nothing once the lease has no time left.

const (
	// maxHoldings is how many exclusive groups a client may hold or wait for.
	maxHoldings = 64
	// reasonBrokerLost is why a client holds a group no more: this instance's lease in the broker ended.
	reasonBrokerLost = "BROKER_LOST"
)

// holding is a client's claim to an exclusive group. It belongs to the client's loop.
type holding struct {
	session *session
	claim   *claim
	state   holdingState
	change  *change // that waits for the broker's answer to the claim; nil for none
	known   bool    // the client was told of the holding
	group   *group  // from the grant on
	until   int64   // broker.BootTime until which the client may act, by what it was told and its own clock
	code    opcodes.ErrorCode
}

// holdingState is how far a holding has come.
type holdingState uint8

const (
	holdingAsked   holdingState = iota
	holdingWaits                // it has its place
	holdingGranted              // the subscription to the group is awaited
	holdingReady                // the client may enter
	holdingEntered              // the client is a member
	holdingRefused              // code says why
)

// ask makes the claim.
func (h *holding) ask(group string) {
	s := h.session
	h.state = holdingAsked
	h.claim = &claim{shard: s.shard, group: group, client: s.id, owner: h}
	h.claim.ask()
}

// answered tells the change that waits for it that the claim has come as far as that needs.
func (h *holding) answered() {
	if c := h.change; c != nil {
		h.change = nil
		c.subscribed(nil)
	}
}

// waiting implements claimant, as do the following.
func (h *holding) waiting(*claim) {
	h.state = holdingWaits
	h.answered()
}

func (h *holding) granted(c *claim) {
	h.state = holdingGranted
	g := h.session.shard.hub.groups.expectHolder(c.group)
	h.group = g
	if g.ready() {
		h.ready()
		return
	}
	g.await(&entrance{h, c, c.term})
}

// entrance is a holding that waits for the subscription to its group.
type entrance struct {
	holding *holding
	claim   *claim
	term    uint64
}

// subscribed implements waiter.
func (e *entrance) subscribed(err error) {
	e.claim.shard.loop.Post(task(func() {
		h := e.holding
		switch {
		case h.claim != e.claim || e.claim.over || h.state != holdingGranted || e.claim.term != e.term: // it was lost meanwhile
		case err != nil:
			h.askAgain()
		default:
			h.ready()
		}
	}))
}

// askAgain gives up what the broker can't let the client enter, and waits as the last.
func (h *holding) askAgain() {
	h.withdraw()
	group := h.claim.group
	h.claim.giveUp()
	h.ask(group)
}

// ready lets the client enter, behind what tells it so.
func (h *holding) ready() {
	h.state = holdingReady
	h.answered()
	if h.known {
		h.tell("")
		h.enter()
	}
}

func (h *holding) lost(*claim) {
	entered := h.state == holdingEntered
	h.withdraw()
	h.state = holdingWaits
	if entered {
		h.tell(reasonBrokerLost)
	}
}

func (h *holding) refused(c *claim, err error) {
	first := h.state == holdingAsked && !h.known
	h.withdraw()
	h.state, h.code = holdingRefused, opcodes.CodeBrokerUnavailable
	if errors.Is(err, broker.ErrTooManyWaiters) {
		h.code = opcodes.CodeOverloaded
	}
	switch {
	case first:
		h.answered()
	case !errors.Is(err, broker.ErrClosed): // it had a place, and lost it with the broker
		h.state = holdingWaits
		time.AfterFunc(holdRetry, func() {
			c.shard.loop.Post(task(func() {
				if h.claim == c && h.session.holdingOf(c.group) == h {
					h.ask(c.group)
				}
			}))
		})
	}
}

// enter makes the client a member.
func (h *holding) enter() {
	lease := h.claim.lease.Load()
	h.state = holdingEntered
	h.group.tenure.Store(&tenure{h.session, h.claim.term, lease})
	h.group.forget(nil)
	h.session.enterGroups([]*group{h.group})
}

// withdraw undoes what was done since the grant.
func (h *holding) withdraw() {
	s, g := h.session, h.group
	if g == nil {
		return
	}
	if h.state == holdingEntered {
		if t := g.tenure.Load(); t != nil && t.session == s {
			g.tenure.CompareAndSwap(t, nil)
		}
		s.exitGroups([]string{g.name})
	} else {
		r := s.shard.hub.groups
		g.forget(nil)
		r.announce(g)
		r.dismiss(g)
	}
	h.group = nil
}

// left returns for how long the client may act, by what it was told.
func (h *holding) left() time.Duration { return time.Duration(h.until - broker.BootTime()) }

// status is what an answer or a notice says of the holding.
func (h *holding) status() opcodes.Hold {
	st := opcodes.Hold{Group: h.claim.group}
	if h.state == holdingReady || h.state == holdingEntered {
		st.Held, st.Term = true, int64(h.claim.term)
	}
	return st
}

// tell tells the client of the holding, which it did not ask for now. reason is why it was lost, empty for none.
func (h *holding) tell(reason string) {
	st := h.status()
	st.Reason = reason
	a := opcodes.Changed{Op: opcodes.Subscribe, Holds: []opcodes.Hold{st}}
	b := transport.AllocBuffer(opcodes.ChangedSize(&a))
	b.Seal(opcodes.AppendChanged(b.Room(), &a))
	h.session.conn.Send(b)
	b.Release()
}

// holdings returns what the client holds or waits for.
func (s *session) holdings() []*holding { return s.extra().holdings }

// holdingOf returns the client's holding of the group, nil for none.
func (s *session) holdingOf(group string) *holding {
	all := s.holdings()
	if i := slices.IndexFunc(all, func(h *holding) bool { return h.claim.group == group }); i >= 0 {
		return all[i]
	}
	return nil
}

// forgetHolding takes the holding from the client's.
func (s *session) forgetHolding(h *holding) {
	if i := slices.Index(s.holdings(), h); i >= 0 {
		o := s.others()
		o.holdings = slices.Delete(o.holdings, i, i+1)
	}
}

// dropHoldings gives up everything of a client that is over. Where the client has not said so itself, a group that it may
// still act for is released when that time is over.
func (s *session) dropHoldings() {
	for _, h := range s.holdings() {
		h.withdraw()
		if s.extra().goodbye {
			h.claim.giveUp()
		} else if h.claim.end() {
			h.claim.releaseAfter(h.left())
		}
	}
	if s.holdings() != nil {
		s.others().holdings = nil
	}
}

// exclusiveGroups is the changePart of the groups with one holder.
type exclusiveGroups struct{}

// toHold returns the exclusive groups that the client wants, or to give up. For a client without the feature these are names
// without a meaning.
func (c *change) toHold() []string {
	if !c.session.features.Has(opcodes.FeatureExclusive) {
		return nil
	}
	return c.asked.Exclusive
}

func (exclusiveGroups) check(c *change) *ChangeError {
	s := c.session
	for _, name := range c.asked.Groups {
		if s.holdingOf(name) != nil && !c.trusted {
			return &ChangeError{opcodes.CodeConflict, name}
		}
	}
	if c.op == opcodes.Unsubscribe {
		return nil
	}
	n := len(s.holdings())
	for _, name := range c.toHold() {
		h := s.holdingOf(name)
		switch {
		case intent.CheckGroup(name) != nil || !s.grant.MayHold(name):
			return &ChangeError{opcodes.CodeForbidden, name}
		case h == nil && s.phase == phaseIdentified && s.memberOf(name), slices.Contains(c.asked.Groups, name):
			return &ChangeError{opcodes.CodeConflict, name}
		case h != nil && h.state == holdingRefused:
			return &ChangeError{h.code, name}
		case h == nil:
			n++
		}
		if n > maxHoldings {
			return &ChangeError{opcodes.CodeTooManyGroups, name}
		}
	}
	return nil
}

func (exclusiveGroups) acquire(c *change) {
	s := c.session
	for _, name := range c.toHold() {
		if s.holdingOf(name) != nil {
			continue
		}
		h := &holding{session: s, change: c}
		c.expect()
		h.ask(name)
		o := s.others()
		o.holdings = append(o.holdings, h)
		c.holdings = append(c.holdings, h)
	}
}

func (exclusiveGroups) release(c *change) {
	for _, h := range c.holdings {
		h.change = nil
		h.withdraw()
		h.claim.giveUp()
		c.session.forgetHolding(h)
	}
	c.holdings = nil
}

func (exclusiveGroups) leave(c *change) {
	s := c.session
	for _, name := range c.toHold() {
		if h := s.holdingOf(name); h != nil {
			h.withdraw()
			if c.asked.To == uuid.Nil {
				h.claim.giveUp()
			} else {
				h.claim.giveUpTo(c.asked.To, h.left())
			}
			s.forgetHolding(h)
		}
	}
}

func (exclusiveGroups) answer(c *change, a *opcodes.Changed) {
	names := c.toHold()
	if c.op == opcodes.Unsubscribe {
		a.GaveUp = names
		return
	}
	if names != nil {
		a.Holds = make([]opcodes.Hold, 0, len(names))
	}
	for _, name := range names {
		h := c.session.holdingOf(name)
		st := h.status()
		if st.Held {
			st.Valid = h.claim.left().Truncate(time.Millisecond)
			h.until = broker.BootTime() + int64(st.Valid+st.Valid/10) // its clock may be slower
		}
		a.Holds = append(a.Holds, st)
	}
}

func (exclusiveGroups) enter(c *change) {
	for _, h := range c.holdings {
		h.known = true
		if h.state == holdingReady {
			h.enter()
		}
	}
	c.holdings = nil
}
