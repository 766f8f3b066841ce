//go:build linux

package clustertest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/figure"
	"github.com/mastersocket/mastersocket/internal/freeport"
	"github.com/mastersocket/mastersocket/internal/redistest"
)

// TestSentinel runs a master, a replica and a Sentinel. When the master is killed, the instances follow the failover to
// the replica.
func TestSentinel(t *testing.T) {
	t.Parallel()
	master := redistest.Start(t)
	host, port, err := net.SplitHostPort(master.Addr())
	if err != nil {
		t.Fatal(err)
	}
	replica := redistest.Start(t, "--replicaof", host+" "+port)
	sentinel := startSentinel(t, host, port)
	c := startCluster(t, 2, clusterOptions{redis: replica, url: func(int) string { return "redis+sentinel://" + sentinel + "/hub" }})
	exchange(t, c, "redis+sentinel://")

	eventually.True(t, "the replica to be known to the Sentinel", func() bool {
		return strings.Contains(replica.Do("INFO", "replication"), "master_link_status:up") && knowsReplica(sentinel)
	})
	l := startLoad(t, c.urls(), loadOptions{senders: 4, receivers: 4, groups: 2})
	l.runFor(500 * time.Millisecond)
	master.Kill()
	begin := time.Now()
	awaitNotReady(t, c.hubs...)
	awaitReady(t, c.hubs...)
	back := time.Since(begin)
	l.awaitDelivery()
	figure.Printf(t, "redis+sentinel://, the master killed: readiness green %v and delivery back %v after the kill "+
		"(the Sentinel waits 1s before it acts)", figure.MS(back), figure.MS(time.Since(begin)))
	l.runFor(500 * time.Millisecond)
	if role := replica.Do("ROLE"); !strings.HasPrefix(role, "master") {
		t.Errorf("the replica is a %q", role)
	}
	wantAll(t, l.finish(c))
}

// startSentinel runs a single Sentinel that watches the master as "hub", and returns its address.
func startSentinel(t *testing.T, host, port string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sentinel.conf")
	own := strconv.Itoa(freeport.Take(t))
	config := fmt.Sprintf("port %s\nbind 127.0.0.1\nsentinel monitor hub %s %s 1\nsentinel down-after-milliseconds hub 1000\n"+
		"sentinel failover-timeout hub 5000\n", own, host, port)
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("redis-server", path, "--sentinel")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it ended by a signal
	})
	addr := net.JoinHostPort("127.0.0.1", own)
	eventually.True(t, "the Sentinel to answer", func() bool { return ask(addr, "PING") == "+PONG\r\n" })
	return addr
}

// knowsReplica reports whether the Sentinel knows the master's replica and could promote it.
func knowsReplica(sentinel string) bool {
	return strings.Contains(ask(sentinel, "SENTINEL REPLICAS hub"), "master-link-status\r\n$2\r\nok")
}

// ask runs an inline command and returns the beginning of the answer, or "".
func ask(addr, command string) string {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return ""
	}
	defer conn.Close()
	if conn.SetDeadline(time.Now().Add(time.Second)) != nil {
		return ""
	}
	if _, err := conn.Write([]byte(command + "\r\n")); err != nil {
		return ""
	}
	answer := make([]byte, 16<<10)
	n, _ := conn.Read(answer) // a short read shows in the answer
	return string(answer[:n])
}
