package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/faultproxy"
	"github.com/mastersocket/mastersocket/internal/figure"
	"github.com/mastersocket/mastersocket/internal/hubtest"
	"github.com/mastersocket/mastersocket/internal/redistest"
)

// worker is a bot that connects again for as long as the test runs, and records from when to when it works by what it was told.
type worker struct {
	address func() string
	watch   *watch
	name    int
	cut     chan struct{} // a value breaks its connection
}

// watch records which workers work.
type watch struct {
	mu      sync.Mutex
	works   map[int]time.Time // since when
	overlap time.Duration     // the longest time in which two worked
	changed time.Time         // of works
}

// set notes that a worker works, or does not.
// mostOverlap bounds how long two bots may work: the promise, and what a busy machine adds to it, since a bot that was told to
// stop has to be scheduled first.
func mostOverlap() time.Duration { return figure.Choose(2*time.Second, 250*time.Millisecond) }

func (w *watch) set(name int, works bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if len(w.works) > 1 {
		w.overlap = max(w.overlap, now.Sub(w.changed))
	}
	if _, did := w.works[name]; did == works {
		return
	}
	if w.changed = now; works {
		w.works[name] = now
	} else {
		delete(w.works, name)
	}
}

// only returns the one worker that works.
func (w *watch) only() (name int, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for name = range w.works {
	}
	return name, len(w.works) == 1
}

// overlapped returns the longest time in which two worked, since it was last called.
func (w *watch) overlapped() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.works) > 1 {
		w.overlap = max(w.overlap, time.Since(w.changed))
	}
	d := w.overlap
	w.overlap = 0
	return d
}

// run connects until ctx ends.
func (w *worker) run(ctx context.Context) {
	for ctx.Err() == nil {
		w.connect(ctx)
		w.watch.set(w.name, false)
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond): // as a library waits before it connects again
		}
	}
}

// connect plays one connection to its end.
func (w *worker) connect(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, cancel)
	defer stop()
	go func() {
		select {
		case <-w.cut:
			cancel()
		case <-ctx.Done():
		}
	}()
	ws, _, err := websocket.Dial(ctx, "ws://"+w.address()+"/socket.io/?EIO=4&transport=websocket", nil)
	if err != nil {
		return
	}
	defer func() { _ = ws.CloseNow() }()
	send := func(text string) { _ = ws.Write(ctx, websocket.MessageText, []byte(text)) } // the next read tells
	send("40")
	for {
		_, b, err := ws.Read(ctx)
		if err != nil {
			return
		}
		switch text := string(b); {
		case text == "2":
			send("3")
		case strings.HasPrefix(text, `40{"sid"`):
			send(`42["identify",{"version":"1.0.0"}]`)
		case strings.HasPrefix(text, `42["hello"`):
			w.watch.set(w.name, strings.Contains(text, `"process_commands":true`))
			send(`42["ready"]`)
		case strings.Contains(text, `"process_commands"`):
			w.watch.set(w.name, true)
		case strings.Contains(text, `"coma"`), strings.Contains(text, `"shutdown"`):
			w.watch.set(w.name, false)
		case strings.HasPrefix(text, "41"):
			return
		}
	}
}

