//go:build linux

package load

import (
	"bytes"
	"errors"
	"fmt"
	"time"
)

// a fanout is one publisher's messages on their way to all subscribers.
type fanout struct {
	loop        *Loop
	publisher   *Client
	subscribers []*Client
	before      []int // what each subscriber had received when the run began

	frames []byte // the publisher's message, maxBatch times
	size   int    // of one of them

	sent      int // messages
	delivered int // deliveries, over all subscribers
	complete  int // messages that all subscribers have

	// base is what every subscriber had received when the run began: the same for all, so that a client's number of
	// deliveries tells which message it got.
	base int
	// left counts, for each message in flight, the subscribers that wait for it; the message's number modulo its
	// length, a power of two, is its place.
	left []int32
}

// maxBatch is the most messages that are published with one write.
const maxBatch = 64

func (l *Loop) newFanout(inFlight int) (*fanout, error) {
	publishers := l.Clients(Publisher)
	if len(publishers) != 1 {
		return nil, fmt.Errorf("a fan-out needs one publisher, not %d", len(publishers))
	}
	f := &fanout{loop: l, publisher: publishers[0], subscribers: l.Clients(Subscriber)}
	if len(f.subscribers) == 0 {
		return nil, errors.New("a fan-out needs subscribers")
	}
	f.before = counts(f.subscribers)
	f.base = f.before[0]
	for i, c := range f.subscribers {
		if f.before[i] != f.base {
			return nil, fmt.Errorf("%w: client %d got %d messages before, another %d", ErrMissing, c.Index, f.before[i], f.base)
		}
	}
	message := l.dialect.Publish(f.publisher, 0)
	f.size = len(message)
	f.frames = bytes.Repeat(message, maxBatch)
	places := 1
	for places < 2*inFlight {
		places *= 2
	}
	f.left = make([]int32, places)
	l.delivered = f.arrived
	return f, nil
}

// end leaves the Loop as it was.
func (f *fanout) end() {
	f.loop.delivered = f.loop.unasked
	f.loop.due = nil
	f.loop.idle = nil
}

// publish sends n messages.
func (f *fanout) publish(n int) error {
	for n > 0 {
		batch := min(n, maxBatch)
		for range batch {
			place := &f.left[f.sent&(len(f.left)-1)]
			if *place != 0 {
				return fmt.Errorf("%d messages are in flight: the server does not keep up", f.sent-f.complete)
			}
			*place = int32(len(f.subscribers))
			f.sent++
		}
		if err := f.loop.send(f.publisher, f.frames[:batch*f.size]); err != nil {
			return f.loop.failed(f.publisher, err)
		}
		n -= batch
	}
	return nil
}

// arrived counts n deliveries to c.
func (f *fanout) arrived(c *Client, n int) error {
	last := c.received - f.base
	if last > f.sent {
		return fmt.Errorf("%w: client %d got %d messages of %d", ErrMissing, c.Index, last, f.sent)
	}
	for k := last - n; k < last; k++ {
		place := &f.left[k&(len(f.left)-1)]
		if *place--; *place == 0 {
			f.complete++
		}
	}
	f.delivered += n
	return nil
}

// drain waits until everything has arrived, and checks it.
func (f *fanout) drain() error {
	want := f.sent * len(f.subscribers)
	err := f.loop.run(time.Now().Add(f.loop.patience), func() bool { return f.delivered >= want })
	if err != nil {
		return f.loop.late(err, want, f.delivered)
	}
	return verify(f.subscribers, f.before, f.sent)
}

// Saturate keeps inFlight messages on their way to all subscribers and measures for the given time, after a fourth of
// it for warming up. A message is in flight until every subscriber has it.
func (l *Loop) Saturate(inFlight int, d time.Duration, clock CPUClock) (Result, error) {
	f, err := l.newFanout(inFlight)
	if err != nil {
		return Result{}, err
	}
	defer f.end()
	refill := func(until time.Time) error {
		var failure error
		err := l.run(until.Add(f.loop.patience), func() bool {
			if n := inFlight - (f.sent - f.complete); n > 0 {
				failure = f.publish(n)
			}
			return failure != nil || !time.Now().Before(until)
		})
		return errors.Join(failure, f.loop.late(err, f.sent*len(f.subscribers), f.delivered))
	}
	m := meter{clock: clock}
	if err := refill(time.Now().Add(d / 4)); err != nil {
		return Result{}, err
	}
	if err := m.start(f.sent, f.delivered); err != nil {
		return Result{}, err
	}
	if err := refill(m.began.Add(d)); err != nil {
		return Result{}, err
	}
	if err := l.awaitOne(&m, &f.delivered); err != nil {
		return Result{}, err
	}
	r, err := m.stop(f.sent, f.delivered)
	return r, errors.Join(err, f.drain())
}
