package hub

import (
	"slices"

	"github.com/mastersocket/mastersocket/intent"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

// This file carries out SUBSCRIBE and UNSUBSCRIBE, of clients and of others for them.
//
// A client that waits until the broker has subscribed to a further group goes on sending and receiving meanwhile. Other
// instances know already that it is expected, if it is the group's first member here, and draw it for an ANY where no group
// has another; such an ANY is handed to it at once, ahead of the answer: kept until then, it could be overtaken by a DIRECT
// of its sender.

// enqueue has a change of the client's groups carried out once those before it have been.
func (s *session) enqueue(c *change) {
	q := &s.others().changes
	c.session, c.ref, c.since = s, s.conn.Ref(), s.shard.loop.Clock()
	q.queue = append(q.queue, c)
	if len(q.queue) == 1 {
		s.advance()
		return
	}
	if len(q.queue) > 1+maxWaitingChanges && !q.full {
		q.full = true
		s.wait()
	}
}

// advance carries out the client's changes in their order until one has to wait for other instances.
func (s *session) advance() {
	q := &s.others().changes
	for len(q.queue) > 0 && !q.queue[0].begun && s.phase == phaseIdentified {
		q.queue[0].begin()
	}
}

// begin begins the change, and ends it where it has nothing to wait for.
func (c *change) begin() {
	c.begun = true
	if e := c.check(); e != nil {
		c.finish(e)
		return
	}
	if c.op == opcodes.Subscribe && !c.acquire() {
		return
	}
	c.settle()
}

// check asks all parts whether the client may have what the change asks for.
func (c *change) check() *ChangeError {
	for _, p := range c.session.shard.hub.parts {
		if e := p.check(c); e != nil {
			return e
		}
	}
	return nil
}

// acquire asks for what the change needs. It returns false where an answer is still to come: Deliver is called then.
func (c *change) acquire() bool {
	c.waits.Store(1)
	for _, p := range c.session.shard.hub.parts {
		p.acquire(c)
	}
	return c.waits.Add(-1) == 0
}

// subscribed implements waiter: one answer that the change waits for has come. The last call sends it back to its loop. Any
// goroutine may call it.
func (c *change) subscribed(err error) {
	if err != nil {
		c.failed.Store(true)
	}
	if c.waits.Add(-1) == 0 && !c.ref.Loop().Post(c) && !c.over { // the loop has ended, and what it owned is free
		c.release()
	}
}

// release gives back what acquire got.
func (c *change) release() {
	for _, p := range c.session.shard.hub.parts {
		p.release(c)
	}
}

// settle ends a change that has what it needs, or can't have it.
func (c *change) settle() {
	if c.failed.Load() {
		c.refuse(&ChangeError{Code: opcodes.CodeBrokerUnavailable})
		return
	}
	if e := c.check(); e != nil { // the rights, and what operators did, may be other than at the beginning
		c.refuse(e)
		return
	}
	c.finish(nil)
}

// refuse ends a change that had begun to acquire what it needs.
func (c *change) refuse(e *ChangeError) {
	c.release()
	c.finish(e)
}

// finish carries out and answers a change or, where e is not nil, refuses it. The next one follows.
func (c *change) finish(e *ChangeError) {
	s := c.session
	if c.over = true; e == nil {
		c.carryOut()
		s.shard.count.change(c.op, "")
	} else {
		c.sendRefused(e)
		s.shard.count.change(c.op, e.Code)
	}
	s.dequeue()
	if c.hear != nil {
		c.hear(e)
	}
	s.advance()
}

// carryOut changes the groups and answers. What is sent to a group that the client joins comes behind the answer, and what
// is sent to one that it leaves before it.
func (c *change) carryOut() {
	s := c.session
	parts := s.shard.hub.parts
	if c.op == opcodes.Unsubscribe {
		for _, p := range parts {
			p.leave(c)
		}
	}
	if s.features.Has(opcodes.FeatureGroups) && s.kind == 0 {
		a := opcodes.Changed{Op: c.op, ID: c.id, By: c.by}
		for _, p := range parts {
			p.answer(c, &a)
		}
		if c.by == "" || len(a.Groups) > 0 { // an operator may have asked for what was so already
			b := transport.AllocBuffer(opcodes.ChangedSize(&a))
			b.Seal(opcodes.AppendChanged(b.Room(), &a))
			s.conn.Send(b)
			b.Release()
		}
	}
	if c.op == opcodes.Subscribe {
		if s.restate(&c.asked) {
			s.reportAll()
		}
		for _, p := range parts {
			p.enter(c)
		}
	}
}

// sendRefused answers a request that was not carried out.
func (c *change) sendRefused(e *ChangeError) {
	if c.id == nil {
		return
	}
	r := opcodes.Refused{Op: c.op, ID: c.id, Code: e.Code, Message: e.Explanation()}
	if len(e.Group) <= intent.MaxGroupBytes {
		r.Group = e.Group
	}
	b := transport.AllocBuffer(opcodes.RefusedSize(&r))
	b.Seal(opcodes.AppendRefused(b.Room(), &r))
	c.session.conn.Send(b)
	b.Release()
}

// dequeue takes the first change out of the queue, and lets the client be read again where no more than allowed wait.
func (s *session) dequeue() {
	q := &s.others().changes
	q.queue[0] = nil
	if q.queue = q.queue[1:]; len(q.queue) == 0 {
		q.queue = nil
	}
	if q.full && len(q.queue) <= 1+maxWaitingChanges {
		q.full = false
		s.goOn()
	}
}

// sweepChanges ends a change that has waited for too long, and lets a client that named too many groups be read again.
func (s *session) sweepChanges() {
	if s.extra() == &noExtra {
		return
	}
	q, now := &s.others().changes, s.shard.loop.Clock()
	for len(q.queue) > 0 && now-q.queue[0].since > changeTimeout {
		q.queue[0].refuse(&ChangeError{Code: opcodes.CodeBrokerUnavailable})
	}
	if q.spent && q.names.take(0, now) {
		q.spent = false
		s.goOn()
	}
}

// dropChanges ends the changes of a client that is over.
func (s *session) dropChanges() {
	queue := s.extra().changes.queue
	if queue == nil {
		return
	}
	s.others().changes.queue = nil
	for _, c := range queue {
		if c.over = true; c.begun {
			c.release()
		}
		if hear := c.hear; hear != nil {
			s.shard.loop.Post(task(func() { hear(&ChangeError{Code: opcodes.CodeNoReceiver}) })) // once the client is over
		}
	}
}

// restate puts what a SUBSCRIBE says of the client in the place of what it said before, and reports whether it says something.
func (s *session) restate(c *opcodes.Change) bool {
	if c.Meta != nil {
		var l labels
		if s.about != nil {
			l = *s.about.labels
		}
		l.meta = c.Meta
		s.label(l)
	}
	if c.Weight != opcodes.KeepWeight && c.Weight != int(s.weight) {
		s.setWeight(c.Weight)
	}
	return c.Meta != nil || c.Weight != opcodes.KeepWeight
}

// plainGroups is the changePart of the groups whose members get every message.
type plainGroups struct{}

func (plainGroups) check(c *change) *ChangeError {
	s := c.session
	switch {
	case c.op == opcodes.Identify || c.trusted: // checked already
		return nil
	case s.kind != 0 && !s.about.native && len(c.asked.Groups) > 0: // its service type says in which groups it is
		return &ChangeError{opcodes.CodeForbidden, c.asked.Groups[0]}
	}
	members := 1 + len(s.more())
	for _, name := range c.asked.Groups {
		switch {
		case intent.CheckGroup(name) != nil:
			return &ChangeError{opcodes.CodeForbidden, name}
		case c.op == opcodes.Unsubscribe:
			if s.first.group != nil && name == s.first.group.name {
				return &ChangeError{opcodes.CodePrimaryGroup, name}
			}
			continue
		case !s.grant.MayJoin(name):
			return &ChangeError{opcodes.CodeForbidden, name}
		}
		if !s.memberOf(name) {
			members++
		}
		if members > s.shard.hub.opts.MaxGroups {
			return &ChangeError{opcodes.CodeTooManyGroups, name}
		}
	}
	return nil
}

func (plainGroups) acquire(c *change) {
	s := c.session
	h := s.shard.hub
	for _, name := range c.asked.Groups {
		if s.phase == phaseIdentified && s.memberOf(name) {
			continue
		}
		g := h.groups.expect(name, s)
		c.groups = append(c.groups, g)
		if !h.isolated() && !g.ready() {
			c.expect()
			g.await(c)
		}
	}
}

func (plainGroups) release(c *change) {
	r := c.session.shard.hub.groups
	for _, g := range c.groups {
		g.forget(c.session)
		r.announce(g) // the other members may all be about to leave, so that other instances know of this one alone
		r.dismiss(g)
	}
	c.groups = nil
}

func (plainGroups) leave(c *change) {
	s := c.session
	c.left = s.exitGroups(c.asked.Groups)
	if g := s.first.group; c.trusted && g != nil && slices.Contains(c.asked.Groups, g.name) {
		s.leave(s.first)
		s.first = place{}
	}
}

func (plainGroups) answer(c *change, a *opcodes.Changed) {
	switch {
	case c.by == "":
		a.Groups = c.asked.Groups
	case c.op == opcodes.Unsubscribe: // what the operator changed
		a.Groups = c.left
	default:
		for _, g := range c.groups {
			a.Groups = append(a.Groups, g.name)
		}
	}
}

func (plainGroups) enter(c *change) {
	if c.op == opcodes.Identify {
		c.session.enterAll(c.groups)
	} else {
		c.session.enterGroups(c.groups)
	}
	c.groups = nil
}
