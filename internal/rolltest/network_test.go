//go:build linux

package rolltest

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// network is a bridge with an address in the namespace of the test, to which hosts are attached.
type network struct {
	t     *testing.T
	name  string
	next  netip.Addr
	hosts int
}

// host is a network namespace with one address. It ends with its last process, or with the test.
type host struct {
	addr netip.Addr
	ns   *os.File
}

// home is the namespace of the test. It is opened before any thread leaves it.
var home *os.File

// networks counts the networks of this process, which gives each its own names and addresses.
var networks struct {
	sync.Mutex
	n int
}

// newNetwork makes a bridge, which lives as long as the test.
func newNetwork(t *testing.T) *network {
	t.Helper()
	needNamespaces(t)
	networks.Lock()
	defer networks.Unlock()
	if networks.n == 0 {
		ip(t, "link", "set", "lo", "up")
	}
	networks.n++
	n := &network{t: t, name: fmt.Sprintf("bridge%d", networks.n), next: netip.AddrFrom4([4]byte{10, 0, byte(networks.n), 1})}
	ip(t, "link", "add", n.name, "type", "bridge")
	t.Cleanup(func() { ip(t, "link", "delete", n.name) })
	ip(t, "address", "add", n.next.String()+"/24", "dev", n.name)
	ip(t, "link", "set", n.name, "up")
	return n
}

// newHost makes a namespace and joins it to the bridge by a pair of virtual interfaces.
func (n *network) newHost() *host {
	n.t.Helper()
	n.next = n.next.Next()
	n.hosts++
	ns, err := newNamespace()
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { ns.Close() })
	h := &host{addr: n.next, ns: ns}
	port := fmt.Sprintf("%s-%d", n.name, n.hosts)
	// ip opens the file by this process's path.
	path := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), ns.Fd())
	ip(n.t, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", path)
	ip(n.t, "link", "set", port, "master", n.name, "up")
	err = h.within(func() error {
		for _, args := range [][]string{
			{"link", "set", "lo", "up"}, {"address", "add", h.addr.String() + "/24", "dev", "eth0"}, {"link", "set", "eth0", "up"},
		} {
			if err := runIP(args...); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		n.t.Fatal(err)
	}
	return h
}

// newNamespace makes a network namespace that lives as long as the file, or a process in it.
func newNamespace() (ns *os.File, err error) {
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("make a network namespace: %w", err)
	}
	ns, err = os.Open("/proc/thread-self/ns/net")
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		return nil, fmt.Errorf("leave the network namespace: %w", back) // the thread, still locked, ends with its goroutine
	}
	runtime.UnlockOSThread()
	return ns, err
}

// within calls f on a thread in the namespace: processes and sockets that f creates are in it, too.
func (h *host) within(f func() error) error {
	runtime.LockOSThread()
	if err := unix.Setns(int(h.ns.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter the network namespace of %v: %w", h.addr, err)
	}
	err := f()
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		return fmt.Errorf("leave the network namespace of %v: %w", h.addr, back) // as above
	}
	runtime.UnlockOSThread()
	return err
}

// port returns an address of the host.
func (h *host) port(p uint16) string { return netip.AddrPortFrom(h.addr, p).String() }

func ip(t *testing.T, args ...string) {
	t.Helper()
	if err := runIP(args...); err != nil {
		t.Fatal(err)
	}
}

func runIP(args ...string) error {
	out, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s (Debian: apt-get install iproute2): %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}
