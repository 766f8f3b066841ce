package redis

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/mastersocket/mastersocket/broker/redis/resp"
)

// connected begins with a new connection, on which nothing is subscribed yet. The channel that it returns is closed
// when everything is.
func (s *subscriptions) connected() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live, s.ops, s.unanswered, s.joined = true, nil, 0, make(chan struct{})
	for _, c := range []*subscription{s.global, s.own} {
		c.outstanding, c.subscribed = 0, false
	}
	s.ownSent, s.ownHeard = 0, 0
	s.push(s.global, subscribeOp(globalSuffix))
	if s.own.want {
		s.push(s.own, subscribeOp(s.node))
	}
	for i := range s.marks {
		s.marks[i].at = s.ownSent
	}
	for group, c := range s.groups {
		c.outstanding, c.subscribed = 0, false
		if !c.want {
			delete(s.groups, group)
			delete(s.releasing, group)
			continue
		}
		s.push(c, subscribeOp(groupSuffix+group))
	}
	s.initial = len(s.ops)
	return s.joined
}

// disconnected ends with the connection.
func (s *subscriptions) disconnected() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live, s.ops = false, nil
}

// The pace of the commands: a Redis with little time is asked for no more than it can confirm soon, and other instances
// get their turn.
const (
	channelsPerCommand = 256  // of one SUBSCRIBE
	maxUnanswered      = 4096 // channels of commands without an answer
)

// write sends the commands to conn until ctx ends or a write fails.
func (s *subscriptions) write(ctx context.Context, conn net.Conn, timeout time.Duration) error {
	var buf []byte
	for {
		buf = s.appendOps(buf[:0], s.takeOps())
		if len(buf) > 0 {
			if err := conn.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
				return err
			}
			if _, err := conn.Write(buf); err != nil {
				return fmt.Errorf("subscribe: %w", err)
			}
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
			return nil
		}
	}
}

// takeOps takes the commands that may be sent now. It is called again when enough of them were answered.
func (s *subscriptions) takeOps() []subscriptionOp {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := min(len(s.ops), max(maxUnanswered-s.unanswered, 0))
	ops := s.ops[:n:n]
	s.ops = s.ops[n:]
	s.unanswered += n
	return ops
}

// countAnswer counts one command that was answered. It needs mu.
func (s *subscriptions) countAnswer() {
	s.unanswered--
	if len(s.ops) > 0 && s.unanswered <= maxUnanswered/2 {
		s.signal()
	}
}

// appendOps makes one command of each run of the same kind.
func (s *subscriptions) appendOps(dst []byte, ops []subscriptionOp) []byte {
	for len(ops) > 0 {
		n := 1
		for n < len(ops) && n < channelsPerCommand && ops[n].subscribe == ops[0].subscribe {
			n++
		}
		channels := make([]string, n)
		for i, op := range ops[:n] {
			channels[i] = s.names.channels + op.channel
		}
		name := s.names.unsubscribe
		if ops[0].subscribe {
			name = s.names.subscribe
		}
		dst, ops = resp.AppendCommand(dst, name, channels), ops[n:]
	}
	return dst
}
