package conformance

import (
	"fmt"
	"io"
	"net"
	"os"
	"path"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/faultproxy"
	"github.com/mastersocket/mastersocket/internal/figure"
	"github.com/mastersocket/mastersocket/internal/history"
	"github.com/mastersocket/mastersocket/internal/hubtest"
	"github.com/mastersocket/mastersocket/internal/redistest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	hubtest.Cleanup()
	_ = os.RemoveAll(programs())
	os.Exit(code)
}

// balancer passes each connection to one of the servers that accept one, in turn.
type balancer struct {
	listener net.Listener
	servers  []string
	next     atomic.Int64
	running  sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool // of clients
}

func startBalancer(t *testing.T, servers []string) *balancer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &balancer{listener: l, servers: servers, conns: map[net.Conn]bool{}}
	b.running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b.running.Go(func() { b.pass(c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		b.running.Wait()
	})
	return b
}

// pass ends with both connections.
func (b *balancer) pass(client net.Conn) {
	b.mu.Lock()
	b.conns[client] = true
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		delete(b.conns, client)
		b.mu.Unlock()
		_ = client.Close()
	}()
	first := int(b.next.Add(1))
	for i := range b.servers {
		server, err := net.Dial("tcp", b.servers[(first+i)%len(b.servers)])
		if err != nil {
			continue
		}
		defer server.Close()
		var both sync.WaitGroup
		both.Go(func() { pipe(server, client) })
		pipe(client, server)
		both.Wait()
		return
	}
}

// reset resets the connections of all clients.
func (b *balancer) reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.conns {
		_ = c.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
	}
}

// pipe copies to the end, and passes it on.
func pipe(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	if tcp, ok := to.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
	}
	_ = from.(*net.TCPConn).CloseRead()
}

// loads are the programs that run many clients of an SDK; README.md describes them.
var loads = []adapter{
	{name: "go", start: buildGo("./goload")},
	{name: "python", start: loadOf(findPython), dir: "../python"},
	{name: "typescript", start: loadOf(node()), dir: "../typescript"},
}

// loadOf turns the command line of an adapter into that of the load beside it.
func loadOf(start func(*testing.T) ([]string, string)) func(*testing.T) ([]string, string) {
	return func(t *testing.T) (command []string, missing string) {
		command, missing = start(t)
		for i, word := range command {
			switch {
			case filepath.Base(word) == "adapter.mjs":
				command[i] = filepath.Join(filepath.Dir(word), "load.mjs")
			case word == "tests.adapter":
				command[i] = "tests.load"
			}
		}
		return command, missing
	}
}

// eachLoad runs f with the load of each SDK.
func eachLoad(t *testing.T, f func(t *testing.T, start func(url string, o loadOptions) *load)) {
	t.Parallel()
	for _, a := range loads {
		t.Run(a.name, func(t *testing.T) {
			command := a.command(t)
			f(t, func(url string, o loadOptions) *load { return startLoad(t, command, a.dir, url, o) })
		})
	}
}

type loadOptions struct {
	clients int
	rate    float64 // messages per second, of all clients together
	asking  bool    // they are requests, whose answers are checked
}

// load is a running load.
type load struct {
	t *testing.T
	*process
}

func startLoad(t *testing.T, command []string, dir, url string, o loadOptions) *load {
	t.Helper()
	l := &load{t, startProcess(t, command, dir)}
	start := "start"
	if o.asking {
		start = "start_asking"
	}
	l.command(map[string]any{"cmd": start, "url": url, "token": hubtest.Token, "clients": o.clients, "rate": o.rate})
	return l
}

// command gives the load a command and returns its outcome.
func (l *load) command(c map[string]any) map[string]any {
	l.t.Helper()
	c["n"] = 1
	if err := l.call(c); err != nil {
		l.t.Fatal(err)
	}
	select {
	case line := <-l.results:
		if line["error"] != nil {
			l.t.Fatalf("%v: %v", c["cmd"], line["error"])
		}
		return line["ok"].(map[string]any)
	case <-l.ended:
		l.t.Fatal("the load has ended")
	case <-time.After(time.Minute):
		l.t.Fatalf("no outcome of %v within a minute", c["cmd"])
	}
	return nil
}

// await waits for n events of the clients with this name, and returns the time until the last one.
func (l *load) await(event string, n int, within time.Duration) time.Duration {
	l.t.Helper()
	begin := time.Now()
	for timeout := time.After(within); n > 0; {
		select {
		case e := <-l.events:
			if e["event"] == event {
				n--
			}
		case <-timeout:
			l.t.Fatalf("%d events %q are missing after %v", n, event, within)
		}
	}
	return time.Since(begin)
}

