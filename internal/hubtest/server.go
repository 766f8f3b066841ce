//go:build linux

package hubtest

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mastersocket/mastersocket/internal/freeport"
	"github.com/mastersocket/mastersocket/internal/tlstest"
)

// Token is the default token of a server.
const Token = "hubtest-token-5f0c9b7e31d84a26"

// startTimeout bounds the time until a process listens.
const startTimeout = 30 * time.Second

// Options configures a hub. The zero value runs a single one, with Token.
type Options struct {
	Name  string   // of the node and in the test's output
	Token string   // the shared token; empty means Token, "none" no token
	Flags []string // further flags of serve
	Env   []string // further environment variables
	TCP   bool     // listen for plain TCP
	TLS   bool     // listen for TLS; Flags name the certificate
	Redis string   // URL of the Redis of a cluster
	// Addr is the hub listener's address. Empty means a free port of 127.0.0.1; a restarted hub may need its old one.
	Addr string
	// TLSAddr is the TLS listener's address. Empty means a free port of 127.0.0.1.
	TLSAddr string
	// AdminAddr is the admin listener's address. Empty means a free port of 127.0.0.1.
	AdminAddr string
	// Within runs the function that starts the process, for instance on a thread of another network namespace. nil: it
	// is called directly.
	Within func(start func() error) error
	// Binary is the path of the binary to run. Empty means that of [Binary].
	Binary string
	// Quiet keeps the log out of a failed test's output.
	Quiet bool
}

// Server is a running hub process.
type Server struct {
	tb    testing.TB
	opts  Options
	cmd   *exec.Cmd
	log   *logBook
	ended chan struct{} // closed once the process has ended and its log was read
	err   error         // what exec.Cmd.Wait returned; valid after ended
	once  sync.Once

	HubAddr   string // host:port
	TCPAddr   string // empty if it does not listen for TCP
	TLSAddr   string // empty if it does not listen for TLS
	AdminAddr string
	Token     string
}

// Start runs a hub and waits until it listens. At the end of the test the process is killed; if the test failed, its
// log is printed.
func Start(tb testing.TB, o Options) *Server {
	tb.Helper()
	s := newServer(tb, o)
	s.start()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	s.HubAddr = s.listening(ctx, "hub")
	s.AdminAddr = s.listening(ctx, "admin")
	if o.TCP {
		s.TCPAddr = s.listening(ctx, "tcp")
	}
	if o.TLS {
		s.TLSAddr = s.listening(ctx, "tls")
	}
	return s
}

// StartBad runs a hub that must end by itself, and returns its exit code and log.
func StartBad(tb testing.TB, o Options) (code int, log []string) {
	tb.Helper()
	s := newServer(tb, o)
	s.start()
	code, ok := s.Wait(startTimeout)
	if !ok {
		tb.Fatalf("hubtest: the hub runs, and should have refused to")
	}
	return code, s.Log()
}

func newServer(tb testing.TB, o Options) *Server {
	s := &Server{tb: tb, opts: o, log: newLogBook(), ended: make(chan struct{}), Token: o.Token}
	switch o.Token {
	case "":
		s.Token = Token
	case "none":
		s.Token = ""
	}
	return s
}

func orElse(addr string, free func() string) string {
	if addr != "" {
		return addr
	}
	return free()
}

func (s *Server) start() {
	s.tb.Helper()
	// A test may start a hub again on the address of one that has ended.
	free := func() string { return freeport.Address(s.tb) }
	args := []string{"serve", "--listen", orElse(s.opts.Addr, free), "--admin-listen", orElse(s.opts.AdminAddr, free)}
	if s.opts.TCP {
		args = append(args, "--tcp-listen", free())
	}
	if s.opts.TLS {
		args = append(args, "--tls-listen", orElse(s.opts.TLSAddr, free))
	}
	if s.opts.Redis != "" {
		args = append(args, "--redis", s.opts.Redis)
	}
	if s.opts.Name != "" {
		args = append(args, "--node", s.opts.Name)
	}
	binary := s.opts.Binary
	if binary == "" {
		binary = Binary(s.tb)
	}
	s.cmd = exec.Command(binary, append(args, s.opts.Flags...)...)
	s.cmd.Env = append(cleanEnv(), s.opts.Env...)
	if s.Token != "" {
		s.cmd.Env = append(s.cmd.Env, "MASTERSOCKET_TOKEN="+s.Token)
	}
	// If the test program is killed, its processes are, too.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	r, w, err := os.Pipe()
	if err != nil {
		s.tb.Fatalf("hubtest: %v", err)
	}
	s.cmd.Stdout, s.cmd.Stderr = w, w
	within := s.opts.Within
	if within == nil {
		within = func(start func() error) error { return start() }
	}
	err = within(s.cmd.Start)
	w.Close()
	if err != nil {
		r.Close()
		s.tb.Fatalf("hubtest: start the hub: %v", err)
	}
	go s.supervise(r)
	s.tb.Cleanup(s.finish)
}

