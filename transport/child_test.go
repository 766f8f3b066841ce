package transport

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"
)

// The test binary is its own child process, so that a limit of descriptors concerns only that: it runs an echo server
// and does what it is told on its standard input, a word a line, each of which it answers with a line.
const childEnv = "TRANSPORT_TEST_CHILD"

// Limits of the child.
const (
	childConnections = 12
	childDescriptors = childConnections + reservedFDs
)

// runChild does the work of the child process, if this is one.
func runChild() bool {
	if os.Getenv(childEnv) == "" {
		return false
	}
	if err := serveChild(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	return true
}

func serveChild() error {
	limit := unix.Rlimit{Cur: childDescriptors, Max: childDescriptors}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("setrlimit: %w", err)
	}
	s, err := NewServer(testOptions())
	if err != nil {
		return err
	}
	defer s.Close()
	e := &flood{}
	addr, err := s.ListenWebSocket(context.Background(), "127.0.0.1:0", func([]byte) Endpoint { return e })
	if err != nil {
		return err
	}
	fmt.Println(addr)
	var fill []int
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		switch in.Text() {
		case "fill": // leaves no descriptor
			for {
				fd, err := unix.Dup(0)
				if err != nil {
					fmt.Println(len(fill))
					break
				}
				fill = append(fill, fd)
			}
		case "free":
			for _, fd := range fill {
				_ = unix.Close(fd)
			}
			fmt.Println(len(fill))
			fill = nil
		case "refusals":
			<-time.After(20 * time.Millisecond) // so that asking for more of them costs nothing
			fmt.Println(s.Stats().Refusals["out_of_file_descriptors"])
		case "cpu":
			var use unix.Rusage
			_ = unix.Getrusage(unix.RUSAGE_SELF, &use)
			fmt.Println((use.Utime.Nano() + use.Stime.Nano()) / 1e6)
		}
	}
	return nil
}

// child is the child process.
type child struct {
	t    *testing.T
	in   *os.File
	out  *bufio.Scanner
	addr net.Addr
}

func startChild(t *testing.T) *child {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childEnv+"=1")
	cmd.Stderr = os.Stderr
	in, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin = in
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = in.Close()
	c := &child{t: t, in: w, out: bufio.NewScanner(out)}
	t.Cleanup(func() {
		_ = w.Close() // ends it
		if err := cmd.Wait(); err != nil {
			t.Errorf("child: %v", err)
		}
	})
	c.out.Scan()
	addr, err := netip.ParseAddrPort(c.out.Text())
	if err != nil {
		t.Fatalf("child: %v", err)
	}
	c.addr = net.TCPAddrFromAddrPort(addr)
	return c
}

// tell says a word and returns the number that is answered.
func (c *child) tell(word string) (n int) {
	c.t.Helper()
	if _, err := fmt.Fprintln(c.in, word); err != nil {
		c.t.Fatal(err)
	}
	c.out.Scan()
	if _, err := fmt.Sscan(c.out.Text(), &n); err != nil {
		c.t.Fatalf("%s: %q, %v", word, c.out.Text(), err)
	}
	return n
}

// greet shakes hands on an open TCP connection and gets an echo.
func (c *client) greet() {
	c.t.Helper()
	c.write([]byte(upgradeRequest("")), text("hello"))
	c.accepted()
	c.expect(ws.OpText, "hello")
}

// TestConnectionsBeyondDescriptors opens more connections than may be: they wait in the kernel until others end.
func TestConnectionsBeyondDescriptors(t *testing.T) {
	t.Parallel()
	p := startChild(t)
	var open []*client
	for range childConnections {
		c := dial(t, p.addr)
		c.greet()
		open = append(open, c)
	}
	var waiting []*client
	for range 5 {
		waiting = append(waiting, dial(t, p.addr))
	}
	for p.tell("refusals") < 3 { // it looks again and again, but not all the time
	}
	open[0].write(text("still served"))
	open[0].expect(ws.OpText, "still served")
	for i := range waiting { // in no order: the kernel makes it
		open[i].reset()
	}
	for _, c := range waiting {
		c.greet()
	}
}

// TestNoDescriptors uses up all descriptors of the process: accept fails, and works again once there are some.
func TestNoDescriptors(t *testing.T) {
	t.Parallel()
	p := startChild(t)
	c := dial(t, p.addr)
	c.greet()
	if p.tell("fill") == 0 {
		t.Fatal("no descriptors were taken")
	}
	before, cpu := p.tell("refusals"), p.tell("cpu")
	waiting := dial(t, p.addr)
	for p.tell("refusals") < before+5 {
	}
	if n, ms := p.tell("refusals")-before, p.tell("cpu")-cpu; n > 20 || ms > 250 {
		t.Errorf("%d attempts, %d ms of processor time, in half a second", n, ms)
	}
	c.write(text("still served"))
	c.expect(ws.OpText, "still served")
	p.tell("free")
	waiting.greet()
}

// TestDescriptorLimit leaves descriptors for other uses.
func TestDescriptorLimit(t *testing.T) {
	t.Parallel()
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		t.Fatal(err)
	}
	if n := DescriptorLimit(); n != int(lim.Cur)-reservedFDs {
		t.Errorf("%d connections of %d descriptors", n, lim.Cur)
	}
}