// finish ends the load and judges its record.
func (l *load) finish(o history.Options) (*history.Report, map[string]any) {
	l.t.Helper()
	file := filepath.Join(l.t.TempDir(), "history.ndjson")
	counts := l.command(map[string]any{"cmd": "finish", "file": file})
	f, err := os.Open(file)
	if err != nil {
		l.t.Fatal(err)
	}
	defer f.Close()
	h := history.New(0)
	if err := h.ReadNDJSON(f); err != nil {
		l.t.Fatal(err)
	}
	r := h.Check(o)
	figure.Printf(l.t, "%d messages (%.0f a second), %d deliveries: %d lost, %d duplicated, %d reordered, %d misrouted; %d moves, %d absences, "+
		"%d missed meanwhile; %v refused, of them %d for a former id; %v outcomes unknown, unanswered %v", r.Messages,
		float64(r.Messages)/(counts["took_ms"].(float64)/1000), r.Arrivals, r.Counts[history.Lost], r.Counts[history.Duplicated],
		r.Counts[history.Reordered], r.Counts[history.Misrouted], r.Moves, r.Absences, r.Missed, r.Refused, r.Outdated, counts["outcome_unknown"], counts["unanswered"])
	if err := r.Err(); err != nil {
		l.t.Errorf("the protocol's guarantees do not hold: %v", err)
	}
	if failures := counts["failures"].(map[string]any); len(failures) > 0 {
		l.t.Errorf("failures: %v", failures)
	}
	return r, counts
}

// finishAsking ends the requests of a load and judges them: each has the right answer or fails, and none hangs. It returns how
// many failed, by reason.
func (l *load) finishAsking() (failed map[string]any) {
	l.t.Helper()
	counts := l.command(map[string]any{"cmd": "finish_asking"})
	failed = counts["failed"].(map[string]any)
	sum := counts["answered"].(float64)
	for _, n := range failed {
		sum += n.(float64)
	}
	figure.Printf(l.t, "%s: %v requests: %v answered, failed %v; %v wrong, %v hung", path.Base(l.t.Name()), counts["sent"], counts["answered"], failed, counts["wrong"], counts["hung"])
	if counts["wrong"] != 0.0 || counts["hung"] != 0.0 || counts["sent"] != sum || counts["answered"] == 0.0 {
		l.t.Errorf("of the requests %v", counts)
	}
	return failed
}

// cluster is several instances behind a balancer.
type cluster struct {
	t    *testing.T
	o    hubtest.Options
	hubs []*hubtest.Server
	*balancer
	url string
}

func startCluster(t *testing.T, n int, flags ...string) *cluster {
	t.Helper()
	c := &cluster{t: t, o: hubtest.Options{Redis: redistest.Start(t).URL(), Quiet: true, Flags: flags}}
	var addrs []string
	for i := range n {
		c.o.Name = fmt.Sprintf("hub-%d", i)
		c.hubs = append(c.hubs, hubtest.Start(t, c.o))
		addrs = append(addrs, c.hubs[i].HubAddr)
	}
	c.balancer = startBalancer(t, addrs)
	c.url = "ws://" + c.listener.Addr().String()
	c.awaitAll()
	return c
}

// awaitAll waits until all instances know each other.
func (c *cluster) awaitAll() {
	c.t.Helper()
	for _, h := range c.hubs {
		eventually.True(c.t, "the instances to find each other", func() bool {
			return int(h.Metrics().Sum("mastersocket_nodes")) == len(c.hubs)
		})
	}
}

// start starts instance i again, with its address.
func (c *cluster) start(i int) {
	c.t.Helper()
	c.o.Name, c.o.Addr = fmt.Sprintf("hub-%d", i), c.hubs[i].HubAddr
	c.hubs[i] = hubtest.Start(c.t, c.o)
	c.awaitAll()
}

// clientsOf returns how many clients an instance has.
func (c *cluster) clientsOf(i int) int {
	return int(c.hubs[i].Metrics().Sum("mastersocket_connections"))
}

// Three instances are restarted one after the other; the clients don't notice.
func TestRealRollingRestart(t *testing.T) {
	eachLoad(t, func(t *testing.T, start func(string, loadOptions) *load) {
		c := startCluster(t, 3, "--drain-timeout=30s", "--drain-rate=100")
		l := start(c.url, loadOptions{clients: 100, rate: 500})
		for i := range c.hubs {
			clients := c.clientsOf(i)
			c.hubs[i].Signal(syscall.SIGTERM)
			if _, ok := c.hubs[i].Wait(40 * time.Second); !ok {
				t.Fatal("the hub has not ended")
			}
			l.await("moved", clients, time.Minute)
			c.start(i)
		}
		r, counts := l.finish(history.Options{})
		if r.Absences > 0 || r.Moves == 0 {
			t.Errorf("%d moves, %d absences", r.Moves, r.Absences)
		}
		refused := 0
		for _, n := range r.Refused {
			refused += n
		}
		// A request to an id may cross the DISCONNECT with which its client leaves that id. It has arrived, and the hub says that no
		// answer can come.
		left, _ := counts["unanswered"].(map[string]any)["NO_REASON"].(float64)
		if refused > r.Outdated+int(left) {
			t.Errorf("%v refused, but for a former id only %d; unanswered %v", r.Refused, r.Outdated, counts["unanswered"])
		}
	})
}

