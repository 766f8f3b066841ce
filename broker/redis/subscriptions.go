package redis

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/redis/resp"
)

var errUnsubscribed = errors.New("unsubscribed before the subscription was confirmed")

// subscriptions holds the channels that this instance needs, and the commands sent for them on the subscriber's
// connection. Commands on one connection are answered in order. So a channel is subscribed when the last command sent
// for it was a SUBSCRIBE and every command for it has been answered.
type subscriptions struct {
	names  *names
	node   string // the suffix of the own node channel
	now    func() int64
	delay  int64         // from the last member's leaving until the channel is given up
	limit  int64         // of waiting for a confirmation
	wake   chan struct{} // holds a token when ops has something
	counts *ownCounts    // its numbers are atomic: no lock is taken

	mu         sync.Mutex
	global     *subscription
	own        *subscription
	groups     map[string]*subscription
	waiting    map[*subscription]struct{} // those with waiters
	releasing  map[string]*subscription   // those no longer wanted and still subscribed
	live       bool                       // a connection takes ops
	ops        []subscriptionOp           // to be sent
	unanswered int                        // sent and not answered
	initial    int                        // commands not answered of those that a new connection begins with
	joined     chan struct{}              // closed when initial reaches zero
	closed     bool
	ownSent    int // commands for own on this connection
	ownHeard   int // of them, those answered
	marks      []subscriptionMark
	behind     func(func()) // calls it once nothing older may be missing; set before the first connection
}

// subscriptionMark is called when the command for the own channel with that number has been answered, in the goroutine
// that delivers: everything that Redis passed on before it has been delivered.
type subscriptionMark struct {
	at int
	f  func()
}

// mark calls f behind everything that was published before the call and that this instance gets. Any number of
// connections may break meanwhile. Where the own channel was given up f is not called.
func (s *subscriptions) mark(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.own.want {
		return
	}
	if s.live {
		s.push(s.own, subscribeOp(s.node)) // again: only its answer matters
	}
	s.marks = append(s.marks, subscriptionMark{s.ownSent, f}) // a new connection begins with such a command
}

// takeMarks takes the marks that have been reached. It needs mu.
func (s *subscriptions) takeMarks() []subscriptionMark {
	n := 0
	for n < len(s.marks) && s.marks[n].at <= s.ownHeard {
		n++
	}
	reached := s.marks[:n:n]
	s.marks = s.marks[n:]
	return reached
}

// subscription is one channel.
type subscription struct {
	// Guarded by subscriptions.mu.
	want        bool
	subscribed  bool  // the last command sent was a SUBSCRIBE
	outstanding int   // commands not answered yet
	since       int64 // confirmed without a break of interest since; zero: not yet
	releaseAt   int64
	wantedAt    int64  // when want was last set
	gen         uint32 // grows whenever the channel is given up
	waiters     []waiter

	// Guarded by receiver.mu.
	seen    map[*origin]uint64 // the last chanSeq of each publisher
	seenGen uint32             // the gen that seen belongs to
}

// waiter is a confirmation that is still to be given.
type waiter struct {
	confirmed func(error)
	deadline  int64
	changes   uint64 // changes of member counts that others must have been told of before: up to the last first member
}

type subscriptionOp struct {
	subscribe bool
	channel   string // without the names' prefix
}

func subscribeOp(channel string) subscriptionOp {
	return subscriptionOp{subscribe: true, channel: channel}
}

func unsubscribeOp(channel string) subscriptionOp { return subscriptionOp{channel: channel} }

func newSubscriptions(n *names, self broker.NodeID, counts *ownCounts, now func() int64, delay, limit time.Duration) *subscriptions {
	return &subscriptions{
		names: n, node: nodeSuffix + nodeHex(self), now: now, delay: int64(delay), limit: int64(limit), counts: counts,
		wake: make(chan struct{}, 1), global: &subscription{want: true}, own: &subscription{want: true},
		groups: make(map[string]*subscription), waiting: make(map[*subscription]struct{}),
		releasing: make(map[string]*subscription),
	}
}

