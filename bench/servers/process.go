//go:build linux

package servers

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mastersocket/mastersocket/internal/freeport"
)

const (
	startTimeout = 20 * time.Second
	stopTimeout  = 5 * time.Second
)

// A Process is a server that runs.
type Process struct {
	Site Site

	cmd    *exec.Cmd
	output *tail
	ended  chan struct{}
}

// Start runs an adapter's server on so many cores, 0 for all, and waits until it accepts connections. The caller must Stop it.
func Start(a Adapter, cores int) (*Process, error) {
	site, err := NewSite()
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", a.Name(), err)
	}
	site.Cores = cores
	return start(a, site)
}

// StartSecured is Start for clients over TLS.
func StartSecured(a Secured) (*Process, error) {
	site, err := NewSite()
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", a.Name(), err)
	}
	if err := site.certify(); err != nil {
		os.RemoveAll(site.Dir)
		return nil, fmt.Errorf("starting %s: %w", a.Name(), err)
	}
	return start(a, site)
}

func start(a Adapter, site Site) (*Process, error) {
	cmd, err := a.Command(site)
	if err != nil {
		os.RemoveAll(site.Dir)
		return nil, fmt.Errorf("starting %s: %w", a.Name(), err)
	}
	p, err := Run(cmd, site)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", a.Name(), err)
	}
	return p, nil
}

// Run starts a command that listens at the site's address. The site's folder belongs to the Process from now on, even
// if that fails.
func Run(cmd *exec.Cmd, site Site) (*Process, error) {
	p := &Process{Site: site, cmd: cmd, output: &tail{}, ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.output, p.output
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = stopTimeout
	if err := startOn(site.Cores, cmd); err != nil {
		os.RemoveAll(site.Dir)
		return nil, err
	}
	go func() {
		// Only the end matters; its cause shows in the output.
		_ = cmd.Wait()
		close(p.ended)
	}()
	if err := p.awaitListener(); err != nil {
		p.Stop()
		return nil, fmt.Errorf("%w; it printed:\n%s", err, p.output)
	}
	return p, nil
}

// startOn starts a command on the first of this process's cores, so many of them; 0: on all.
func startOn(cores int, cmd *exec.Cmd) error {
	if cores == 0 {
		return cmd.Start()
	}
	runtime.LockOSThread() // a child inherits the cores of the thread that starts it
	defer runtime.UnlockOSThread()
	var all, first unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return fmt.Errorf("reading the cores of this process: %w", err)
	}
	for cpu := 0; first.Count() < min(cores, all.Count()); cpu++ {
		if all.IsSet(cpu) {
			first.Set(cpu)
		}
	}
	if err := unix.SchedSetaffinity(0, &first); err != nil {
		return fmt.Errorf("choosing %d cores: %w", cores, err)
	}
	return errors.Join(cmd.Start(), unix.SchedSetaffinity(0, &all))
}

// NewSite returns a Site with ports that are free now. Its folder has to be removed, unless it is handed to Run.
func NewSite() (Site, error) {
	var ports [2]netip.AddrPort
	for i := range ports {
		port, release, err := freeport.Find()
		if err != nil {
			return Site{}, fmt.Errorf("finding a free port: %w", err)
		}
		defer release()
		ports[i] = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(port))
	}
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return Site{}, err
	}
	return Site{Listen: ports[0], Admin: ports[1], Dir: dir}, nil
}

func (p *Process) awaitListener() error {
	deadline := time.Now().Add(startTimeout)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for time.Now().Before(deadline) {
		conn, err := net.DialTimeout("tcp4", p.Site.Listen.String(), time.Second)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-p.ended:
			return errors.New("it ended at once")
		case <-tick.C:
		}
	}
	return fmt.Errorf("it does not listen on %s after %s", p.Site.Listen, startTimeout)
}

// Stop ends the server at once.
func (p *Process) Stop() {
	// An error means that it has already ended.
	_ = p.cmd.Process.Kill()
	<-p.ended
	os.RemoveAll(p.Site.Dir)
}

// Output returns the end of what the server printed.
func (p *Process) Output() string { return p.output.String() }

// cpuClock is the bit pattern of the kernel's clock ids for a process's CPU time: see CPUCLOCK_SCHED in the kernel's
// posix-timers_types.h. Such a clock counts user and system time of all threads, past ones included, in nanoseconds,
// where /proc/PID/stat has steps of 10 ms.
const cpuClock = 2

// CPU returns the CPU time, user and system, that the server has used so far. It is a load.CPUClock.
func (p *Process) CPU() (time.Duration, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^p.cmd.Process.Pid<<3|cpuClock), &t); err != nil {
		return 0, fmt.Errorf("reading the CPU time of process %d: %w", p.cmd.Process.Pid, err)
	}
	return time.Duration(t.Nano()), nil
}

// ResidentBytes returns the server's resident memory.
func (p *Process) ResidentBytes() (int, error) {
	name := fmt.Sprintf("/proc/%d/smaps_rollup", p.cmd.Process.Pid)
	b, err := os.ReadFile(name)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		if len(fields) == 3 && fields[0] == "Rss:" {
			kib, err := strconv.Atoi(fields[1])
			return kib * 1024, err
		}
	}
	return 0, fmt.Errorf("%s has no line Rss", name)
}

// tail keeps the end of what a server prints.
type tail struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

const tailBytes = 4096

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf.Write(b)
	if over := t.buf.Len() - tailBytes; over > 0 {
		t.buf.Next(over)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.buf.String()
}