// One of two instances is killed and started again. Each send either arrives or fails.
func TestRealKill(t *testing.T) {
	eachLoad(t, func(t *testing.T, start func(string, loadOptions) *load) {
		c := startCluster(t, 2)
		l := start(c.url, loadOptions{clients: 40, rate: 400})
		clients := c.clientsOf(0)
		c.hubs[0].Kill()
		back := l.await("back", clients, 30*time.Second)
		figure.Printf(t, "%d clients of the killed instance were connected again after %v", clients, figure.MS(back))
		c.start(0)
		if r, _ := l.finish(history.Options{Fault: true}); r.Absences != clients {
			t.Errorf("%d absences, want %d", r.Absences, clients)
		}
	})
}

// Requests while three instances are restarted one after the other: each is answered.
func TestRealRequestsRollingRestart(t *testing.T) {
	eachLoad(t, func(t *testing.T, start func(string, loadOptions) *load) {
		c := startCluster(t, 3, "--drain-timeout=30s", "--drain-rate=100")
		l := start(c.url, loadOptions{clients: 30, rate: 150, asking: true})
		for i := range c.hubs {
			clients := c.clientsOf(i)
			c.hubs[i].Signal(syscall.SIGTERM)
			if _, ok := c.hubs[i].Wait(40 * time.Second); !ok {
				t.Fatal("the hub has not ended")
			}
			l.await("moved", clients, time.Minute)
			c.start(i)
		}
		failed := l.finishAsking()
		if len(failed) > 0 {
			t.Errorf("failed: %v", failed)
		}
	})
}

// Requests while one of two instances is killed: each is answered, or fails with a reason.
func TestRealRequestsKill(t *testing.T) {
	eachLoad(t, func(t *testing.T, start func(string, loadOptions) *load) {
		c := startCluster(t, 2)
		l := start(c.url, loadOptions{clients: 30, rate: 150, asking: true})
		clients := c.clientsOf(0)
		c.hubs[0].Kill()
		l.await("back", clients, time.Minute)
		c.start(0)
		l.finishAsking()
	})
}

// All connections break at once, again and again. Each send either arrives or fails.
func TestRealReconnectStorm(t *testing.T) {
	eachLoad(t, func(t *testing.T, start func(string, loadOptions) *load) {
		const storms, clients = 4, 60
		c := startCluster(t, 2)
		l := start(c.url, loadOptions{clients: clients, rate: 300})
		for range storms {
			c.reset()
			l.await("back", clients, time.Minute)
		}
		if r, _ := l.finish(history.Options{Fault: true}); r.Absences != storms*clients {
			t.Errorf("%d absences, want %d", r.Absences, storms*clients)
		}
	})
}

const realPing = 2 * time.Second

// testNotice checks that clients notice within two ping intervals that nothing comes from the hub any more. On a busy machine
// the clients' process may not run in time, so the best of some attempts counts.
func testNotice(t *testing.T, what string, l *load, stop, resume func()) {
	t.Helper()
	const clients, attempts = 10, 5
	for i := 1; ; i++ {
		stop()
		took := l.await("lost", clients, time.Minute)
		resume()
		l.await("back", clients, time.Minute)
		figure.Printf(t, "all clients noticed %s within %v, %.2f times the ping interval", what, figure.MS(took), took.Seconds()/realPing.Seconds())
		if took <= 2*realPing {
			break
		}
		if i == attempts {
			t.Errorf("noticed %s after %v, want at most twice the ping interval of %v", what, took, realPing)
			break
		}
	}
	l.finish(history.Options{Fault: true})
}

// An instance hangs: the clients notice by themselves.
func TestRealHang(t *testing.T) {
	eachLoad(t, func(t *testing.T, start func(string, loadOptions) *load) {
		hub := hubtest.Start(t, hubtest.Options{Quiet: true, Flags: []string{"--ping-interval=" + realPing.String()}})
		l := start(hub.URL(), loadOptions{clients: 10, rate: 50})
		testNotice(t, "a hub that hangs", l, func() { hub.Signal(syscall.SIGSTOP) }, func() { hub.Signal(syscall.SIGCONT) })
	})
}

// The network swallows everything: the clients notice by themselves.
func TestRealHalfOpen(t *testing.T) {
	eachLoad(t, func(t *testing.T, start func(string, loadOptions) *load) {
		hub := hubtest.Start(t, hubtest.Options{Quiet: true, Flags: []string{"--ping-interval=" + realPing.String()}})
		proxy := faultproxy.Start(t, hub.HubAddr)
		l := start("ws://"+proxy.Addr(), loadOptions{clients: 10, rate: 50})
		testNotice(t, "a half-open connection", l, func() { proxy.Set(faultproxy.Swallow) }, func() { proxy.Set(faultproxy.None) })
	})
}
