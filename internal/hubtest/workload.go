//go:build linux

package hubtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/mastersocket/mastersocket/internal/history"
)

// Workload is a run of many clients that send each other a random mix of messages. URLs, Senders, Receivers and Messages
// are required.
type Workload struct {
	URLs      []string // of the hubs; clients are spread over them
	Token     string   // empty means Token
	Senders   int
	Receivers int
	Messages  int    // of all senders together
	Mix       [4]int // weights of GLOBAL, GROUP, DIRECT and ANY; all 0 means equal ones
	Groups    int    // each receiver joins one to three of them; 0 means five
	Window    int    // messages per sender without an ACK or ERROR; 0 means 64
	Pad       int    // maximum padding of a payload in bytes; 0 means 100
	Seed      uint64 // of all that is random
	// Churn is the number of further clients that keep connecting, staying briefly and leaving in different ways until
	// all is sent.
	Churn int
	// Shifters is the number of further clients that keep joining and leaving groups until all is sent.
	Shifters int
	// Copies bounds the deliveries under way to clients that stay, so that a slow test does not make them slow
	// consumers. 0 means 20000, negative no bound: with losses the bound would be reached eventually.
	Copies int
	// Rate limits the messages per second of all senders together; 0 means no limit.
	Rate float64
	// Stall bounds the time without any arrival; beyond it the run is given up. 0 means 20 seconds.
	Stall time.Duration
}

// errStalled ends a run without progress.
var errStalled = errors.New("no more arrivals")

// run is a Workload being run.
type run struct {
	Workload
	history   *history.History
	limit     *rate.Limiter
	copies    *budget
	arrivals  atomic.Int64
	senders   []*Client
	receivers []*Client
	members   map[string]int // number of clients that stay, by group
}

// Run connects all clients, sends all messages, waits until they must have arrived, and returns the history. After an
// error the history, if not nil, is incomplete.
func (w Workload) Run(ctx context.Context) (*history.History, error) {
	r := &run{Workload: w.withDefaults(), history: history.New(0), members: make(map[string]int)}
	r.limit = rate.NewLimiter(rate.Inf, 0)
	if w.Rate > 0 {
		r.limit = rate.NewLimiter(rate.Limit(w.Rate), max(1, int(w.Rate/50)))
	}
	r.copies = newBudget(r.Copies)
	defer r.close()
	if err := r.connect(ctx); err != nil {
		return r.history, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var watch sync.WaitGroup
	watch.Go(func() { r.watch(ctx, cancel) })
	err := r.drive(ctx)
	cancel(nil)
	watch.Wait()
	return r.history, err
}

func (w Workload) withDefaults() Workload {
	if w.Mix == [4]int{} {
		w.Mix = [4]int{1, 1, 1, 1}
	}
	for _, d := range []struct {
		p *int
		v int
	}{{&w.Groups, 5}, {&w.Window, 64}, {&w.Pad, 100}, {&w.Copies, 20000}} {
		if *d.p == 0 {
			*d.p = d.v
		}
	}
	if w.Stall == 0 {
		w.Stall = 20 * time.Second
	}
	return w
}

// rng returns the random source of one part of the run.
func (r *run) rng(part int) *rand.Rand { return rand.New(rand.NewPCG(r.Seed, uint64(part))) }

func groupName(i int) string { return fmt.Sprintf("group-%d", i) }

// someGroups draws one to three groups.
func (r *run) someGroups(rng *rand.Rand) []string {
	var groups []string
	for range 1 + rng.IntN(3) {
		if g := groupName(rng.IntN(r.Groups)); !slices.Contains(groups, g) {
			groups = append(groups, g)
		}
	}
	return groups
}

func (r *run) connect(ctx context.Context) error {
	rng := r.rng(-1)
	for i := range r.Receivers {
		groups := r.someGroups(rng)
		if i == 0 { // the first receiver is in every group, so every group has a member
			groups = nil
			for g := range r.Groups {
				groups = append(groups, groupName(g))
			}
		}
		c, err := r.join(ctx, i, ClientOptions{Name: fmt.Sprintf("receiver-%d", i), Groups: groups, OnArrival: r.arrived})
		if err != nil {
			return err
		}
		r.receivers = append(r.receivers, c)
	}
	for i := range r.Senders {
		o := ClientOptions{
			Name: fmt.Sprintf("sender-%d", i), Groups: append([]string{"senders"}, r.someGroups(rng)...), NoEcho: rng.IntN(2) == 0,
			Reports: true, Window: r.Window, OnArrival: r.arrived,
		}
		c, err := r.join(ctx, r.Receivers+i, o)
		if err != nil {
			return err
		}
		r.senders = append(r.senders, c)
	}
	for _, c := range slices.Concat(r.receivers, r.senders) {
		for _, g := range c.opts.Groups {
			r.members[g]++
		}
	}
	return nil
}

func (r *run) join(ctx context.Context, i int, o ClientOptions) (*Client, error) {
	o.Token, o.History = r.Token, r.history
	return Connect(ctx, r.URLs[i%len(r.URLs)], o)
}

// arrived counts a delivery to a client that stays.
func (r *run) arrived(_, _ int, target string) {
	r.arrivals.Add(1)
	if target != history.Any.String() { // ANY may go to a client that does not stay, so it is not counted
		r.copies.release(1)
	}
}

// watch gives the run up when arrivals cease.
func (r *run) watch(ctx context.Context, giveUp context.CancelCauseFunc) {
	tick := time.NewTicker(r.Stall / 20)
	defer tick.Stop()
	last, since := int64(-1), time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			if n := r.arrivals.Load(); n != last {
				last, since = n, now
			} else if now.Sub(since) > r.Stall {
				giveUp(errStalled)
				return
			}
		}
	}
}

