//go:build linux

package clustertest

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/figure"
	"github.com/mastersocket/mastersocket/internal/hubtest"
)

// TestRequestRetriesUnderKills kills responders five times a second: with retry no request is without an answer.
func TestRequestRetriesUnderKills(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, clusterOptions{})
	urls, token := c.urls(), c.hubs[0].Token
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var alive []*party
	var kills int
	serve := func(i int) {
		p, err := joinParty(ctx, urls[i%3], token, "workers")
		if err != nil {
			return
		}
		mu.Lock()
		alive = append(alive, p)
		mu.Unlock()
		wg.Go(func() {
			for {
				f, err := p.read(ctx)
				if err != nil {
					return
				}
				if f.Op == 0 {
					time.Sleep(20 * time.Millisecond) // so that most kills find it at work
					_ = p.reply(&f, "")
				}
			}
		})
	}
	for i := range 4 {
		serve(i)
	}
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-ctx.Done():
				return
			case <-time.After(200 * time.Millisecond):
			}
			mu.Lock()
			p := alive[0]
			alive = alive[1:]
			kills++
			mu.Unlock()
			p.reset()
			serve(i)
		}
	})
	asker, err := joinParty(ctx, urls[0], token, "askers")
	if err != nil {
		t.Fatal(err)
	}
	defer asker.conn.CloseNow()
	unanswered, n, until := 0, 0, time.Now().Add(figure.Choose(8*time.Second, 60*time.Second))
	for open := map[string]bool{}; time.Now().Before(until) || len(open) > 0; {
		for len(open) < 8 && time.Now().Before(until) {
			id := strconv.Itoa(n)
			n++
			open[id] = true
			_ = asker.send(`{"op":0,"id":%q,"intent":{"target":"ANY","identifier":"workers"},"expect":{"timeout_ms":5000,"retry":true}}`, id)
		}
		f, err := asker.read(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if f.Op == 14 {
			delete(open, f.ID)
			var s settled
			if json.Unmarshal(f.Data, &s) != nil || s.Replied != 1 {
				unanswered++
				t.Errorf("%s: %s", f.ID, f.Data)
			}
		}
	}
	stop()
	mu.Lock()
	for _, p := range alive {
		_ = p.conn.CloseNow()
	}
	mu.Unlock()
	wg.Wait()
	figure.Printf(t, "%d requests with retry, %d responders killed, %d handed on, %d without an answer", n, kills,
		c.sum("mastersocket_request_retries_total"), unanswered)
}

// TestRequestsAndAnOldRelease: receivers on an instance of an earlier release are said to be so, and their answers arrive.
func TestRequestsAndAnOldRelease(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, clusterOptions{})
	c.binary = hubtest.BinaryOf(t, previous)
	c.hubs = append(c.hubs, c.start(1, "", ""))
	c.awaitNodes(patience, 2)
	urls, token := c.urls(), c.hubs[0].Token
	asker, err := joinParty(t.Context(), urls[0], token, "askers")
	if err != nil {
		t.Fatal(err)
	}
	old, err := joinParty(t.Context(), urls[1], token, "workers")
	if err != nil {
		t.Fatal(err)
	}
	eventually.True(t, "the old instance's member is known", func() bool {
		_ = asker.send(`{"op":0,"id":"probe","intent":{"target":"GROUP","identifier":"workers"},"expect":{"timeout_ms":50}}`)
		f, err := asker.read(t.Context())
		return err == nil && strings.Contains(string(f.Data), "OLD_RELEASE")
	})
	for i, intent := range []string{
		`{"target":"GROUP","identifier":"workers"}`, `{"target":"ANY","identifier":"workers"}`,
		fmt.Sprintf(`{"target":"DIRECT","identifier":%q}`, old.id),
	} {
		id := fmt.Sprint("q", i)
		_ = asker.send(`{"op":0,"id":%q,"intent":%s,"expect":{"timeout_ms":1000}}`, id, intent)
		for {
			f, err := old.read(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if f.ID == id {
				_ = old.reply(&f, "")
				break
			}
		}
		if f, err := asker.read(t.Context()); err != nil || f.Op != 5 || f.ID != id {
			t.Errorf("%s: %+v, %v", intent, f, err)
		}
		f, err := asker.read(t.Context())
		if err != nil || f.Op != 14 || f.ID != id || !strings.Contains(string(f.Data), `{"node":"b","reason":"OLD_RELEASE"}`) {
			t.Errorf("%s: %s, %v", intent, f.Data, err)
		}
	}
	// The other way round: what is asked for on the old instance is a message like any other.
	_ = old.send(`{"op":0,"id":"back","intent":{"target":"DIRECT","identifier":%q},"expect":{"timeout_ms":1000}}`, asker.id)
	f, err := asker.read(t.Context())
	if err != nil || f.Op != 0 {
		t.Fatalf("%+v, %v", f, err)
	}
	_ = asker.reply(&f, "")
	if f, err := old.read(t.Context()); err != nil || f.Op != 5 {
		t.Errorf("%+v, %v", f, err)
	}
	c.understood()
}

// TestRequestsOfAKilledInstance: what was asked of an instance that is killed is settled, within the time of a lease and some.
func TestRequestsOfAKilledInstance(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2, clusterOptions{})
	urls, token := c.urls(), c.hubs[0].Token
	asker, err := joinParty(t.Context(), urls[0], token, "askers")
	if err != nil {
		t.Fatal(err)
	}
	var workers []*party
	for range 3 {
		w, err := joinParty(t.Context(), urls[1], token, "workers")
		if err != nil {
			t.Fatal(err)
		}
		workers = append(workers, w)
	}
	_ = workers[0].send(`{"op":0,"id":"back","intent":{"target":"DIRECT","identifier":%q},"expect":{"timeout_ms":60000}}`, asker.id)
	if f, err := asker.read(t.Context()); err != nil || f.ID != "back" {
		t.Fatalf("%+v, %v", f, err)
	}
	received := func() float64 { return c.hubs[0].Metrics().Sum("mastersocket_broker_received_total") }
	before := received()
	_ = asker.send(`{"op":0,"id":"q","intent":{"target":"GROUP","identifier":"workers"},"expect":{"timeout_ms":60000}}`)
	for _, w := range workers {
		if f, err := w.read(t.Context()); err != nil || f.ID != "q" {
			t.Fatalf("%+v, %v", f, err)
		}
	}
	eventually.True(t, "the instance to say how many clients it gave the request to", func() bool { return received() > before })
	began := time.Now()
	c.hubs[1].Kill()
	seen := map[string]string{}
	for range 2 {
		f, err := asker.read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		seen[fmt.Sprint(f.Op, f.ID)] = string(f.Data)
	}
	took := time.Since(began)
	if !strings.Contains(seen["14q"], `"receivers":3`) || !strings.Contains(seen["14q"], `{"node":"b","reason":"INSTANCE_LOST","count":3}`) {
		t.Errorf("SETTLED: %v", seen)
	}
	if _, ok := seen["15back"]; !ok {
		t.Errorf("no CANCEL of what the instance's client asked for: %v", seen)
	}
	figure.Printf(t, "a killed instance's receivers were settled after %v", took.Round(time.Millisecond))
	if took > figure.Bound(6*time.Second) {
		t.Errorf("after %v", took)
	}
}