// supervise reads the log to its end and waits for the process.
func (s *Server) supervise(r *os.File) {
	s.log.follow(r)
	r.Close()
	s.err = s.cmd.Wait()
	close(s.ended)
}

// cleanEnv is the environment without settings of the hub.
func cleanEnv() []string {
	var env []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "MASTERSOCKET_") {
			env = append(env, kv)
		}
	}
	return env
}

func (s *Server) listening(ctx context.Context, listener string) string {
	s.tb.Helper()
	line, err := s.log.wait(ctx, 0, func(l Line) bool { return l["msg"] == "listening" && l["listener"] == listener })
	if err != nil {
		s.tb.Fatalf("hubtest: wait for the %s listener: %v\n%s", listener, err, strings.Join(s.Log(), "\n"))
	}
	return line["addr"]
}

// finish ends the process with the test.
func (s *Server) finish() {
	s.Kill()
	for _, line := range s.Log() {
		if strings.Contains(line, "DATA RACE") || strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") {
			s.tb.Errorf("hubtest: the hub %s: %s", s.opts.Name, line)
		}
	}
	if !s.tb.Failed() || s.opts.Quiet {
		return
	}
	log := s.Log()
	const most = 200
	cut := max(0, len(log)-most)
	s.tb.Logf("log of the hub %s (%v), %d earlier lines left out:\n%s", s.opts.Name, s.err, cut, strings.Join(log[cut:], "\n"))
}

// Kill ends the process at once (SIGKILL) and waits for its end.
func (s *Server) Kill() {
	s.once.Do(func() { _ = s.cmd.Process.Kill() }) // an error means that it has already ended
	<-s.ended
}

// Signal sends the process a signal. After SIGSTOP it waits until the process has stopped, which takes a moment.
func (s *Server) Signal(sig syscall.Signal) {
	s.tb.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.tb.Fatalf("hubtest: signal %v: %v", sig, err)
	}
	if sig != syscall.SIGSTOP {
		return
	}
	err := unix.EINTR
	for err == unix.EINTR { // WNOWAIT leaves the process for Wait
		err, _ = unix.Waitid(unix.P_PID, s.cmd.Process.Pid, nil, unix.WSTOPPED|unix.WNOWAIT, nil).(unix.Errno)
	}
	if err != 0 {
		s.tb.Fatalf("hubtest: wait until the process has stopped: %v", err)
	}
}

// Wait waits until the process has ended by itself and returns its exit code (-1 after a signal). ok is false if it has
// not ended in time.
func (s *Server) Wait(timeout time.Duration) (code int, ok bool) {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-s.ended:
		return s.cmd.ProcessState.ExitCode(), true
	case <-timer.C:
		return 0, false
	}
}

// Alive reports whether the process runs.
func (s *Server) Alive() bool {
	select {
	case <-s.ended:
		return false
	default:
		return true
	}
}

// URL returns the address for WebSocket clients.
func (s *Server) URL() string { return "ws://" + s.HubAddr + "/" }

// TLSURL returns the address for WebSocket clients over TLS.
func (s *Server) TLSURL() string { return "wss://" + s.TLSAddr + "/" }

// Certify makes a certificate, and returns the flags of a hub that uses it and the TLS settings of its clients.
func Certify(tb testing.TB, want tlstest.Template) (flags []string, trust *tls.Config) {
	tb.Helper()
	ca := tlstest.NewAuthority(tb)
	certificate, key := tlstest.Write(tb, tb.TempDir(), ca.Issue(tb, want))
	return []string{"--tls-cert=" + certificate, "--tls-key=" + key}, &tls.Config{RootCAs: ca.Pool(), ServerName: "127.0.0.1"}
}

// AdminURL returns the address of a path of the admin listener.
func (s *Server) AdminURL(path string) string { return fmt.Sprintf("http://%s%s", s.AdminAddr, path) }

// PID returns the process id.
func (s *Server) PID() int { return s.cmd.Process.Pid }