// drive sends all messages and waits until they must have arrived.
func (r *run) drive(ctx context.Context) error {
	churning, stopChurn := context.WithCancel(ctx)
	defer stopChurn()
	var churn errgroup.Group
	for i := range r.Churn {
		churn.Go(func() error { return r.churn(churning, i) })
	}
	for i := range r.Shifters {
		churn.Go(func() error { return r.shift(churning, i) })
	}
	sending, sendCtx := errgroup.WithContext(ctx)
	for i, s := range r.senders {
		n := r.Messages / len(r.senders)
		if i < r.Messages%len(r.senders) {
			n++
		}
		sending.Go(func() error { return r.send(sendCtx, i, s, n) })
	}
	err := sending.Wait()
	stopChurn()
	err = errors.Join(err, churn.Wait())
	if err != nil {
		return err
	}
	return r.settle(ctx)
}

func (r *run) send(ctx context.Context, part int, s *Client, n int) error {
	rng := r.rng(part)
	for range n {
		to := r.target(rng)
		if err := r.limit.Wait(ctx); err != nil {
			return fmt.Errorf("rate: %w", err)
		}
		if err := r.copies.acquire(ctx, r.receiversOf(to, s)); err != nil {
			return fmt.Errorf("%v waits for deliveries: %w", s.record, err)
		}
		if _, err := s.Send(ctx, to, rng.IntN(r.Pad+1)); err != nil {
			return err
		}
	}
	return s.Settled(ctx)
}

// target draws a message's target. Some groups and clients do not exist.
func (r *run) target(rng *rand.Rand) history.To {
	draw := rng.IntN(r.Mix[0] + r.Mix[1] + r.Mix[2] + r.Mix[3])
	for t, weight := range r.Mix {
		if draw -= weight; draw >= 0 {
			continue
		}
		to := history.To{Target: history.Target(t)}
		switch to.Target {
		case history.Group:
			to.Name = groupName(rng.IntN(r.Groups))
			if rng.IntN(50) == 0 {
				to.Name = "nobody"
			}
		case history.Direct:
			to.Name = slices.Concat(r.receivers, r.senders)[rng.IntN(len(r.receivers)+len(r.senders))].id
			if rng.IntN(50) == 0 {
				to.Name = "6f0c1b1e-53a4-8b7d-9c2e-0123456789ab"
			}
		case history.Any:
			if rng.IntN(3) > 0 {
				to.Name = groupName(rng.IntN(r.Groups))
			}
		}
		return to
	}
	panic("hubtest: Workload.Mix has a negative weight")
}

// receiversOf counts the deliveries of a message to clients that stay, except for ANY.
func (r *run) receiversOf(to history.To, s *Client) int {
	switch to.Target {
	case history.Global:
		n := len(r.receivers) + len(r.senders)
		if s.opts.NoEcho {
			n--
		}
		return n
	case history.Group:
		if s.opts.NoEcho && slices.Contains(s.opts.Groups, to.Name) {
			return r.members[to.Name] - 1
		}
		return r.members[to.Name]
	case history.Direct:
		for _, c := range slices.Concat(r.receivers, r.senders) {
			if c.id == to.Name {
				return 1
			}
		}
	}
	return 0
}

// fenceTimeout bounds the wait for a fence before another is sent; fences bounds the attempts.
const (
	fenceTimeout = 5 * time.Second
	fences       = 4
)

// settle sends one more message from every sender to every client that stays. As order is guaranteed per pair, its
// arrival means that all earlier messages have arrived or are lost. A PING flushes messages behind the fences.
func (r *run) settle(ctx context.Context) error {
	all := slices.Concat(r.receivers, r.senders)
	var group errgroup.Group
	for _, s := range r.senders {
		group.Go(func() error {
			for _, c := range all {
				if err := r.fence(ctx, s, c); err != nil {
					return err
				}
			}
			return s.Settled(ctx)
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, c := range all {
		if err := c.Ping(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) fence(ctx context.Context, s, c *Client) error {
	for try := 1; ; try++ {
		if err := r.copies.acquire(ctx, 1); err != nil {
			return err
		}
		n, err := s.Send(ctx, history.To{Target: history.Direct, Name: c.id}, 0)
		if err != nil {
			return err
		}
		waiting, cancel := context.WithTimeout(ctx, fenceTimeout)
		err = c.WaitArrival(waiting, s.record.Index(), n)
		cancel()
		if err == nil || try == fences || ctx.Err() != nil {
			return err
		}
	}
}

// close ends the connections of the clients that stayed, after the end of the history.
func (r *run) close() {
	for _, c := range slices.Concat(r.receivers, r.senders) {
		c.Retire()
	}
}
