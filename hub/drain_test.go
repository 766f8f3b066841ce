package hub

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/opcodes"
)

// mostInASecond returns how many of the times lie within one second at most.
func mostInASecond(at []time.Duration) int {
	slices.Sort(at)
	most, first := 0, 0
	for i := range at {
		for at[i]-at[first] >= time.Second {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}

// startWithAnother starts a hub whose clients have another one to go to.
func startWithAnother(t *testing.T, change func(*Options)) (*Hub, string) {
	t.Helper()
	bus := memory.NewBus()
	startHub(t, bus.Broker(), nil)
	return startHub(t, bus.Broker(), change)
}

// draining is a hub that is drained by a clock of the test's.
type draining struct {
	*campaign
	t     *testing.T
	ended func() int // clients that were disconnected
}

func startDraining(t *testing.T, h *Hub, over time.Duration) draining {
	t.Helper()
	h.draining.Store(true)
	c, err := h.startDrain(t.Context(), over, time.Unix(1000, 0))
	if err != nil {
		t.Fatal(err)
	}
	return draining{c, t, func() int { return int(h.Stats().Disconnects[opcodes.ServerRestart]) }}
}

// at makes it be so long after the beginning.
func (d draining) at(passed time.Duration) {
	d.t.Helper()
	d.drainStep(time.Unix(1000, 0).Add(passed))
	if err := d.hub.onLoops(d.t.Context(), func(*shard) {}); err != nil {
		d.t.Fatal(err)
	}
}

// notice reads a DRAIN.
func notice(t *testing.T, p *peer) (after, deadline time.Duration, reason string) {
	t.Helper()
	f := p.read()
	d, _ := f.Data.(m)
	a, _ := d["after_ms"].(float64)
	e, _ := d["deadline_ms"].(float64)
	r, _ := d["reason"].(string)
	if f.Op != 12 || d["after_ms"] == nil || len(d) > 3 {
		t.Fatalf("got %+v, want a DRAIN", f)
	}
	return time.Duration(a) * time.Millisecond, time.Duration(e) * time.Millisecond, r
}

// TestDrainRate counts the slots of clients of all kinds, on all loops: in no second are there more than the rate says,
// and not much less.
func TestDrainRate(t *testing.T) {
	t.Parallel()
	const rate, clients = 10, 42
	var log bytes.Buffer
	h, url := startWithAnother(t, func(o *Options) {
		loops(3)(o)
		o.Drain.Rate = rate
		o.Services = []ServiceType{newLines()}
		o.Log = slog.New(slog.NewTextHandler(&log, nil))
	})
	var movers []*peer
	for i := range clients {
		switch i % 3 {
		case 0:
			movers = append(movers, identify(t, url, "g", withDrain))
		case 1:
			identify(t, url, "g", nil)
		default:
			if _, _, err := connect(t, url+"lines/x").conn.Read(t.Context()); err != nil { // its welcome
				t.Fatal(err)
			}
		}
	}
	d := startDraining(t, h, 30*time.Second)
	var slots []time.Duration
	for _, p := range movers {
		after, deadline, reason := notice(t, p)
		if deadline != 30*time.Second || reason != "restart" {
			t.Errorf("deadline %v, reason %q", deadline, reason)
		}
		slots = append(slots, after)
	}
	before := d.ended()
	for passed := time.Duration(0); passed < 10*time.Second; passed += drainInterval {
		d.at(passed)
		for ; before < d.ended(); before++ {
			slots = append(slots, passed)
		}
	}
	if len(slots) != clients {
		t.Fatalf("%d slots, want %d", len(slots), clients)
	}
	if most := mostInASecond(slots); most > rate || most < rate*4/5 {
		t.Errorf("%d slots in a second, want %d: %v", most, rate, slots)
	}
	if last := slices.Max(slots); last > 6*time.Second {
		t.Errorf("the last slot is after %v", last)
	}
	d.at(30*time.Second - time.Millisecond)
	if n := d.ended(); n != clients-len(movers) {
		t.Errorf("%d clients were disconnected before the end, want %d", n, clients-len(movers))
	}
	d.at(30 * time.Second)
	for _, p := range movers {
		p.wantDisconnect("the end of the time", "SERVER_RESTART", 1012)
	}
	if log.Len() > 0 {
		t.Errorf("logged: %s", log.String())
	}
	if n := h.Stats().Notices[opcodes.DrainRestart]; n != uint64(len(movers)) {
		t.Errorf("%d notices counted", n)
	}
}

// TestDrainTimeoutWins drains in less time than the rate allows.
func TestDrainTimeoutWins(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	h, url := startWithAnother(t, func(o *Options) {
		o.Drain.Rate = 2
		o.Log = slog.New(slog.NewTextHandler(&log, nil))
	})
	const clients = 18
	for range clients {
		identify(t, url, "g", nil)
	}
	d := startDraining(t, h, 2*time.Second)
	for _, want := range []string{
		"level=WARN", "drain_rate=2 ", "drain_timeout=2s ", "clients=18 ", "drain_timeout_needed=11.3s", "drain_rate_needed=12",
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log has no %q: %s", want, log.String())
		}
	}
	for i := range clients {
		if d.at(time.Duration(i) * 2 * time.Second / clients); d.ended() != i+1 {
			t.Errorf("in slot %d, %d were told", i, d.ended())
		}
	}
}

// TestDrainSlots spreads the slots over the time, and leaves the clients that move some of it after the last.
func TestDrainSlots(t *testing.T) {
	t.Parallel()
	h, url := startWithAnother(t, loops(3))
	var movers []*peer
	for range 15 {
		movers = append(movers, identify(t, url, "g", withDrain))
	}
	startDraining(t, h, 20*time.Second)
	var slots []time.Duration
	for _, p := range movers {
		after, _, _ := notice(t, p)
		slots = append(slots, after)
	}
	slices.Sort(slots)
	for i, at := range slots {
		if want := time.Duration(i) * time.Second; at != want {
			t.Errorf("slot %d is after %v, want %v", i, at, want)
		}
	}
}

// TestDrainAgain drains, and then in less time: the later call counts.
func TestDrainAgain(t *testing.T) {
	t.Parallel()
	h, url := startWithAnother(t, nil)
	mover, other := identify(t, url, "g", withDrain), identify(t, url, "g", nil)
	first := startDraining(t, h, time.Hour)
	if _, deadline, _ := notice(t, mover); deadline != time.Hour {
		t.Errorf("deadline %v", deadline)
	}
	second := startDraining(t, h, 4*time.Second)
	if _, deadline, _ := notice(t, mover); deadline != 4*time.Second {
		t.Errorf("deadline %v", deadline)
	}
	first.at(2 * time.Hour)
	if n := first.ended(); n != 0 {
		t.Errorf("the first drain went on: %d were disconnected", n)
	}
	second.at(3 * time.Second)
	other.wantDisconnect("its slot", "SERVER_RESTART", 1001)
	second.at(4 * time.Second)
	mover.wantDisconnect("the end", "SERVER_RESTART", 1012)
}

// TestDrainNowhere drains a hub that knows of no other: its clients have nowhere to move to, so that they are disconnected
// in their slots, which fill the whole time.
func TestDrainNowhere(t *testing.T) {
	t.Parallel()
	h, url := startHub(t, memory.NewBus().Broker(), loops(3))
	var peers []*peer
	for i := range 10 {
		extra := withDrain
		if i%2 == 0 {
			extra = nil
		}
		peers = append(peers, identify(t, url, "g", extra))
	}
	d := startDraining(t, h, 20*time.Second)
	for i := range peers {
		if d.at(time.Duration(i)*2*time.Second - time.Millisecond); d.ended() != i {
			t.Errorf("before slot %d, %d were told", i, d.ended())
		}
		if d.at(time.Duration(i) * 2 * time.Second); d.ended() != i+1 {
			t.Errorf("in slot %d, %d were told", i, d.ended())
		}
	}
	for i, p := range peers {
		code := 1012
		if i%2 == 0 {
			code = 1001 // it asked for no feature
		}
		p.wantDisconnect("a hub that is alone", "SERVER_RESTART", code)
	}
	if n := h.Stats().Notices[opcodes.DrainRestart]; n != 0 {
		t.Errorf("%d notices", n)
	}
}

// TestDrainAtOnce has no time for notices.
func TestDrainAtOnce(t *testing.T) {
	t.Parallel()
	h, url := startHub(t, memory.NewBus().Broker(), nil)
	mover := identify(t, url, "g", withDrain)
	drained := make(chan error, 1)
	go func() { drained <- h.Drain(t.Context(), 0) }()
	mover.wantDisconnect("draining", "SERVER_RESTART", 1012)
	if err := <-drained; err != nil {
		t.Error(err)
	}
}

// TestDrainMovable counts the clients that ask for DRAIN as they come and go.
func TestDrainMovable(t *testing.T) {
	t.Parallel()
	h, url := startHub(t, memory.NewBus().Broker(), nil)
	p := identify(t, url, "g", withDrain)
	identify(t, url, "g", nil)
	p.send(m{"op": 2})
	p.wantDisconnect("a goodbye", "NO_REASON", 1000)
	identify(t, url, "g", withDrain)
	n := int64(0)
	for i := range h.counters {
		n += h.counters[i].movable.Load()
	}
	if n != 1 {
		t.Errorf("%d, want 1", n)
	}
	if s := fmt.Sprint(opcodes.FeatureDrain); s != "drain" {
		t.Error(s)
	}
}
