package sampletest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/client"
	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/faultproxy"
	"github.com/mastersocket/mastersocket/internal/hubtest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	hubtest.Cleanup()
	os.Exit(code)
}

// ping is the hub's ping interval.
const ping = 2 * time.Second

// sample returns the first code block of the language in section 18 of the protocol's description.
func sample(t *testing.T, language string) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "\n## 18. ")
	_, code, found := strings.Cut(section, "\n```"+language+"\n")
	code, _, ended := strings.Cut(code, "\n```\n")
	if !ok || !found || !ended {
		t.Fatalf("docs/protocol.md, section 18, has no sample in %s", language)
	}
	return code + "\n"
}

// front is an HTTP proxy before a hub, with a TCP proxy between them. Both can break what passes.
type front struct {
	*httptest.Server
	tcp      *faultproxy.Proxy
	busy     atomic.Bool // answer with HTTP 503
	refused  atomic.Int32
	upgraded atomic.Int32 // connections passed to the hub
}

func startFront(t *testing.T, hub string) *front {
	f := &front{tcp: faultproxy.Start(t, hub)}
	to := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: f.tcp.Addr()})
	to.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f.busy.Load() {
			f.refused.Add(1)
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		f.upgraded.Add(1)
		to.ServeHTTP(w, r)
	}))
	t.Cleanup(f.Server.Close)
	return f
}

func (f *front) url() string { return "ws" + strings.TrimPrefix(f.URL, "http") }

// process is a running sample.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.WriteCloser
	ended chan struct{}

	mu    sync.Mutex
	lines []string
}

func run(t *testing.T, env []string, name string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(name, args...), ended: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stdout, p.cmd.Stderr = w, w
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	go func() {
		defer close(p.ended)
		for s := bufio.NewScanner(out); s.Scan(); {
			p.mu.Lock()
			p.lines = append(p.lines, s.Text())
			p.mu.Unlock()
		}
		out.Close()
		_ = p.cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.ended
		if t.Failed() {
			all := p.output()
			t.Logf("the sample's last lines:\n%s", strings.Join(all[max(0, len(all)-40):], "\n"))
		}
	})
	return p
}

func (p *process) output() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lines[:len(p.lines):len(p.lines)]
}

