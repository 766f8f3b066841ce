// Package redistest runs real redis-server processes for tests, and breaks them.
//
// A Server listens on a free port of 127.0.0.1, keeps nothing on disk and ends with its test. Its methods may be called
// from any goroutine, except Kill, Restart, Pause and Resume, which must not overlap. A missing redis-server fails the
// test, unless [EnvWithout] is set: communication between instances is never tested against a mock.
package redistest

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/internal/freeport"
)

// startTimeout bounds the time until a redis-server answers.
const startTimeout = 20 * time.Second

// Server is one redis-server process.
type Server struct {
	tb     testing.TB
	host   string
	port   int
	args   []string // of the command, without host and port
	dir    string
	auth   []string // the AUTH command, if args have --requirepass
	within func(start func() error) error

	cmd    *exec.Cmd
	exited chan struct{} // closed once cmd has ended
	output *bytes.Buffer // of cmd; to be read only after exited
}

// Start runs a redis-server, empty and without persistence, until tb ends; args are added to its command line.
func Start(tb testing.TB, args ...string) *Server {
	tb.Helper()
	dir := tb.TempDir()
	return start(tb, dir, append(plain(dir), args...))
}

// StartAt is Start at another address than a free port of 127.0.0.1. StartAt passes within a function that starts the
// process; within may run it on a thread of another network namespace. The test must be able to reach the address.
func StartAt(tb testing.TB, host string, port int, within func(start func() error) error) *Server {
	tb.Helper()
	dir := tb.TempDir()
	needProgram(tb)
	// To Redis other namespaces are other hosts, and there is no password.
	args := append(plain(dir), "--protected-mode", "no")
	s := &Server{tb: tb, host: host, port: port, args: args, dir: dir, within: within}
	tb.Cleanup(s.Kill)
	if err := s.launch(); err != nil {
		tb.Fatalf("redistest: start redis-server on %s: %v", s.Addr(), err)
	}
	return s
}

// plain returns the arguments of a server without persistence.
func plain(dir string) []string {
	return []string{"--dir", dir, "--save", "", "--appendonly", "no", "--loglevel", "warning"}
}

// StartSentinel runs a Redis Sentinel that watches master under name, with a down time of half a second.
func StartSentinel(tb testing.TB, master *Server, name string) *Server {
	tb.Helper()
	dir := tb.TempDir()
	file := filepath.Join(dir, "sentinel.conf")
	config := fmt.Sprintf("sentinel monitor %s 127.0.0.1 %d 1\nsentinel down-after-milliseconds %s 500\n"+
		"sentinel failover-timeout %s 2000\n", name, master.port, name, name)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		tb.Fatalf("redistest: %v", err)
	}
	return start(tb, dir, []string{file, "--sentinel"})
}

func start(tb testing.TB, dir string, args []string) *Server {
	tb.Helper()
	needProgram(tb)
	s := &Server{tb: tb, host: "127.0.0.1", args: args, dir: dir, within: func(start func() error) error { return start() }}
	if i := slices.Index(args, "--requirepass"); i >= 0 && i+1 < len(args) {
		s.auth = []string{"AUTH", args[i+1]}
	}
	tb.Cleanup(s.Kill)
	var err error
	for range 5 { // a server that is no test's may take the port before redis-server does
		s.port = freeport.Take(tb)
		if err = s.launch(); err == nil {
			return s
		}
	}
	tb.Fatalf("redistest: start redis-server: %v", err)
	return nil
}

// EnvWithout names the variable that, with any value, skips the tests that need Redis. make check sets it; make test
// never does.
const EnvWithout = "MASTERSOCKET_TEST_NO_SERVICES"

func needProgram(tb testing.TB) {
	tb.Helper()
	if os.Getenv(EnvWithout) != "" {
		tb.Skip("needs redis-server, which " + EnvWithout + " leaves out; make test runs this test")
	}
	if _, err := exec.LookPath("redis-server"); err != nil {
		tb.Fatalf("redistest: these tests need the redis-server program (Debian: apt-get install redis-server): %v", err)
	}
}