// confirmed says whether the channel is subscribed for certain. It needs mu.
func (s *subscriptions) confirmed(c *subscription) bool {
	return s.live && c.subscribed && c.outstanding == 0
}

func (s *subscriptions) subscribe(group string, confirmed func(error)) {
	if confirmed == nil {
		confirmed = func(error) {}
	}
	if now, err := s.want(group, confirmed); now {
		confirmed(err)
	}
}

// want returns true where confirmed can be called at once.
func (s *subscriptions) want(group string, confirmed func(error)) (now bool, err error) {
	firsts := s.counts.firsts.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return true, broker.ErrClosed
	}
	c := s.groups[group]
	if c == nil {
		c = &subscription{}
		s.groups[group] = c
	}
	if !c.want {
		c.want, c.wantedAt = true, s.now()
	}
	delete(s.releasing, group)
	if s.live && !c.subscribed {
		s.push(c, subscribeOp(groupSuffix+group))
	}
	if s.confirmed(c) && firsts <= s.counts.told.Load() { // else countsTold comes after this, for want of mu
		return true, nil
	}
	c.waiters = append(c.waiters, waiter{confirmed, s.now() + s.limit, firsts})
	s.waiting[c] = struct{}{}
	return false, nil
}

// push sends a command for c. It needs mu.
func (s *subscriptions) push(c *subscription, op subscriptionOp) {
	c.subscribed = op.subscribe
	c.outstanding++
	if c == s.own {
		s.ownSent++
	}
	s.ops = append(s.ops, op)
	s.signal()
}

// signal wakes the writer.
func (s *subscriptions) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *subscriptions) unsubscribe(group string) {
	s.mu.Lock()
	c := s.groups[group]
	if c == nil || !c.want {
		s.mu.Unlock()
		return
	}
	c.want, c.releaseAt = false, s.now()+s.delay
	s.releasing[group] = c
	waiters := s.takeWaiters(c)
	s.mu.Unlock()
	call(waiters, errUnsubscribed)
}

func (s *subscriptions) takeWaiters(c *subscription) []waiter {
	waiters := c.waiters
	c.waiters = nil
	delete(s.waiting, c)
	return waiters
}

func call(waiters []waiter, err error) {
	for _, w := range waiters {
		w.confirmed(err)
	}
}

// commandAnswered takes the connection's answer to one command. An answer that was not asked for is an error: in a cluster
// it says that the channel moved.
func (s *subscriptions) commandAnswered(kind resp.PushKind, channel []byte) error {
	suffix := s.names.suffix(channel)
	s.mu.Lock()
	c := s.find(suffix)
	if c == nil || c.outstanding == 0 {
		s.mu.Unlock()
		return fmt.Errorf("the server gave up or moved channel %q", channel)
	}
	c.outstanding--
	s.countAnswer()
	var ready []waiter
	var reached []subscriptionMark
	if c == s.own {
		s.ownHeard++
		reached = s.takeMarks()
	}
	switch {
	case c.outstanding > 0:
	case c.subscribed:
		if c.since == 0 {
			c.since = s.now()
		}
		ready = s.takeReady(c)
	case !c.want && c != s.own:
		delete(s.groups, suffix[len(groupSuffix):])
	}
	if s.initial > 0 && kind == resp.PushSubscribed {
		if s.initial--; s.initial == 0 {
			close(s.joined)
		}
	}
	s.mu.Unlock()
	call(ready, nil)
	for _, m := range reached {
		s.behind(m.f)
	}
	return nil
}

// find returns the subscription of a channel, or nil. It needs mu.
func (s *subscriptions) find(suffix string) *subscription {
	switch {
	case suffix == globalSuffix:
		return s.global
	case suffix == s.node:
		return s.own
	case len(suffix) >= len(groupSuffix) && suffix[:len(groupSuffix)] == groupSuffix:
		return s.groups[suffix[len(groupSuffix):]]
	}
	return nil
}

