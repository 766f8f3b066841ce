//go:build linux

package clustertest

import (
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mastersocket/mastersocket/internal/history"
	"github.com/mastersocket/mastersocket/internal/hubtest"
)

// loadOptions configures a load. Zero values stand for the defaults in comments.
type loadOptions struct {
	senders   int         // 9
	receivers int         // 9
	rate      float64     // messages per second of each sender; 40
	mix       [4]int      // weights of GLOBAL, GROUP, DIRECT and ANY; 1, 4, 4, 3
	groups    int         // 4, each with members on every instance, and as many that shifters join and leave
	shifters  int         // members that keep joining and leaving groups; 3, negative for none
	shifts    float64     // changes per second of each of them; 5
	anyShift  bool        // ANY goes to the groups that they join, too: some find their receiver gone
	noAnyone  bool        // neither GLOBAL nor ANY of all clients: there are clients outside the load
	trust     *tls.Config // for wss; nil for ws
	roam      bool        // clients whose connection ends reconnect to the next instance that accepts them
}

func (o loadOptions) withDefaults() loadOptions {
	set := func(n *int, def int) {
		if *n == 0 {
			*n = def
		}
	}
	set(&o.senders, 9)
	set(&o.receivers, 9)
	set(&o.groups, 4)
	set(&o.shifters, 3)
	o.shifters = max(o.shifters, 0)
	if o.shifts == 0 {
		o.shifts = 5
	}
	if o.rate == 0 {
		o.rate = 40
	}
	if o.mix == [4]int{} {
		o.mix = [4]int{1, 4, 4, 3}
	}
	if o.noAnyone {
		o.mix[0] = 0
	}
	return o
}

// load is a set of clients, spread over the instances, that send each other messages at a steady rate until finish.
type load struct {
	loadOptions
	t       *testing.T
	history *history.History
	urls    []string
	members []*member
	arrived atomic.Int64
	changes atomic.Int64 // of groups

	sending, living sync.WaitGroup
	stopSending     context.CancelFunc
	stopLiving      context.CancelFunc
}

// member is a client, or successive clients if it roams.
type member struct {
	load   *load
	name   string
	groups []string
	sender bool
	shifts bool
	noEcho bool
	home   int          // index of the URL that it connects to first
	sent   atomic.Int64 // messages sent on its current connection

	mu      sync.Mutex
	client  *hubtest.Client // nil while disconnected
	retired bool
	joins   int
	ended   []string // the cause of each connection's end
}

// window bounds a sender's messages without an ACK or ERROR: more than it sends during any fault.
const window = 1 << 14

// startLoad connects all members and begins to send.
func startLoad(t *testing.T, urls []string, o loadOptions) *load {
	t.Helper()
	l := &load{loadOptions: o.withDefaults(), t: t, history: history.New(0), urls: urls}
	living, stopLiving := context.WithCancel(context.Background())
	sending, stopSending := context.WithCancel(living)
	l.stopSending, l.stopLiving = stopSending, stopLiving
	t.Cleanup(l.abandon)
	for i := range l.receivers + l.senders + l.shifters {
		m := &member{
			load: l, home: i % len(urls), sender: i >= l.receivers && i < l.receivers+l.senders,
			shifts: i >= l.receivers+l.senders, noEcho: i%2 == 0,
		}
		m.groups = []string{l.group(i / len(urls))}
		if i%3 == 0 {
			m.groups = append(m.groups, l.group(i/len(urls)+1))
		}
		if !m.shifts && l.shifters > 0 { // each of these groups has members that stay, on every instance
			m.groups = append(m.groups, l.shiftGroup(i/len(urls)))
		}
		m.name = fmt.Sprintf("receiver-%d", i)
		if m.sender {
			m.name = fmt.Sprintf("sender-%d", i)
		}
		if m.shifts {
			m.name = fmt.Sprintf("shifter-%d", i)
		}
		l.members = append(l.members, m)
	}
	var joining errgroup.Group
	for _, m := range l.members {
		joining.Go(func() error { return m.join(living, m.home) })
	}
	if err := joining.Wait(); err != nil {
		t.Fatal(err)
	}
	for i, m := range l.members {
		l.living.Go(func() { m.live(living) })
		if m.sender {
			l.sending.Go(func() { m.send(sending, uint64(i)) })
		}
		if m.shifts {
			l.sending.Go(func() { m.shift(sending, uint64(i)) })
		}
	}
	return l
}

// shiftGroup is one of the groups that the shifters join and leave: as many as there are others.
func (l *load) shiftGroup(i int) string { return fmt.Sprintf("shift-%d", i%l.groups) }

