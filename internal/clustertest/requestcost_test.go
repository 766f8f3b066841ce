//go:build linux

package clustertest

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/internal/figure"
)

// TestRequestReceiverReset measures the time from a receiver's RST to the SETTLED on another instance. It runs by itself.
func TestRequestReceiverReset(t *testing.T) {
	c := startCluster(t, 2, clusterOptions{})
	urls, token := c.urls(), c.hubs[0].Token
	asker, err := joinParty(t.Context(), urls[0], token, "askers")
	if err != nil {
		t.Fatal(err)
	}
	defer asker.conn.CloseNow()
	var times []time.Duration
	for i := range figure.Choose(200, 2000) {
		w, err := joinParty(t.Context(), urls[1], token, "workers")
		if err != nil {
			t.Fatal(err)
		}
		_ = asker.send(`{"op":0,"id":"q%d","intent":{"target":"DIRECT","identifier":%q},"expect":{"timeout_ms":20000}}`, i, w.id)
		if f, err := w.read(t.Context()); err != nil || f.Op != 0 {
			t.Fatalf("%+v, %v", f, err)
		}
		began := time.Now()
		w.reset()
		f, err := asker.read(t.Context())
		times = append(times, time.Since(began))
		if err != nil || f.Op != 14 || !strings.Contains(string(f.Data), `"reason":"LOST"`) {
			t.Fatalf("%+v, %v", f, err)
		}
	}
	slices.Sort(times)
	p99 := times[len(times)*99/100]
	figure.Printf(t, "RST to SETTLED on another instance: p50 %v, p99 %v of %d", times[len(times)/2], p99, len(times))
	if limit := 20 * time.Millisecond; p99 > limit && !raceEnabled {
		t.Errorf("p99 %v, want at most %v", p99, limit)
	}
}

// TestRequestCost compares the hub's CPU time for a DIRECT request and its REPLY with that of the same without expect. It
// runs by itself.
func TestRequestCost(t *testing.T) {
	c := startCluster(t, 1, clusterOptions{})
	url, token := c.urls()[0], c.hubs[0].Token
	total := figure.Choose(20_000, 200_000)
	measure := func(expect string, window int) time.Duration {
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		worker, err := joinParty(ctx, url, token, "workers")
		if err != nil {
			t.Fatal(err)
		}
		defer worker.conn.CloseNow()
		asker, err := joinParty(ctx, url, token, "askers")
		if err != nil {
			t.Fatal(err)
		}
		defer asker.conn.CloseNow()
		var wg sync.WaitGroup
		wg.Go(func() {
			for {
				f, err := worker.read(ctx)
				if err != nil {
					return
				}
				_ = worker.reply(&f, "")
			}
		})
		before := c.cpu()
		for sent, got := 0, 0; got < total; {
			for ; sent < total && sent < got+window; sent++ {
				_ = asker.send(`{"op":0,"id":"%d"%s,"event":"sum","data":[1,2],"intent":{"target":"DIRECT","identifier":%q}}`, sent, expect, worker.id)
			}
			f, err := asker.read(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if f.Op == 5 {
				got++
			}
		}
		took := c.cpu() - before
		stop()
		_ = worker.conn.CloseNow()
		wg.Wait()
		return took / time.Duration(total)
	}
	for _, window := range []int{16, 64} {
		// 1.2 to 1.4 in most runs. On a busy machine a turn of the hub handles more messages, each costs less, and what
		// tracking adds, which stays the same, is a larger part.
		const limit, attempts = 2, 3
		for attempt := 1; ; attempt++ {
			var plain, tracked []time.Duration
			for range 5 {
				plain = append(plain, measure("", window))
				tracked = append(tracked, measure(`,"expect":{"timeout_ms":20000}`, window))
			}
			usual, more := middle(plain), middle(tracked)
			ratio := float64(more) / float64(usual)
			figure.Printf(t, "a DIRECT request and its REPLY, %d in flight: %v of CPU, tracked %v: %.2f times as much",
				window, usual, more, ratio)
			if ratio <= limit || raceEnabled {
				break
			}
			if attempt == attempts {
				t.Errorf("%d in flight: %.2f times as much, want at most %d", window, ratio, limit)
				break
			}
		}
	}
}

// middle returns the mean of all but the least and the most: the kernel counts CPU time in steps, of which a run has few.
func middle(all []time.Duration) time.Duration {
	slices.Sort(all)
	sum := time.Duration(0)
	for _, d := range all[1 : len(all)-1] {
		sum += d
	}
	return sum / time.Duration(len(all)-2)
}