// takeReady takes those waiters of c, a confirmed channel, whose changes the other instances know. It needs mu.
func (s *subscriptions) takeReady(c *subscription) []waiter {
	told := s.counts.told.Load()
	var ready, left []waiter
	for _, w := range c.waiters {
		if w.changes <= told {
			ready = append(ready, w)
		} else {
			left = append(left, w)
		}
	}
	if c.waiters = left; len(left) == 0 {
		delete(s.waiting, c)
	}
	return ready
}

// countsTold is called when others have been told of more changes.
func (s *subscriptions) countsTold() {
	var ready []waiter
	s.mu.Lock()
	for c := range s.waiting {
		if s.confirmed(c) {
			ready = append(ready, s.takeReady(c)...)
		}
	}
	s.mu.Unlock()
	call(ready, nil)
}

// channelOf finds the subscription that f came by; want is false where the Handler has no member there any more.
func (s *subscriptions) channelOf(f *frame) (sub *subscription, want bool, gen uint32) {
	switch f.Kind {
	case broker.KindGlobal:
		return s.global, true, 0
	case broker.KindGroup:
		s.mu.Lock()
		defer s.mu.Unlock()
		c := s.groups[string(f.Group)]
		if c == nil {
			return nil, false, 0
		}
		return c, c.want, c.gen
	}
	return s.own, true, 0
}

// subscriptionID is a subscription to a group until it is given up.
type subscriptionID struct {
	sub *subscription
	gen uint32
}

// wanted returns the subscription to a group, and whether the Handler has members there.
func (s *subscriptions) wanted(group []byte) (id subscriptionID, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.groups[string(group)]
	if c == nil {
		return id, false
	}
	return subscriptionID{c, c.gen}, c.want
}

// confirmedID returns the subscription to a group, and whether its messages come here for certain.
func (s *subscriptions) confirmedID(group string) (id subscriptionID, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.groups[group]
	if c == nil {
		return id, false
	}
	return subscriptionID{c, c.gen}, c.want && s.confirmed(c)
}

// comesHere says whether a numbered message of a group that was sent then is delivered here.
func (s *subscriptions) comesHere(group string, sent int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.groups[group]
	return c != nil && c.want && c.wantedAt < sent && s.confirmed(c) && c.since < sent
}

// forget drops what the channels know of o. It needs receiver.mu.
func (s *subscriptions) forget(o *origin) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.global.seen, o)
	delete(s.own.seen, o)
	for _, c := range s.groups {
		delete(c.seen, o)
	}
}

// subscribedTo says whether a message of kind, to group where it has one, that was sent at the time sent came to this
// instance too. A message that crossed a change of the subscription counts as one that did not: one receiver too many is
// better than a message that seems to have none.
func (s *subscriptions) subscribedTo(kind broker.Kind, group []byte, sent int64) bool {
	if kind != broker.KindGroup {
		return isToAll(kind)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.groups[string(group)]
	return c != nil && s.confirmed(c) && c.since < sent
}

// tick gives up channels after their delay, and confirmations after their deadline.
func (s *subscriptions) tick() {
	var late []waiter
	now := s.now()
	s.mu.Lock()
	for group, c := range s.releasing {
		if now < c.releaseAt {
			continue
		}
		delete(s.releasing, group)
		c.since = 0
		c.gen++
		if s.live && c.subscribed {
			s.push(c, unsubscribeOp(groupSuffix+group))
		} else if !s.live {
			delete(s.groups, group)
		}
	}
	for c := range s.waiting {
		for len(c.waiters) > 0 && c.waiters[0].deadline < now {
			late = append(late, c.waiters[0])
			c.waiters = c.waiters[1:]
		}
		if len(c.waiters) == 0 {
			delete(s.waiting, c)
		}
	}
	s.mu.Unlock()
	call(late, fmt.Errorf("broker: subscribe: not confirmed in time: %w", broker.ErrUnavailable))
}

func (s *subscriptions) close() {
	var all []waiter
	s.mu.Lock()
	s.closed = true
	for c := range s.waiting {
		all = append(all, s.takeWaiters(c)...)
	}
	s.mu.Unlock()
	call(all, broker.ErrClosed)
}
