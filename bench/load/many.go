//go:build linux

package load

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// A source is one message that is sent again and again, and those who get it.
type source struct {
	from  *Client
	frame []byte
	to    []*Client
}

// A broadcast sends the messages of many sources in turn, at a fixed rate.
type broadcast struct {
	loop      *Loop
	sources   []source
	start     time.Time
	interval  time.Duration
	planned   int // messages of the whole run
	sent      int
	expected  int // deliveries of what was sent
	delivered int
}

// Groups has one client publish to each of the groups in turn.
func (l *Loop) Groups(groups int, perSecond float64, d time.Duration, clock CPUClock) (Result, error) {
	publishers := l.Clients(Publisher)
	if len(publishers) != 1 {
		return Result{}, fmt.Errorf("a publisher is needed, not %d", len(publishers))
	}
	sources := make([]source, groups)
	for i := range sources {
		sources[i] = source{from: publishers[0], frame: l.dialect.Publish(publishers[0], i)}
	}
	for _, c := range l.Clients(Subscriber) {
		s := &sources[c.Subscription%groups]
		s.to = append(s.to, c)
	}
	return l.broadcast(sources, perSecond, d, clock)
}

// Chat has all members send to the next one, in turn.
func (l *Loop) Chat(perSecond float64, d time.Duration, clock CPUClock) (Result, error) {
	members := l.Clients(Member)
	if len(members) < 2 {
		return Result{}, errors.New("a chat needs two clients at least")
	}
	sources := make([]source, len(members))
	for i, c := range members {
		to := members[(i+1)%len(members)]
		sources[i] = source{from: c, frame: l.dialect.Direct(c, to), to: []*Client{to}}
	}
	return l.broadcast(sources, perSecond, d, clock)
}

// broadcast sends for the given time and waits until everything has arrived. The CPU time is that of the whole of it.
func (l *Loop) broadcast(sources []source, perSecond float64, d time.Duration, clock CPUClock) (Result, error) {
	s := &broadcast{
		loop: l, sources: sources, interval: time.Duration(float64(time.Second) / perSecond),
		planned: max(1, int(perSecond*d.Seconds())),
	}
	before := counts(l.clients)
	l.delivered = func(_ *Client, n int) error { s.delivered += n; return nil }
	l.due = s.sendDue
	defer func() { l.delivered, l.due = l.unasked, nil }()
	m := meter{clock: clock}
	if err := m.start(0, 0); err != nil {
		return Result{}, err
	}
	s.start = time.Now()
	if err := s.sendDue(); err != nil {
		return Result{}, err
	}
	end := s.start.Add(time.Duration(s.planned)*s.interval + l.patience)
	err := l.run(end, func() bool { return s.sent == s.planned && s.delivered >= s.expected })
	if err != nil {
		return Result{}, l.late(err, s.expected, s.delivered)
	}
	r, err := m.stop(s.sent, s.delivered)
	return r, errors.Join(err, s.verify(before))
}

// sendDue sends what is due, and sets the timer for what comes next.
func (s *broadcast) sendDue() error {
	for s.sent < s.planned && time.Since(s.start) >= time.Duration(s.sent)*s.interval {
		next := s.sources[s.sent%len(s.sources)]
		if err := s.loop.send(next.from, next.frame); err != nil {
			return s.loop.failed(next.from, err)
		}
		s.sent++
		s.expected += len(next.to)
	}
	wait := max(time.Until(s.start.Add(time.Duration(s.sent)*s.interval)), time.Millisecond)
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(wait.Nanoseconds())}
	if err := unix.TimerfdSettime(s.loop.timer, 0, &spec, nil); err != nil {
		return fmt.Errorf("setting the timer: %w", err)
	}
	return nil
}

// verify compares what each client got with what was sent to it.
func (s *broadcast) verify(before []int) error {
	want := make(map[*Client]int)
	for i, source := range s.sources {
		n := s.sent / len(s.sources)
		if i < s.sent%len(s.sources) {
			n++
		}
		for _, c := range source.to {
			want[c] += n
		}
	}
	for i, c := range s.loop.clients {
		if got := c.received - before[i]; got != want[c] {
			return fmt.Errorf("%w: client %d got %d of %d", ErrMissing, c.Index, got, want[c])
		}
	}
	return nil
}
