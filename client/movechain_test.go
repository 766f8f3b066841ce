package client_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/client"
)

// publish sends a message to all connections at once.
func (r *rig) publish(msg string) {
	r.bus.Lock()
	defer r.bus.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.lines {
		l.deliver("%s", msg)
	}
}

// openLines returns the connections that have not ended.
func (r *rig) openLines() (open []*line) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.lines {
		l.mu.Lock()
		left := l.ended
		l.mu.Unlock()
		if !left {
			open = append(open, l)
		}
	}
	return open
}

// order checks that numbers arrive without gaps.
type order struct {
	t    testing.TB
	what string
	mu   sync.Mutex
	last int
}

func (o *order) take(event string) {
	var n int
	if _, err := fmt.Sscanf(event[1:], "%d", &n); err != nil {
		o.t.Errorf("%s: %q", o.what, event)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if n != o.last+1 {
		o.t.Errorf("%s: got %d after %d", o.what, n, o.last)
	}
	o.last = n
}

// count returns how many numbers have arrived.
func (o *order) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.last
}

// Instances ask a client to move again and again, also during a move, with connections of different speed and a handler that
// is sometimes slow. The client receives everything once and in order, and so does the hub.
func TestMoveChain(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inRig(t, func(t *testing.T, r *rig) { moveChain(t, r, rand.New(rand.NewPCG(seed, 1))) })
		})
	}
}

func moveChain(t *testing.T, r *rig, random *rand.Rand) {
	delays := make([]time.Duration, 1000)
	for i := range delays {
		delays[i] = time.Duration(random.IntN(3)) * time.Millisecond * time.Duration(random.IntN(2))
	}
	naps := make([]time.Duration, 256)
	for i := range naps {
		naps[i] = time.Duration(max(random.IntN(60)-50, 0)) * time.Millisecond
	}
	r.delay = func(n int) time.Duration { return delays[n%len(delays)] }
	in, out := &order{t: t, what: "the client"}, &order{t: t, what: "the hub"}
	r.hear = func(_ *line, f frame) { out.take(f.Event) }
	o := r.fakeHub.options()
	o.ReceiveQueue = 1 + random.IntN(20)
	o.OnMessage = handlerOf(func(m *client.Message) {
		in.take(m.Event)
		time.Sleep(naps[in.count()%len(naps)])
	})
	o.OnDisconnect = func(err error) { t.Errorf("OnDisconnect(%v)", err) }
	c := r.connect(o)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := 1; ; n++ {
			select {
			case <-stop:
				return
			case <-time.After(7 * time.Millisecond):
			}
			if err := c.Send(context.Background(), client.Global(), fmt.Sprint("s", n), nil); err != nil {
				t.Errorf("Send: %v", err)
			}
		}
	})
	published := 0
	for began := time.Now(); time.Since(began) < 15*time.Second; time.Sleep(4 * time.Millisecond) {
		published++
		r.publish(event(sender, fmt.Sprint(published), fmt.Sprint("e", published), "GLOBAL"))
		if random.IntN(200) != 0 {
			continue
		}
		reason := []string{`,"deadline_ms":60000,"reason":"restart"`, `,"reason":"rebalance"`, `,"deadline_ms":120000,"reason":"new"`, `,"reason":"new"`}[random.IntN(4)]
		for _, l := range r.openLines() {
			if random.IntN(2) == 0 {
				l.drain(fmt.Sprintf(`"after_ms":%d%s`, random.IntN(500), reason))
			}
		}
	}
	close(stop)
	wg.Wait()
	time.Sleep(2 * time.Minute)
	closeClient(t, c)
	if n := in.count(); n != published {
		t.Errorf("%d of %d messages arrived", n, published)
	}
	if n := r.dials.Load(); n < 3 {
		t.Errorf("%d connections", n)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for n, l := range r.lines {
		if !strings.HasSuffix(l.heard(), "BYE") {
			t.Errorf("connection %d ended without DISCONNECT", n)
		}
	}
}