// count returns how many lines of the output contain a text.
func (p *process) count(text string) (n int) {
	for _, line := range p.output() {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// await waits until the condition holds. The sample must not end before.
func (p *process) await(what string, holds func() bool) {
	p.t.Helper()
	err := eventually.Within(time.Minute, func() bool {
		select {
		case <-p.ended:
			return true
		default:
			return holds()
		}
	})
	select {
	case <-p.ended:
		if !holds() {
			p.t.Fatalf("the sample ended: %s", what)
		}
	default:
	}
	if err != nil {
		p.t.Fatalf("%s: %v", what, err)
	}
}

// restart starts the hub again at its old address.
func restart(t *testing.T, s *hubtest.Server, token string) *hubtest.Server {
	t.Helper()
	s.Signal(syscall.SIGKILL)
	if _, ok := s.Wait(30 * time.Second); !ok {
		t.Fatal("the hub has not ended")
	}
	return hubtest.Start(t, hubtest.Options{Addr: s.HubAddr, Token: token, Flags: []string{"--ping-interval", ping.String()}})
}

func connect(t *testing.T, s *hubtest.Server, o client.Options) *client.Client {
	t.Helper()
	o.URL, o.Token, o.MaxBackoff = s.URL(), hubtest.Token, time.Second
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := client.Connect(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

// hang makes the hub seem to hang until the sample has noticed it, and returns how long that took.
func (f *front) hang(p *process) time.Duration {
	p.t.Helper()
	lost := p.count("connection lost")
	began := time.Now()
	f.tcp.Set(faultproxy.Swallow)
	p.await("a hub that hangs is noticed", func() bool { return p.count("connection lost") > lost })
	took := time.Since(began)
	f.tcp.Set(faultproxy.None)
	return took
}

// python returns a Python interpreter that has the package websockets.
func python(t *testing.T) string {
	for _, name := range []string{"python3", "/usr/bin/python3"} {
		if exec.Command(name, "-c", "import websockets").Run() == nil {
			return name
		}
	}
	t.Skip("needs python3 with the package websockets (Debian: python3-websockets)")
	return ""
}

// The Python worker survives HTTP 503, bad data, a hub that hangs or dies, and a token that the hub does not know for a while.
func TestPython(t *testing.T) {
	t.Parallel()
	interpreter := python(t)
	s := hubtest.Start(t, hubtest.Options{Flags: []string{"--ping-interval", ping.String()}})
	f := startFront(t, s.HubAddr)
	const address = `"ws://127.0.0.1:42069"`
	code := sample(t, "python")
	if strings.Count(code, address) != 1 {
		t.Fatalf("the sample does not connect to %s", address)
	}
	file := filepath.Join(t.TempDir(), "worker.py")
	if err := os.WriteFile(file, []byte(strings.Replace(code, address, fmt.Sprintf("%q", f.url()), 1)), 0o600); err != nil {
		t.Fatal(err)
	}

	f.busy.Store(true)
	p := run(t, []string{"MASTERSOCKET_TOKEN=" + hubtest.Token}, interpreter, file)
	p.await("it tries again after HTTP 503", func() bool { return f.refused.Load() >= 3 })
	f.busy.Store(false)
	c := connect(t, s, client.Options{Group: "callers"})
	ask := func(data string) (string, error) {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		m, err := c.Request(ctx, client.Any("workers"), "sum", json.RawMessage(data))
		if err != nil {
			return "", err
		}
		return string(m.Data), nil
	}
	works := func() bool { got, err := ask("[1,2]"); return err == nil && got == "3" }
	p.await("it answers", works)

	connections := f.upgraded.Load()
	for _, data := range []string{
		`"text"`, `null`, `7`, `{"a":1}`, `[1e400]`, `[-1e400,1e400]`, `[null]`, `[[]]`, `["` + strings.Repeat("x", 30000) + `"]`,
		strings.Repeat("[", 63) + strings.Repeat("]", 63),
	} {
		if got, err := ask(data); err != nil || !strings.HasPrefix(got, `{"error": `) {
			t.Errorf("sum of %.40s: %.100s, %v; want an error", data, got, err)
		}
	}
	if got, err := ask("[" + strings.Repeat("9", 309) + ",1]"); err != nil || len(got) != 310 {
		t.Errorf("a number with 309 digits: %s, %v", got, err)
	}
	for _, data := range []string{"[" + strings.Repeat("9", 5000) + "]"} {
		if err := c.Send(context.Background(), client.Group("workers"), "sum", json.RawMessage(data)); err != nil {
			t.Error(err)
		}
	}
	if !works() || f.upgraded.Load() != connections {
		t.Errorf("after bad data it does not answer, or over connection %d instead of %d", f.upgraded.Load(), connections)
	}

	if took := f.hang(p); took > 2*ping+10*time.Second {
		t.Errorf("the hang was noticed after %v, want %v and a little", took, 2*ping)
	}
	p.await("it answers after a hang", works)

	s = restart(t, s, "")
	p.await("it answers after the hub's end", works)
	restart(t, s, "another-token-that-is-long-enough")
	p.await("its token is refused", func() bool { return p.count("IDENTIFY_FAILED") > 0 })
	select {
	case <-p.ended:
		t.Error("it ended because its token was refused")
	default:
	}
}

// node returns environment variables and arguments with which node has a WebSocket.
func node(t *testing.T) (env, args []string) {
	if exec.Command("node", "-e", "new WebSocket").Run() != nil && exec.Command("node", "--version").Run() != nil {
		t.Skip("needs node")
	}
	if exec.Command("node", "-e", "if (!globalThis.WebSocket) process.exit(1)").Run() == nil {
		return nil, nil
	}
	if root, err := exec.Command("npm", "root", "-g").Output(); err == nil && os.Getenv("NODE_PATH") == "" {
		env = []string{"NODE_PATH=" + strings.TrimSpace(string(root))}
	}
	cmd := exec.Command("node", "-e", `require("ws")`)
	cmd.Env = append(os.Environ(), env...)
	if cmd.Run() != nil {
		t.Skip("needs node 22 or later, or the package ws (npm install -g ws)")
	}
	return env, []string{"-e"}
}

// sink is a receiver of numbers.
type sink struct {
	mu  sync.Mutex
	got map[int]int
}

func (s *sink) take(_ context.Context, m *client.Message) {
	var n int
	_ = m.Unmarshal(&n)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got[n]++
}

func (s *sink) count(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got[n]
}

// Each send of the JavaScript client resolves and arrives, or rejects, while connections break and hang, and while its own
// functions fail.
func TestJavaScript(t *testing.T) {
	t.Parallel()
	env, args := node(t)
	s := hubtest.Start(t, hubtest.Options{Flags: []string{"--ping-interval", ping.String()}})
	f := startFront(t, s.HubAddr)
	received := &sink{got: map[int]int{}}
	c := connect(t, s, client.Options{Group: "sink", On: map[string]client.Handler{"n": received.take}})
	driver, err := os.ReadFile("testdata/driver.js")
	if err != nil {
		t.Fatal(err)
	}
	code := sample(t, "js") + string(driver)
	if len(args) > 0 {
		code = `globalThis.WebSocket = require("ws");` + "\n" + code
	}
	file := filepath.Join(t.TempDir(), "client.js")
	if err := os.WriteFile(file, []byte(code), 0o600); err != nil {
		t.Fatal(err)
	}

	f.busy.Store(true)
	p := run(t, env, "node", file, f.url(), hubtest.Token)
	p.await("it tries again after HTTP 503", func() bool { return f.refused.Load() >= 3 })
	f.busy.Store(false)
	for i := range 2 {
		p.await("it identifies", func() bool { return p.count("READY") > i })
		if err := c.Send(context.Background(), client.Group("senders"), fmt.Sprint("e", i), json.RawMessage("1e400")); err != nil {
			t.Fatal(err)
		}
		p.await("it receives", func() bool { return p.count(fmt.Sprint("GOT e", i)) > 0 })
		acked := p.count("OK ")
		p.await("it sends", func() bool { return p.count("OK ") > acked+20 })
		f.tcp.Cut()
	}
	p.await("it identifies again", func() bool { return p.count("READY") > 2 })
	if took := f.hang(p); took > 2*ping+10*time.Second {
		t.Errorf("the hang was noticed after %v, want %v and a little", took, 2*ping)
	}
	p.await("it identifies after a hang", func() bool { return p.count("READY") > 3 })
	acked := p.count("OK ")
	p.await("it sends after a hang", func() bool { return p.count("OK ") > acked+20 })
	if _, err := io.WriteString(p.stdin, "stop\n"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.ended:
	case <-time.After(time.Minute):
		t.Fatal("not every send has an outcome")
	}
	checkOutcomes(t, p.output(), received)
}

// checkOutcomes checks that each number has one outcome and that the outcome is true.
func checkOutcomes(t *testing.T, lines []string, received *sink) {
	t.Helper()
	outcomes, sent := map[int]int{}, 0
	var ok, refused, unknown int
	for _, line := range lines {
		var n int
		switch {
		case strings.HasPrefix(line, "DONE "):
			_, _ = fmt.Sscanf(line, "DONE %d", &sent)
			continue
		case strings.HasPrefix(line, "OK "):
			_, _ = fmt.Sscanf(line, "OK %d", &n)
			ok++
			if err := eventually.Within(10*time.Second, func() bool { return received.count(n) == 1 }); err != nil {
				t.Errorf("message %d was acknowledged and arrived %d times", n, received.count(n))
			}
		case strings.HasPrefix(line, "NO "):
			_, _ = fmt.Sscanf(line, "NO %d", &n)
			switch {
			case strings.Contains(line, "not sent"):
				refused++
				if received.count(n) != 0 {
					t.Errorf("%s, and it arrived", line)
				}
			case strings.Contains(line, "outcome unknown"):
				unknown++
			default:
				t.Errorf("%s", line)
			}
		default:
			continue
		}
		outcomes[n]++
	}
	for n := 1; n <= sent; n++ {
		if outcomes[n] != 1 {
			t.Errorf("message %d has %d outcomes", n, outcomes[n])
		}
	}
	t.Logf("%d messages: %d acknowledged, %d not sent, %d unknown", sent, ok, refused, unknown)
	if sent == 0 || ok < 50 || refused == 0 {
		t.Errorf("%d messages: %d acknowledged, %d not sent, %d unknown", sent, ok, refused, unknown)
	}
}
