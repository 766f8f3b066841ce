package redis

import (
	"context"
	"fmt"
	"time"
)

// Retire implements Broker.
func (r *Broker) Retire(ctx context.Context) error {
	if err := r.started(); err != nil {
		return fmt.Errorf("broker: retire: %w", err)
	}
	r.subs.retire()
	retry := time.NewTicker(time.Millisecond)
	defer retry.Stop()
	for !r.subs.retired() {
		select {
		case <-retry.C:
		case <-ctx.Done():
			return fmt.Errorf("broker: retire: %w", ctx.Err())
		}
	}
	return nil
}

// retire gives up this instance's own channel for good.
func (s *subscriptions) retire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.own.want = false; s.live && s.own.subscribed {
		s.push(s.own, unsubscribeOp(s.node))
	}
}

// retired says whether nothing comes by the own channel any more. The answer to its UNSUBSCRIBE was read behind all that
// did, by the goroutine that delivers.
func (s *subscriptions) retired() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.live || !s.own.want && !s.own.subscribed && s.own.outstanding == 0
}
