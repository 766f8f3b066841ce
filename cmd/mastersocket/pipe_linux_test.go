package main

import (
	"bufio"
	"context"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/mastersocket/mastersocket/client"
	"github.com/mastersocket/mastersocket/internal/hubtest"
)

// piped is a command whose output goes through pipes that a test reads.
type piped struct {
	t           *testing.T
	cmd         *exec.Cmd
	out, stderr *os.File
}

func startPiped(t *testing.T, env []string, args ...string) *piped {
	t.Helper()
	p := &piped{t: t, cmd: exec.Command(hubtest.Binary(t), args...)}
	var ends [2]*os.File
	for i, end := range []**os.File{&p.out, &p.stderr} {
		var err error
		if *end, ends[i], err = os.Pipe(); err != nil {
			t.Fatal(err)
		}
	}
	p.cmd.Stdout, p.cmd.Stderr = ends[0], ends[1]
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ends[0].Close()
	ends[1].Close()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		p.out.Close()
		p.stderr.Close()
	})
	return p
}

// readUntil reads standard error up to a line with the text, and returns the rest of that line.
func (p *piped) readUntil(text string) (rest string) {
	p.t.Helper()
	var read strings.Builder
	lines := bufio.NewReader(p.stderr)
	for {
		line, err := lines.ReadString('\n')
		read.WriteString(line)
		if _, rest, ok := strings.Cut(line, text); ok {
			return strings.TrimSpace(rest)
		}
		if err != nil {
			p.t.Fatalf("no %q in standard error (%v):\n%s", text, err, &read)
		}
	}
}

// end sends the signal and returns the exit code; -1 where another signal ended the process.
func (p *piped) end(s syscall.Signal) int {
	p.t.Helper()
	_ = p.cmd.Process.Signal(s)
	_ = p.cmd.Wait()
	return p.cmd.ProcessState.ExitCode()
}

// TestHubOutlivesReaderOfLog closes the pipe that a hub logs to, and has it log more.
func TestHubOutlivesReaderOfLog(t *testing.T) {
	t.Parallel()
	p := startPiped(t, []string{"MASTERSOCKET_TOKEN=" + hubtest.Token}, "serve", "--listen=127.0.0.1:0", "--admin-listen=off", "--log-level=debug")
	addr, _, _ := strings.Cut(p.readUntil("listener=hub addr="), " ")
	p.stderr.Close()
	p.out.Close()
	for range 3 { // each is a line of the log
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		c, err := client.Connect(ctx, client.Options{URL: "ws://" + addr, Token: hubtest.Token, Group: "g"})
		if err != nil {
			t.Fatalf("the hub is gone: %v", err)
		}
		if err := c.Close(ctx); err != nil {
			t.Error(err)
		}
	}
	if code := p.end(syscall.SIGTERM); code != 0 {
		t.Errorf("the hub ended with %d: %v", code, p.cmd.ProcessState)
	}
}

// TestSubOutlivesReaderOfStderr closes the pipe of standard error, and ends the hub, which the subscriber reports there. A
// new connection shows that it is alive.
func TestSubOutlivesReaderOfStderr(t *testing.T) {
	t.Parallel()
	hub := hubtest.Start(t, hubtest.Options{})
	x := newTools(t, hub)
	p := startPiped(t, x.env, "sub", "--group", "g")
	p.readUntil("connected to")
	p.stderr.Close()
	addr := hub.HubAddr
	hub.Kill()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if code := p.end(syscall.SIGINT); code != 0 {
		t.Errorf("the subscriber ended with %d: %v", code, p.cmd.ProcessState)
	}
}
