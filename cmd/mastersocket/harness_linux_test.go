package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/client"
	"github.com/mastersocket/mastersocket/internal/hubtest"
)

func TestMain(m *testing.M) {
	// Neither settings nor a hub of the user who runs the tests may take part in them.
	for _, name := range []string{"URL", "ADMIN_URL", "TOKEN", "TOKEN_FILE"} {
		_ = os.Unsetenv("MASTERSOCKET_" + name)
	}
	home, err := os.MkdirTemp("", "mastersocket-home-")
	if err != nil {
		panic(err)
	}
	_ = os.Setenv("XDG_CACHE_HOME", home)
	code := m.Run()
	hubtest.Cleanup()
	_ = os.RemoveAll(home)
	os.Exit(code)
}

// patience is how long a command may take that should end by itself.
const patience = 30 * time.Second

// command is a running command.
type command struct {
	t        *testing.T
	cmd      *exec.Cmd
	out, err *output
	ended    chan struct{}
}

// output collects what a command writes, and lets a test wait for it.
type output struct {
	mu      sync.Mutex
	buf     bytes.Buffer
	changed chan struct{}
}

func newOutput() *output { return &output{changed: make(chan struct{}, 1)} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.buf.Write(p)
	select {
	case o.changed <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// waitFor waits until the output has the text.
func (o *output) waitFor(t *testing.T, text string) {
	t.Helper()
	timeout := time.After(patience)
	for !strings.Contains(o.String(), text) {
		select {
		case <-o.changed:
		case <-timeout:
			t.Fatalf("no %q in the output:\n%s", text, o)
		}
	}
}

// start starts the built binary. in may be nil.
func start(t *testing.T, in io.Reader, env []string, args ...string) *command {
	t.Helper()
	c := &command{t: t, cmd: exec.Command(hubtest.Binary(t), args...), out: newOutput(), err: newOutput(), ended: make(chan struct{})}
	c.cmd.Stdin, c.cmd.Stdout, c.cmd.Stderr = in, c.out, c.err
	c.cmd.Env = append(os.Environ(), env...)
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = c.cmd.Wait()
		close(c.ended)
	}()
	t.Cleanup(func() {
		_ = c.cmd.Process.Kill()
		<-c.ended
		for _, text := range []string{c.out.String(), c.err.String()} {
			if strings.Contains(text, hubtest.Token) || strings.Contains(text, "panic:") || strings.Contains(text, "DATA RACE") {
				t.Errorf("%q printed a token, a panic or a race:\n%s", args, text)
			}
		}
	})
	return c
}

// code waits for the command to end and returns its exit code; -1 after a signal.
func (c *command) code() int {
	c.t.Helper()
	select {
	case <-c.ended:
	case <-time.After(patience):
		c.t.Fatalf("%q still runs:\n%s%s", c.cmd.Args[1:], c.out, c.err)
	}
	return c.cmd.ProcessState.ExitCode()
}

func (c *command) signal(s syscall.Signal) {
	c.t.Helper()
	if err := c.cmd.Process.Signal(s); err != nil {
		c.t.Fatal(err)
	}
}

// want checks how the command ended and what it printed; the text is found anywhere in standard error.
func (c *command) want(code int, out, stderr string) {
	c.t.Helper()
	if got := c.code(); got != code || c.out.String() != out || !strings.Contains(c.err.String(), stderr) {
		c.t.Errorf("%q ended with %d, want %d\nstdout %q, want %q\nstderr %q, want %q in it",
			c.cmd.Args[1:], got, code, c.out, out, c.err, stderr)
	}
}

// tools runs commands against one hub.
type tools struct {
	t   *testing.T
	env []string
}

func newTools(t *testing.T, s *hubtest.Server) tools {
	return tools{t, []string{"MASTERSOCKET_URL=" + s.URL(), "MASTERSOCKET_TOKEN=" + s.Token}}
}

func (x tools) start(in string, args ...string) *command {
	x.t.Helper()
	return start(x.t, strings.NewReader(in), x.env, args...)
}

// sub starts a subscriber and waits until it is connected.
func (x tools) sub(args ...string) *command {
	x.t.Helper()
	c := x.start("", append([]string{"sub"}, args...)...)
	c.err.waitFor(x.t, "connected to")
	return c
}

// firstEnd returns a hook for OnDisconnect, and a channel that gets the first reason. A client connects again after it.
func firstEnd() (hook func(error), first <-chan error) {
	ended := make(chan error, 1)
	return func(reason error) {
		select {
		case ended <- reason:
		default:
		}
	}, ended
}

// dialHub connects a client of the SDK.
func dialHub(t *testing.T, x tools, o client.Options) *client.Client {
	t.Helper()
	o.URL = strings.TrimPrefix(x.env[0], "MASTERSOCKET_URL=")
	o.Token = strings.TrimPrefix(x.env[1], "MASTERSOCKET_TOKEN=")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := client.Connect(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = c.Close(ctx)
	})
	return c
}
