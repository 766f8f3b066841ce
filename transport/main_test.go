package transport

import (
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestMain fails the run if goroutines or descriptors are left behind.
func TestMain(m *testing.M) {
	if runChild() {
		return
	}
	warmUp()
	before := descriptors()
	code := m.Run()
	if code == 0 {
		code = checkLeaks(before)
	}
	os.Exit(code)
}

// warmUp makes the runtime open the descriptors that it never closes: those of its network poller.
func warmUp() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	l.Close()
}

func checkLeaks(before map[string]string) int {
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, "goroutines leaked:", err)
		return 1
	}
	var leaked string
	for deadline := time.Now().Add(2 * time.Second); time.Now().Before(deadline); {
		leaked = ""
		for fd, what := range descriptors() {
			if before[fd] == "" {
				leaked += fd + " " + what + "\n"
			}
		}
		if leaked == "" {
			return 0
		}
	}
	fmt.Fprint(os.Stderr, "descriptors leaked:\n", leaked)
	return 1
}

// descriptors returns the open descriptors of the process and what they are.
func descriptors() map[string]string {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		panic(err)
	}
	open := make(map[string]string)
	for _, e := range entries {
		if what, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil { // not that of the directory itself
			open[e.Name()] = what
		}
	}
	return open
}
