//go:build linux

package rolltest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mastersocket/mastersocket/internal/hubtest"
)

// envRole is the role of a process of the test program: empty for the one that go test started.
const envRole = "ROLLTEST_ROLE"

// Roles.
const (
	roleTests = "tests" // runs the tests, in the namespace of the bridge
	roleLoad  = "load"  // runs clients, in their namespace
)

// envCause is the cause why there are no namespaces.
const envCause = "ROLLTEST_CAUSE"

func TestMain(m *testing.M) {
	// On Debian, a user's path lacks the folders of root's programs.
	os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	switch os.Getenv(envRole) {
	case roleLoad:
		os.Exit(runLoad(os.Stdin, os.Stdout))
	case roleTests:
		os.Exit(runTests(m))
	}
	if os.Getenv(EnvWithout) != "" {
		os.Exit(m.Run())
	}
	code, err := runInside()
	if err != nil {
		os.Setenv(envCause, err.Error())
		code = m.Run()
	}
	os.Exit(code)
}

func runTests(m *testing.M) int {
	var err error
	if home, err = os.Open("/proc/thread-self/ns/net"); err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		return 1
	}
	code := m.Run()
	hubtest.Cleanup()
	if err := goleak.Find(); err != nil && code == 0 {
		os.Stderr.WriteString(err.Error() + "\n")
		code = 1
	}
	return code
}

// runInside runs the test program again, in a network namespace of its own, and returns its exit code. Without root it
// also gets a user namespace, in which it is root.
func runInside() (code int, err error) {
	// The kernel ends the process when the thread that started it ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), envRole+"="+roleTests)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	if err != nil {
		return 0, fmt.Errorf("run in a network namespace: %w", err)
	}
	return 0, nil
}

// needNamespaces skips or fails the test if there are no namespaces.
func needNamespaces(t *testing.T) {
	t.Helper()
	if os.Getenv(EnvWithout) != "" {
		t.Skipf("%s is set", EnvWithout)
	}
	if cause := os.Getenv(envCause); cause != "" {
		t.Fatalf("this test needs network namespaces, as root or with user namespaces: %s. Set %s=1 to leave it out", cause, EnvWithout)
	}
}

// patience bounds waits; only a failing test waits that long.
const patience = 60 * time.Second
