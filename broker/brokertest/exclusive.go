package brokertest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/internal/eventually"
)

// Claim is a claim of an instance under test, and what it has heard.
type Claim struct {
	Instance *Instance
	Group    string
	Client   uuid.UUID

	mu      sync.Mutex
	events  []string
	term    uint64
	lease   *broker.Lease
	refused error
}

// ClaimGroup claims the group for a new client of the instance.
func (in *Instance) ClaimGroup(group string) *Claim {
	c := &Claim{Instance: in, Group: group, Client: uuid.New()}
	in.Claim(group, c.Client, c)
	return c
}

// GiveUp releases the claim.
func (c *Claim) GiveUp() { c.Instance.Release(c.Group, c.Client) }

// HandTo hands over to another claim.
func (c *Claim) HandTo(next *Claim) {
	c.Instance.HandOver(c.Group, c.Client, next.Client, next.Instance.ID)
}

func (c *Claim) note(event string) { c.events = append(c.events, event) }

// Waiting implements broker.Claimant, as do the following.
func (c *Claim) Waiting() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.note("waiting")
}

// Granted implements broker.Claimant.
func (c *Claim) Granted(term uint64, lease *broker.Lease) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.term, c.lease = term, lease
	c.note("granted")
}

// Lost implements broker.Claimant.
func (c *Claim) Lost() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lease = nil
	c.note("lost")
}

// Refused implements broker.Claimant.
func (c *Claim) Refused(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lease, c.refused = nil, err
	c.note("refused")
}

// Holds reports whether the claim's client may act, and its term.
func (c *Claim) Holds() (term uint64, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.term, c.lease != nil && c.lease.Left() > 0
}

// Events returns what the claim has heard, in order.
func (c *Claim) Events() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.events)
}

// Last returns the last event, empty before the first.
func (c *Claim) Last() string {
	e := c.Events()
	if len(e) == 0 {
		return ""
	}
	return e[len(e)-1]
}

// Err returns why the claim was refused, nil if it was not.
func (c *Claim) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.refused
}

// AwaitHold waits until the claim's client may act, and returns the term.
func (c *Claim) AwaitHold(t testing.TB) uint64 {
	t.Helper()
	eventually.True(t, "the group to be granted", func() bool { _, ok := c.Holds(); return ok })
	term, _ := c.Holds()
	return term
}

// AwaitWait waits until the claim has a place.
func (c *Claim) AwaitWait(t testing.TB) {
	t.Helper()
	eventually.True(t, "a place", func() bool { return c.Last() == "waiting" })
}

// conformExclusive has claims wait in order, handed over, and given up.
func conformExclusive(t *testing.T, newBroker func(testing.TB) broker.Broker) {
	in := Cluster(t, 3, newBroker)
	first := in[0].ClaimGroup("g")
	term := first.AwaitHold(t)
	if now := time.Now().UnixMilli(); int64(term) < now-time.Minute.Milliseconds() || int64(term) > now+time.Minute.Milliseconds() {
		t.Errorf("term %d, want the time in milliseconds, %d", term, now)
	}
	waiting := []*Claim{in[1].ClaimGroup("g")}
	waiting[0].AwaitWait(t)
	for _, i := range []int{2, 1, 0} {
		c := in[i].ClaimGroup("g")
		c.AwaitWait(t)
		waiting = append(waiting, c)
	}
	other := in[1].ClaimGroup("h")
	if got := other.AwaitHold(t); got == 0 {
		t.Error("no term")
	}
	rises := func(c *Claim) {
		t.Helper()
		next := c.AwaitHold(t)
		if next <= term {
			t.Errorf("term %d after %d", next, term)
		}
		term = next
	}
	// The third takes over; the first of the others follows.
	first.HandTo(waiting[2])
	rises(waiting[2])
	if _, ok := waiting[0].Holds(); ok {
		t.Error("two hold the group")
	}
	waiting[1].GiveUp()
	waiting[2].HandTo(waiting[1]) // which does not wait any more
	waiting[3].HandTo(waiting[0]) // it holds nothing
	other.HandTo(waiting[0])      // which waits for another group
	if _, ok := waiting[2].Holds(); !ok {
		t.Error("the group was lost to a claim that does not wait")
	}
	waiting[2].GiveUp()
	rises(waiting[0])
	waiting[0].GiveUp()
	rises(waiting[3])
	waiting[3].GiveUp()
	again := in[2].ClaimGroup("g")
	rises(again)
	for i, c := range waiting {
		if i == 1 && !slices.Equal(c.Events(), []string{"waiting"}) || i != 1 && !slices.Equal(c.Events(), []string{"waiting", "granted"}) {
			t.Errorf("claim %d heard %v", i, c.Events())
		}
	}
	if _, ok := other.Holds(); !ok {
		t.Error("the other group was lost")
	}
}