func (l *load) group(i int) string { return fmt.Sprintf("group-%d", i%l.groups) }

// abandon ends the load without a verdict, unless finish did.
func (l *load) abandon() {
	l.stopSending()
	l.sending.Wait()
	l.stopLiving()
	for _, m := range l.members {
		m.retire()
	}
	l.living.Wait()
}

// join connects the member to the instance at.
func (m *member) join(ctx context.Context, at int) error {
	c, err := hubtest.Connect(ctx, m.load.urls[at], hubtest.ClientOptions{
		Name: m.name, Groups: m.groups, NoEcho: m.noEcho, Reports: m.sender, Changes: m.shifts, Window: window, History: m.load.history, TLS: m.load.trust,
		OnArrival: func(int, int, string) { m.load.arrived.Add(1) },
	})
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.client = c
	m.joins++
	return nil
}

// live reconnects a roaming member whenever its connection has ended.
func (m *member) live(ctx context.Context) {
	at, pause := m.home, time.Duration(0)
	for ctx.Err() == nil {
		c := m.current()
		if c == nil {
			at = (at + 1) % len(m.load.urls)
			pause = min(pause*2+10*time.Millisecond, 500*time.Millisecond)
			select {
			case <-ctx.Done():
			case <-time.After(rand.N(pause)):
				_ = m.join(ctx, at) // the next one may accept it
			}
			continue
		}
		pause = 0
		select {
		case <-ctx.Done():
			return
		case <-c.Done():
		}
		m.left(c)
		if !m.load.roam {
			return
		}
	}
}

// left notes that the member's connection has ended.
func (m *member) left(c *hubtest.Client) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.client = nil
	if !m.retired {
		m.ended = append(m.ended, c.Err().Error())
	}
}

// current returns the member's connection, or nil.
func (m *member) current() *hubtest.Client {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.client
}

// retire ends the member's connection after the history is complete.
func (m *member) retire() {
	m.mu.Lock()
	c := m.client
	m.retired = true
	m.mu.Unlock()
	if c != nil {
		c.Retire()
	}
}

// send sends at the load's rate until ctx ends.
func (m *member) send(ctx context.Context, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 1))
	tick := time.NewTicker(time.Duration(float64(time.Second) / m.load.rate))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if c := m.current(); c != nil {
			// A failure means that the connection has ended, which is recorded.
			if n, err := c.Send(context.WithoutCancel(ctx), m.load.target(rng), rng.IntN(100)); err == nil {
				m.sent.Store(int64(n) + 1)
			}
		}
	}
}

// shift joins and leaves groups at the load's rate until ctx ends.
func (m *member) shift(ctx context.Context, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 2))
	tick := time.NewTicker(time.Duration(float64(time.Second) / m.load.shifts))
	defer tick.Stop()
	var on *hubtest.Client
	var in map[string]bool
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		c := m.current()
		if c == nil {
			continue
		}
		if c != on {
			on, in = c, make(map[string]bool)
		}
		group := m.load.shiftGroup(rng.IntN(m.load.groups))
		change := c.Subscribe
		if in[group] {
			change = c.Unsubscribe
		}
		// A failure means that the connection has ended, or a refusal; both are recorded.
		if change(context.WithoutCancel(ctx), group) == nil {
			in[group] = !in[group]
			m.load.changes.Add(1)
		}
	}
}

// target draws a message's target. All clients named are connected, or were a moment ago.
func (l *load) target(rng *rand.Rand) history.To {
	draw := rng.IntN(l.mix[0] + l.mix[1] + l.mix[2] + l.mix[3])
	target := history.Global
	for draw >= l.mix[target] {
		draw -= l.mix[target]
		target++
	}
	to := history.To{Target: target}
	switch target {
	case history.Group:
		to.Name = l.group(rng.IntN(l.groups))
		if l.shifters > 0 && rng.IntN(2) == 0 {
			to.Name = l.shiftGroup(rng.IntN(l.groups))
		}
	case history.Any:
		if l.anyShift && rng.IntN(2) == 0 {
			to.Name = l.shiftGroup(rng.IntN(l.groups))
			break
		}
		if l.noAnyone || rng.IntN(3) > 0 {
			to.Name = l.group(rng.IntN(l.groups))
		}
	case history.Direct:
		for to.Name == "" {
			if c := l.members[rng.IntN(len(l.members))].current(); c != nil {
				to.Name = c.ID()
			}
		}
	}
	return to
}

// runFor runs the load for d.
func (l *load) runFor(d time.Duration) { <-time.After(d) }