// TestFaults kills and cuts off what a fleet depends on: never do two bots work for longer than the messages that say so are on
// their way, and one works again soon.
func TestFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	const again = 10 * time.Second // within which one works
	redis := redistest.Start(t)
	file := filepath.Join(t.TempDir(), "fleets.yaml")
	if err := os.WriteFile(file, []byte("fleets: {default: {token: "+botToken+"}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(redis.URL())
	if err != nil {
		t.Fatal(err)
	}
	var hubs []*hubtest.Server
	var proxies []*faultproxy.Proxy
	for i := range 3 {
		p := faultproxy.Start(t, u.Host)
		proxies = append(proxies, p)
		hubs = append(hubs, hubtest.Start(t, hubtest.Options{
			Name: fmt.Sprint("node-", i), Redis: "redis://" + p.Addr() + u.Path, Flags: []string{"--enable", "fleet", "--fleet-file", file},
		}))
	}
	w := &watch{works: make(map[int]time.Time)}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	t.Cleanup(func() { cancel(); running.Wait() })
	var mu sync.Mutex // guards hubs
	workers := make([]*worker, 3)
	for i := range workers {
		workers[i] = &worker{watch: w, name: i, cut: make(chan struct{}), address: func() string {
			mu.Lock()
			defer mu.Unlock()
			return hubs[i].HubAddr
		}}
		running.Go(func() { workers[i].run(ctx) })
	}
	one := func(what string, not int, within time.Duration) int {
		t.Helper()
		began := time.Now()
		name := -1
		if err := eventually.Within(within+20*time.Second, func() bool {
			n, ok := w.only()
			name = n
			return ok && n != not
		}); err != nil {
			t.Fatalf("%s: no bot works", what)
		}
		took, overlap := time.Since(began), w.overlapped()
		t.Logf("figure: %s: one works after %v; two worked for %v", what, took.Round(time.Millisecond), overlap.Round(time.Millisecond))
		if took > within || overlap > mostOverlap() {
			t.Errorf("%s: one works after %v, two worked for %v", what, took, overlap)
		}
		return name
	}
	leader := func() int {
		t.Helper()
		i := -1
		eventually.True(t, "the fleet has a leader", func() bool {
			for _, h := range hubs {
				if !h.Alive() {
					continue
				}
				var f struct{ Leader string }
				if status, body := adminGet(h, "/v1/fleets/default"); status == 200 && json.Unmarshal(body, &f) == nil && f.Leader != "" {
					_, err := fmt.Sscanf(f.Leader, "node-%d", &i)
					return err == nil
				}
			}
			return false
		})
		return i
	}
	restart := func(i int) {
		t.Helper()
		h := hubtest.Start(t, hubtest.Options{
			Name: fmt.Sprint("node-", i), Redis: "redis://" + proxies[i].Addr() + u.Path, Flags: []string{"--enable", "fleet", "--fleet-file", file},
		})
		mu.Lock()
		defer mu.Unlock()
		hubs[i] = h
	}
	settled := func() {
		t.Helper()
		eventually.True(t, "all bots are there", func() bool {
			var f struct{ Bots []struct{ State string } }
			status, body := adminGet(hubs[leader()], "/v1/fleets/default")
			return status == 200 && json.Unmarshal(body, &f) == nil && len(f.Bots) == 3 && !slices.ContainsFunc(f.Bots, func(b struct{ State string }) bool { return b.State == "identified" })
		})
	}
	runner := one("start", -1, again)
	settled()
	workers[runner].cut <- struct{}{}
	runner = one("the runner is killed", runner, again)
	settled()

	hubs[leader()].Kill()
	l := slices.IndexFunc(hubs, func(h *hubtest.Server) bool { return !h.Alive() })
	if runner == l {
		runner = one("the leader's instance, with the runner, is killed", runner, again)
	} else {
		leader()
		runner = one("the leader's instance is killed", -1, again)
	}
	restart(l)
	settled()

	hubs[runner].Kill()
	l = runner
	runner = one("the runner's instance is killed", runner, again)
	restart(l)
	settled()

	proxies[runner].Set(faultproxy.Swallow)
	l = runner
	runner = one("the runner's instance is cut off", runner, again)
	proxies[l].Set(faultproxy.None)
	settled()

	hubs[runner].Signal(syscall.SIGSTOP)
	l = runner
	eventually.True(t, "another one works", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.works) == 2 // the stopped one does not hear
	})
	hubs[l].Signal(syscall.SIGCONT)
	eventually.True(t, "one works", func() bool { _, ok := w.only(); return ok })
	w.overlapped()
	settled()

	redis.Kill()
	eventually.True(t, "none works without Redis", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.works) == 0
	})
	redis.Restart()
	one("Redis is there again", -1, again)
	settled()
}

// adminGet is hubtest.Server.Get with the token, for an instance that may not answer.
func adminGet(h *hubtest.Server, path string) (int, []byte) {
	c, err := net.DialTimeout("tcp", h.AdminAddr, time.Second)
	if err != nil {
		return 0, nil
	}
	_ = c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, h.AdminURL(path), nil)
	if err != nil {
		return 0, nil
	}
	r.Header.Set("Authorization", "Bearer "+h.Token)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, nil
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, body
}

// withoutFleets is a state of main from before there were fleets.
const withoutFleets = "817156526a08d09cd0b3290bb5e32e1a06915410"

// TestOlderRelease: an instance of a release without fleets beside two that manage them does no harm, and takes none.
func TestOlderRelease(t *testing.T) {
	if testing.Short() {
		t.Skip("builds an older release")
	}
	old := hubtest.BinaryOf(t, withoutFleets)
	redis := redistest.Start(t)
	file := filepath.Join(t.TempDir(), "fleets.yaml")
	if err := os.WriteFile(file, []byte("fleets: {default: {token: "+botToken+"}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	older := hubtest.Start(t, hubtest.Options{Name: "old", Redis: redis.URL(), Binary: old})
	var hubs []*hubtest.Server
	for i := range 2 {
		hubs = append(hubs, hubtest.Start(t, hubtest.Options{
			Name: fmt.Sprint("node-", i), Redis: redis.URL(), Flags: []string{"--enable", "fleet", "--fleet-file", file},
		}))
	}
	w := &watch{works: make(map[int]time.Time)}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	t.Cleanup(func() { cancel(); running.Wait() })
	for i, h := range hubs {
		bot := &worker{watch: w, name: i, cut: make(chan struct{}), address: func() string { return h.HubAddr }}
		running.Go(func() { bot.run(ctx) })
	}
	runner := -1
	eventually.True(t, "one bot works", func() bool {
		n, ok := w.only()
		runner = n
		return ok
	})
	began := time.Now()
	hubs[runner].Kill()
	eventually.True(t, "the other bot works", func() bool {
		n, ok := w.only()
		return ok && n != runner
	})
	t.Logf("figure: beside an older release, the runner's instance is killed: one works after %v", time.Since(began).Round(time.Millisecond))
	if took := time.Since(began); took > 10*time.Second || w.overlapped() > mostOverlap() {
		t.Errorf("it took %v", took)
	}
	if n := older.Metrics().Sum("mastersocket_broker_ignored_total"); n > 0 {
		t.Errorf("the older release ignored %v messages", n)
	}
	for _, line := range older.Log() {
		if strings.Contains(line, "level=ERROR") {
			t.Errorf("the older release says %s", line)
		}
	}
}
