//go:build linux

package clustertest

import (
	"context"
	"errors"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/figure"
	"github.com/mastersocket/mastersocket/internal/history"
	"github.com/mastersocket/mastersocket/internal/hubtest"
)

// finish stops sending, waits until all messages must have arrived, and judges the history: it allows losses only if
// they were reported to the sender or counted by the instances, and no other violation. Faults must be over.
func (l *load) finish(c *cluster) *history.Report {
	l.t.Helper()
	l.stopSending()
	l.sending.Wait()
	if l.roam {
		l.awaitAll()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	if err := l.settle(ctx); err != nil {
		l.t.Errorf("not all messages arrive: %v", err)
	}
	counted, text := c.losses()
	l.stopLiving()
	for _, m := range l.members {
		m.retire()
	}
	l.living.Wait()
	r := l.history.Check(history.Options{Fault: true, CountedDrops: counted, Grace: patience})
	l.t.Logf("%vlosses that the instances counted: %d%s", r, counted, text)
	if r.Err() != nil {
		l.t.Error("the protocol's guarantees do not hold")
	}
	figure.Printf(l.t, "%d messages, %d deliveries: %d lost without a word, %d lost and counted, %d lost and reported to the sender, "+
		"%d duplicated, %d reordered, %d misrouted; %d changes of groups, %d outside of a membership", r.Messages, r.Arrivals, r.Counts[history.Lost], r.Counted, r.Reported,
		r.Counts[history.Duplicated], r.Counts[history.Reordered], r.Counts[history.Misrouted], l.changes.Load(), r.Counts[history.Outside])
	return r
}

// wantAll expects that no message was lost or refused, and no client disconnected.
func wantAll(t *testing.T, r *history.Report) {
	t.Helper()
	if r.Counted > 0 || r.Reported > 0 || len(r.Refused) > 0 || len(r.Disconnects) > 0 || r.CutOff > 0 {
		t.Errorf("want every message delivered, and no refusal: %v", r)
	}
}

// wantHonest expects no losses except messages that were rightly refused with NO_RECEIVER.
func wantHonest(t *testing.T, r *history.Report) {
	t.Helper()
	others := len(r.Refused)
	for _, code := range []string{"NO_RECEIVER", "RECEIVER_GONE"} {
		if r.Refused[code] > 0 {
			others--
		}
	}
	if r.Counted > 0 || others > 0 || len(r.Disconnects) > 0 || r.CutOff > 0 {
		t.Errorf("want no losses except messages refused with NO_RECEIVER: %v", r)
	}
}

// awaitAll waits until every member is connected.
func (l *load) awaitAll() {
	l.t.Helper()
	for _, m := range l.members {
		if err := eventually.Within(patience, func() bool { return m.current() != nil }); err != nil {
			l.t.Errorf("%s does not reconnect: %v", m.name, err)
		}
	}
}

// present returns the open connections.
func (l *load) present() (all, senders []*hubtest.Client) {
	for _, m := range l.members {
		if c := m.current(); c != nil {
			all = append(all, c)
			if m.sender {
				senders = append(senders, c)
			}
		}
	}
	return all, senders
}

// settle sends one more message from every sender to every member, and waits for it: as order is guaranteed per pair,
// all earlier messages have then arrived or are lost.
func (l *load) settle(ctx context.Context) error {
	all, senders := l.present()
	var fencing errgroup.Group
	for _, s := range senders {
		fencing.Go(func() error {
			var late error
			for _, c := range all {
				n, err := s.Send(ctx, history.To{Target: history.Direct, Name: c.ID()}, 0)
				if err != nil {
					return err
				}
				waiting, cancel := context.WithTimeout(ctx, patience)
				late = errors.Join(late, c.WaitArrival(waiting, s.Record().Index(), n))
				cancel()
				if late != nil {
					return late
				}
			}
			return s.Settled(ctx)
		})
	}
	if err := fencing.Wait(); err != nil {
		return err
	}
	for _, c := range all {
		if err := c.Ping(ctx); err != nil {
			return err
		}
	}
	return nil
}

// awaitDelivery waits until every client has a message from every sender of another instance that was sent after the
// call, and returns the time that took. No client may reconnect meanwhile.
func (l *load) awaitDelivery() time.Duration {
	l.t.Helper()
	begin := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var waiting errgroup.Group
	for _, from := range l.members {
		s, next := from.current(), int(from.sent.Load())
		if !from.sender || s == nil {
			continue
		}
		for _, to := range l.members {
			if c := to.current(); c != nil && to.home != from.home {
				waiting.Go(func() error { return c.WaitArrival(ctx, s.Record().Index(), next) })
			}
		}
	}
	if err := waiting.Wait(); err != nil {
		l.t.Errorf("delivery does not recover: %v", err)
	}
	return time.Since(begin)
}