// conformExclusiveClose has an instance leave that holds and waits.
func conformExclusiveClose(t *testing.T, newBroker func(testing.TB) broker.Broker) {
	in := Cluster(t, 2, newBroker)
	given := in[0].ClaimGroup("given")
	given.AwaitHold(t)
	held := in[0].ClaimGroup("held")
	term := held.AwaitHold(t)
	next := in[1].ClaimGroup("held")
	next.AwaitWait(t)
	places := in[1].ClaimGroup("place")
	places.AwaitHold(t)
	gone := in[0].ClaimGroup("place")
	gone.AwaitWait(t)
	afterGone := in[1].ClaimGroup("place")
	afterGone.AwaitWait(t)
	given.GiveUp()
	if err := in[0].Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, ok := held.Holds(); ok || !errors.Is(held.Err(), broker.ErrClosed) {
		t.Errorf("a closed instance holds: %v, %v", held.Events(), held.Err())
	}
	if got := next.AwaitHold(t); got <= term {
		t.Errorf("term %d after %d", got, term)
	}
	places.GiveUp()
	afterGone.AwaitHold(t)
	in[1].ClaimGroup("given").AwaitHold(t)
	if late := in[0].ClaimGroup("x"); !errors.Is(late.Err(), broker.ErrClosed) {
		t.Errorf("claim after Close: %v", late.Events())
	}
}

// conformExclusiveOrder has the holder change while messages to its group flow. Each instance notes who may act when a
// message is delivered: no message may find two.
func conformExclusiveOrder(t *testing.T, newBroker func(testing.TB) broker.Broker) {
	in := Cluster(t, 3, newBroker)
	a, b, from := in[0], in[1], in[2]
	a.SubscribeWait(t, "g") // as for plain members
	b.SubscribeWait(t, "g")
	holder, at := [2]*Claim{a.ClaimGroup("g")}, 0
	holder[0].AwaitHold(t)
	holder[1] = b.ClaimGroup("g")
	holder[1].AwaitWait(t)
	for round := range uint64(20) {
		old, next := in[at], in[1-at]
		from.Publish(&broker.Message{Kind: broker.KindGroup, Group: []byte("g"), Seq: round}, nil)
		old.Await(t, "the message", func() bool { return len(old.Got) > 0 && old.Got[len(old.Got)-1].Seq == round })
		holder[at].HandTo(holder[1-at])
		holder[1-at].AwaitHold(t)
		// What its holder got before has been delivered here: it would reach a second holder now.
		if d := next.Deliveries(); len(d) == 0 || d[len(d)-1].Seq != round {
			t.Fatalf("round %d: granted before message %d was delivered", round, round)
		}
		holder[at] = in[at].ClaimGroup("g")
		holder[at].AwaitWait(t)
		at = 1 - at
	}
}

// conformExclusiveStorm has many claims of few groups come and go; a model knows who may act.
func conformExclusiveStorm(t *testing.T, newBroker func(testing.TB) broker.Broker) {
	in := Cluster(t, 3, newBroker)
	var running sync.WaitGroup
	var mu sync.Mutex
	acting := make(map[string]*Claim)
	last := make(map[string]uint64)
	grants := 0
	for worker := range 12 {
		running.Go(func() {
			random := rand.New(rand.NewPCG(7, uint64(worker)))
			for range 15 {
				c := in[random.IntN(3)].ClaimGroup(fmt.Sprintf("g%d", random.IntN(2)))
				if random.IntN(4) == 0 {
					c.GiveUp()
					continue
				}
				term := c.AwaitHold(t)
				mu.Lock()
				if other := acting[c.Group]; other != nil {
					t.Errorf("two hold %s", c.Group)
				}
				if term <= last[c.Group] {
					t.Errorf("term %d after %d", term, last[c.Group])
				}
				acting[c.Group], last[c.Group] = c, term
				grants++
				mu.Unlock()
				mu.Lock()
				acting[c.Group] = nil
				mu.Unlock()
				c.GiveUp()
			}
		})
	}
	running.Wait()
	t.Logf("%d grants", grants)
}

// conformExclusiveFull has as many claims wait for a group as may, and one more.
func conformExclusiveFull(t *testing.T, newBroker func(testing.TB) broker.Broker) {
	in := Cluster(t, 2, newBroker)
	holder := in[0].ClaimGroup("g")
	holder.AwaitHold(t)
	waiting := make([]*Claim, broker.MaxWaiters)
	for i := range waiting {
		waiting[i] = in[1].ClaimGroup("g")
	}
	eventually.True(t, "all to wait", func() bool { return waiting[len(waiting)-1].Last() == "waiting" })
	for _, i := range in {
		late := i.ClaimGroup("g")
		eventually.True(t, "a refusal", func() bool { return late.Err() != nil })
		if !errors.Is(late.Err(), broker.ErrTooManyWaiters) {
			t.Errorf("one too many: %v", late.Err())
		}
	}
	holder.GiveUp()
	waiting[0].AwaitHold(t)
}