// launch starts the process and waits until it answers.
func (s *Server) launch() error {
	args := append(slices.Clone(s.args), "--port", strconv.Itoa(s.port), "--bind", s.host, "--daemonize", "no")
	cmd, output, exited := exec.Command("redis-server", args...), &bytes.Buffer{}, make(chan struct{})
	cmd.Stdout, cmd.Stderr, cmd.Dir = output, output, s.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.within(cmd.Start); err != nil {
		return err
	}
	go func() {
		_ = cmd.Wait() // it ended by a signal
		close(exited)
	}()
	s.cmd, s.exited, s.output = cmd, exited, output
	return s.awaitReady()
}

func (s *Server) awaitReady() error {
	retry := time.NewTicker(5 * time.Millisecond)
	defer retry.Stop()
	deadline := time.After(startTimeout)
	for {
		select {
		case <-s.exited:
			return fmt.Errorf("it ended: %s", strings.TrimSpace(s.output.String()))
		case <-deadline:
			s.Kill()
			return fmt.Errorf("no answer within %v: %s", startTimeout, strings.TrimSpace(s.output.String()))
		case <-retry.C:
			if reply, err := s.do("PING"); err == nil && reply == "PONG" {
				return nil
			}
		}
	}
}

// Addr returns the server's host and port, which Restart keeps.
func (s *Server) Addr() string { return net.JoinHostPort(s.host, strconv.Itoa(s.port)) }

// Port returns the port of Addr.
func (s *Server) Port() int { return s.port }

// URL returns the server's address in the form redis://host:port.
func (s *Server) URL() string { return "redis://" + s.Addr() }

// Kill ends the process with SIGKILL and waits for its end. A killed server may be killed again.
func (s *Server) Kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill() // an error means that it has already ended
	<-s.exited
}

// Restart starts the process again on the same port, empty. It kills the running one first.
func (s *Server) Restart() {
	s.tb.Helper()
	s.Kill()
	if err := s.launch(); err != nil {
		s.tb.Fatalf("redistest: restart redis-server on %s: %v", s.Addr(), err)
	}
}

// Pause stops the process with SIGSTOP: connections stay open, and nothing is answered until Resume.
func (s *Server) Pause() { s.signal(syscall.SIGSTOP) }

// Resume continues a paused process (SIGCONT).
func (s *Server) Resume() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig syscall.Signal) {
	s.tb.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.tb.Fatalf("redistest: %v to redis-server: %v", sig, err)
	}
}

// Do runs a command on a connection of its own and returns the reply: a number in decimal, the elements of an array
// joined by newlines, "" for nil. An error, the server's included, fails the test.
func (s *Server) Do(args ...string) string {
	s.tb.Helper()
	reply, err := s.do(args...)
	if err != nil {
		s.tb.Fatalf("redistest: %s: %v", strings.Join(args, " "), err)
	}
	return reply
}

// Try is Do with an error, for a server that may be away and for goroutines other than the test's.
func (s *Server) Try(args ...string) (string, error) { return s.do(args...) }

// Calls returns the number of calls of command since the server's start or the last ResetCalls.
func (s *Server) Calls(command string) int {
	s.tb.Helper()
	prefix := "cmdstat_" + strings.ToLower(command) + ":calls="
	for line := range strings.Lines(s.Do("INFO", "commandstats")) {
		if rest, ok := strings.CutPrefix(line, prefix); ok {
			digits, _, _ := strings.Cut(rest, ",")
			n, err := strconv.Atoi(digits)
			if err != nil {
				s.tb.Fatalf("redistest: %q: %v", line, err)
			}
			return n
		}
	}
	return 0
}

// CPU returns the processor time that the server has taken.
func (s *Server) CPU() (total time.Duration) {
	s.tb.Helper()
	for line := range strings.Lines(s.Do("INFO", "cpu")) {
		for _, field := range []string{"used_cpu_user:", "used_cpu_sys:"} {
			if text, ok := strings.CutPrefix(strings.TrimSpace(line), field); ok {
				seconds, err := strconv.ParseFloat(text, 64)
				if err != nil {
					s.tb.Fatalf("INFO cpu: %q", line)
				}
				total += time.Duration(seconds * float64(time.Second))
			}
		}
	}
	return total
}

// ResetCalls sets all Calls to zero.
func (s *Server) ResetCalls() {
	s.tb.Helper()
	s.Do("CONFIG", "RESETSTAT")
}
