package deploy

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// imageUser is the user and the group of the image.
const imageUser = 65532

// envRoot is set if this program runs as a container: to the folder that becomes its root.
const envRoot = "DEPLOY_TEST_ROOT"

// mountPoints are the folders that an engine adds to the image's file system.
var mountPoints = []string{"proc", "run/secrets/mastersocket"}

// container is a program that runs read-only in the image's file system, as the image's user and without capabilities:
// as an engine starts it, but with this machine's network.
type container struct {
	t    *testing.T
	cmd  *exec.Cmd
	out  *output
	done chan error
}

// output is the output of a container.
type output struct {
	mu      sync.Mutex
	buf     bytes.Buffer
	changed chan struct{} // holds a token after a write
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	select {
	case o.changed <- struct{}{}:
	default:
	}
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// copyRoot makes a copy of the image's file system with the mount points of an engine, and files in secrets.
func copyRoot(t *testing.T, from string, secrets map[string]string) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root")
	if err := os.CopyFS(root, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	for _, p := range mountPoints {
		if err := os.MkdirAll(filepath.Join(root, p), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range secrets {
		if err := os.WriteFile(filepath.Join(root, "run/secrets/mastersocket", name), []byte(content), 0o444); err != nil {
			t.Fatal(err)
		}
	}
	for dir := root; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil { // another user must be able to enter it
			t.Fatal(err)
		}
	}
	return root
}

// start runs args, the first of which is a path in root. With an empty root it runs them outside of a container.
func start(t *testing.T, root string, env []string, args ...string) *container {
	t.Helper()
	c := &container{
		t: t, cmd: exec.Command("/proc/self/exe", args...), out: &output{changed: make(chan struct{}, 1)}, done: make(chan error, 1),
	}
	c.cmd.Env = append([]string{envRoot + "=" + root}, env...)
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if root == "" {
		c.cmd = exec.Command(args[0], args[1:]...)
		c.cmd.Env = env
	} else {
		attr.Cloneflags = syscall.CLONE_NEWNS
	}
	c.cmd.Stdout, c.cmd.Stderr = c.out, c.out
	if root != "" && os.Getuid() != 0 {
		// Without root it is the image's user in a user namespace, with the rights that enterRoot needs.
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: imageUser, HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: imageUser, HostID: os.Getgid(), Size: 1}}
		attr.AmbientCaps = []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_SYS_CHROOT}
	}
	c.cmd.SysProcAttr = attr
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // Pdeathsig depends on the thread, which lives until the container has ended
		defer runtime.UnlockOSThread()
		err := c.cmd.Start()
		started <- err
		if err == nil {
			c.done <- c.cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		t.Fatalf("start a container (without root this needs user namespaces): %v", err)
	}
	t.Cleanup(func() { _ = c.cmd.Process.Kill() })
	return c
}

// patience bounds operations that don't wait for anything.
const patience = time.Minute

// until waits until the output satisfies a condition.
func (c *container) until(enough func(out string) bool) {
	c.t.Helper()
	for end := time.After(patience); !enough(c.out.String()); {
		select {
		case <-c.out.changed:
		case err := <-c.done:
			c.t.Fatalf("%q has ended (%v) and printed %s", c.cmd.Args[1:], err, c.out.String())
		case <-end:
			c.t.Fatalf("%q printed no more than %s", c.cmd.Args[1:], c.out.String())
		}
	}
}

// await waits until text was printed.
func (c *container) await(text string) {
	c.t.Helper()
	c.until(func(out string) bool { return strings.Contains(out, text) })
}

// stop sends SIGTERM, expects that exit code, and returns the output.
func (c *container) stop(want int) string {
	c.t.Helper()
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		c.t.Fatal(err)
	}
	code, out := c.wait()
	if code != want {
		c.t.Errorf("%q ends with %d: %s", c.cmd.Args[1:], code, out)
	}
	return out
}

// wait waits for the end, and returns the exit code and the output.
func (c *container) wait() (int, string) {
	c.t.Helper()
	select {
	case err := <-c.done:
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			c.t.Fatal(err)
		}
		return c.cmd.ProcessState.ExitCode(), c.out.String()
	case <-time.After(patience):
		c.t.Fatalf("it does not end; it printed %s", c.out.String())
		return 0, ""
	}
}

// enterRoot makes this process the container, and returns only if that fails.
func enterRoot() int {
	root := os.Getenv(envRoot)
	fmt.Fprintln(os.Stderr, "deploy test: enter", root, becomeContainer(root))
	return 125
}

func becomeContainer(root string) error {
	runtime.LockOSThread()
	for _, m := range []struct {
		source, target, kind string
		flags                uintptr
	}{
		{"", "/", "", unix.MS_REC | unix.MS_PRIVATE},
		{root, root, "", unix.MS_BIND | unix.MS_REC},
		{"/proc", filepath.Join(root, "proc"), "", unix.MS_BIND | unix.MS_REC},
		{"", root, "", unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV},
	} {
		if err := unix.Mount(m.source, m.target, m.kind, m.flags, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	if err := errors.Join(unix.Chroot(root), unix.Chdir("/")); err != nil {
		return err
	}
	if os.Getuid() == 0 {
		if err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(imageUser), syscall.Setuid(imageUser)); err != nil {
			return err
		}
	}
	if err := errors.Join(unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0),
		unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)); err != nil {
		return err
	}
	env := slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, envRoot+"=") })
	return syscall.Exec(os.Args[1], os.Args[1:], env)
}
