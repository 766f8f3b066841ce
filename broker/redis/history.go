package redis

import (
	"github.com/mastersocket/mastersocket/broker"
)

// Append implements Broker.
func (r *Broker) Append(_ *broker.Message, _ broker.Appending, done broker.AppendCompletion) {
	if done != nil {
		done.Appended(0, false, broker.ErrUnavailable)
	}
}

// Extent implements Broker.
func (r *Broker) Extent(_ string, _ broker.Limits, done func(broker.Extent, error)) {
	done(broker.Extent{}, broker.ErrUnavailable)
}

// Read implements Broker.
func (r *Broker) Read(_ string, _ broker.Position, done func(*broker.Page, error)) {
	done(nil, broker.ErrUnavailable)
}

// Purge implements Broker.
func (r *Broker) Purge(_ string, done func(broker.Extent, error)) {
	done(broker.Extent{}, broker.ErrUnavailable)
}
