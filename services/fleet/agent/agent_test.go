//go:build linux

package agent

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/client"
	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/ratelog"
	"github.com/mastersocket/mastersocket/services/fleet"
	"github.com/mastersocket/mastersocket/services/fleet/wire"
	"github.com/mastersocket/mastersocket/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	patience = 30 * time.Second
	secret   = "shared-secret-secret"
)

// sh returns the arguments that have a shell run a script: the tests' programs, not the agent's way.
func sh(script string) []string { return []string{"/bin/sh", "-c", script} }

func newAgent(t *testing.T, o Options) *Agent {
	t.Helper()
	o.Fleet, o.Log, o.Env = "helium", slog.New(slog.DiscardHandler), os.Environ()
	a, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// isGone reports whether there is no process of that id, not even one that waits to be reaped.
func isGone(pid int) bool { return unix.Kill(pid, 0) == unix.ESRCH }

func pidIn(t *testing.T, file string) int {
	t.Helper()
	pid := 0
	eventually.True(t, "the program has written its process id", func() bool {
		b, err := os.ReadFile(file)
		if err != nil {
			return false
		}
		pid, err = strconv.Atoi(strings.TrimSpace(string(b)))
		return err == nil
	})
	return pid
}

// TestBadPrograms: programs that fail, hang, print without end, or don't exist.
func TestBadPrograms(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pids := filepath.Join(dir, "pid")
	for name, c := range map[string]struct { // one after the other: each looks at the heap
		argv  []string
		limit time.Duration
		want  string // in the error; empty for none
	}{
		"works":                                {sh(`echo out`), time.Minute, ""},
		"fails":                                {sh(`echo why >&2; exit 3`), time.Minute, "exit status 3: why"},
		"fails and says it on standard output": {sh(`echo "because\tof it"; exit 1`), time.Minute, "exit status 1: because of it"},
		"does not exist":                       {[]string{filepath.Join(dir, "none")}, time.Minute, "no such file"},
		"is not executable":                    {[]string{dir}, time.Minute, "permission denied"},
		"hangs":                                {sh(`echo $$ >` + pids + `; sleep 1000 & sleep 1000`), 300 * time.Millisecond, "took longer than 300ms and was killed"},
		"ignores signals":                      {sh(`trap "" TERM INT HUP; while :; do sleep 1; done`), 300 * time.Millisecond, "took longer"},
		"prints 1 GB":                          {sh(`head -c 1000000000 /dev/zero; echo; echo last words; exit 1`), time.Minute, "last words"},
		"leaves one behind":                    {sh(`sleep 1000 & echo $! >` + pids + `2; exit 0`), time.Minute, ""},
		"reads standard input":                 {sh(`cat; exit 4`), time.Minute, "exit status 4"},
		"ends by a signal":                     {sh(`kill -9 $$`), time.Minute, "killed"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAgent(t, Options{Rollback: c.argv, Timeout: c.limit})
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			began := time.Now()
			_, err := a.do(t.Context(), wire.Task{Fleet: "helium", Task: "1", Do: wire.Rollback})
			if took := time.Since(began); took > patience {
				t.Errorf("it took %v", took)
			}
			runtime.ReadMemStats(&after)
			if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 8<<20 {
				t.Errorf("the heap has grown by %d bytes", grown)
			}
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || len(err.Error()) > 400) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	for _, file := range []string{pids, pids + "2"} {
		pid := pidIn(t, file)
		eventually.True(t, fmt.Sprint("process ", pid, " is gone"), func() bool { return isGone(pid) || isZombie(pid) })
	}
}

// isZombie reports whether the process has ended and waits for its parent, which is not the agent.
func isZombie(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	var ppid int
	_, _ = fmt.Sscanf(rest[1:], "%d", &ppid)
	return strings.HasPrefix(rest, "Z") && ppid != os.Getpid()
}

func TestVariables(t *testing.T) {
	t.Parallel()
	out := filepath.Join(t.TempDir(), "out")
	a := newAgent(t, Options{Rollback: sh(`echo "$FLEET_NAME $FLEET_TASK $FLEET_VERSION $FLEET_REVISION" >` + out), Revision: sh(`echo " 3f2a "; echo more`)})
	if _, err := a.do(t.Context(), wire.Task{Fleet: "helium", Do: wire.Rollback, Version: "1.0.0; exit", Revision: "$(x)"}); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(out); string(b) != "helium rollback 1.0.0; exit $(x)\n" {
		t.Errorf("%s", b)
	}
	if revision, err := a.do(t.Context(), wire.Task{Fleet: "helium", Do: wire.Revision}); revision != "3f2a " || err != nil {
		t.Errorf("%q %v", revision, err)
	}
	if _, err := a.do(t.Context(), wire.Task{Fleet: "helium", Do: wire.Deploy}); err == nil {
		t.Error("there is no program for it")
	}
	if _, err := a.do(t.Context(), wire.Task{Fleet: "helium", Do: "rm"}); err == nil {
		t.Error("there is no such task")
	}
}

// TestSpawn: a bot outlives the task, and is reaped when it ends.
func TestSpawn(t *testing.T) {
	t.Parallel()
	pids := filepath.Join(t.TempDir(), "pid")
	a := newAgent(t, Options{Spawn: sh(`echo $$ >` + pids + `; exec sleep 1000`), Grace: 50 * time.Millisecond})
	if _, err := a.do(t.Context(), wire.Task{Do: wire.Spawn}); err != nil {
		t.Fatal(err)
	}
	pid := pidIn(t, pids)
	if isGone(pid) {
		t.Fatal("the bot is gone")
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually.True(t, "the bot is reaped", func() bool { return isGone(pid) })
	for _, argv := range [][]string{sh(`exit 3`), {"/none"}} {
		a.opts.Spawn = argv
		if _, err := a.do(t.Context(), wire.Task{Do: wire.Spawn}); err == nil {
			t.Errorf("%q: no error", argv)
		}
	}
	a.opts.Spawn = sh(`exit 0`) // it asked another program to start the bot
	if _, err := a.do(t.Context(), wire.Task{Do: wire.Spawn}); err != nil {
		t.Error(err)
	}
}

// rig is a hub with the fleet helium, and its agent.
type rig struct {
	t   *testing.T
	url string
}

func newRig(t *testing.T) *rig {
	t.Helper()
	f := fleet.New(fleet.Options{Fleets: []fleet.Settings{{Name: "helium"}}})
	log := slog.New(slog.DiscardHandler)
	o := hub.Options{
		Transport: transport.DefaultOptions(1), PingInterval: 30 * time.Second, IdentifyTimeout: 10 * time.Second, NodeName: t.Name(),
		Tokens: auth.NewStore(auth.SharedToken(secret)), Broker: memory.NewBus().Broker(), Services: []hub.ServiceType{f}, Log: log,
	}
	o.Transport.Log = ratelog.New(log)
	h, err := hub.New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := h.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	addr, err := h.ListenWebSocket(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return &rig{t, "ws://" + addr.String()}
}

func (r *rig) connect(o client.Options) *client.Client {
	r.t.Helper()
	o.URL, o.Token, o.Logger = r.url, secret, slog.New(slog.DiscardHandler)
	o.OnError = func(err *client.HubError) { r.t.Errorf("not delivered: %v", err) }
	c, err := client.Connect(r.t.Context(), o)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = c.Close(ctx)
	})
	return c
}

// TestWithHub: a fleet without bots has its agent spawn one; a task of another client is refused.
func TestWithHub(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	file := filepath.Join(t.TempDir(), "spawned")
	a := newAgent(t, Options{Spawn: sh(`echo "$FLEET_NAME $FLEET_TASK" >>` + file), Deploy: sh(`touch ` + file + `.forged`)})
	hub := r.connect(a.HubOptions(client.Options{}))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx, hub) }()
	other := r.connect(client.Options{Group: "x"})
	forged := wire.Task{Fleet: "helium", Task: "1", Do: wire.Deploy}
	if _, err := other.SendAcked(t.Context(), client.Group(wire.AgentGroup("helium")), wire.EventTask, forged); err != nil {
		t.Fatal(err)
	}
	eventually.True(t, "a bot is spawned", func() bool {
		b, _ := os.ReadFile(file)
		return string(b) == "helium spawn\n"
	})
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(file + ".forged"); err == nil {
		t.Error("the task of a client was carried out")
	}
}
