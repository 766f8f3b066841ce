//go:build linux

package rolltest

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/internal/eventually"
)

const (
	// settings is the file of the compose deployment.
	settings = "../../deploy/compose/haproxy.cfg"
	// tlsSettings pass TLS through.
	tlsSettings = "testdata/haproxy-tls.cfg"
)

// Ports of a host that is a hub, Redis or haproxy.
const (
	portHub   = 42069
	portAdmin = 42070
	portTLS   = 42443
	portRedis = 6379
	portStats = 8404
)

// haproxy is the balancer in front of the hubs, in its own namespace.
type haproxy struct {
	t    *testing.T
	at   *host
	tls  bool // passed through to the hubs
	env  []string
	runs []*haproxyRun // the last one takes new connections
}

// haproxyRun is one process of haproxy.
type haproxyRun struct {
	cmd   *exec.Cmd
	ended chan struct{}
	log   lockedBuffer
}

// lockedBuffer is a buffer that a process writes while the test may read it.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// startHaproxy runs it until the test ends.
func startHaproxy(t *testing.T, at *host, hubs []*host, tls bool) *haproxy {
	t.Helper()
	if _, err := exec.LookPath("haproxy"); err != nil {
		t.Fatalf("this test needs the haproxy program (Debian: apt-get install haproxy): %v", err)
	}
	h := &haproxy{t: t, at: at, tls: tls, env: []string{"LISTEN=" + at.port(portHub), "STATS=" + at.port(portStats)}}
	port := uint16(portHub)
	if tls {
		port = portTLS
	}
	for i, hub := range hubs {
		h.env = append(h.env, fmt.Sprintf("HUB%d=%s", i+1, hub.port(port)))
	}
	t.Cleanup(h.stop)
	h.launch()
	return h
}

func (h *haproxy) launch(args ...string) {
	h.t.Helper()
	file := settings
	if h.tls {
		file = tlsSettings
	}
	path, err := filepath.Abs(file)
	if err != nil {
		h.t.Fatal(err)
	}
	r := &haproxyRun{cmd: exec.Command("haproxy", append([]string{"-db", "-f", path}, args...)...), ended: make(chan struct{})}
	r.cmd.Env = h.env
	r.cmd.Stdout, r.cmd.Stderr = &r.log, &r.log
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := h.at.within(r.cmd.Start); err != nil {
		h.t.Fatalf("start haproxy: %v", err)
	}
	go func() {
		_ = r.cmd.Wait() // it ended by a signal
		close(r.ended)
	}()
	h.runs = append(h.runs, r)
}

// reload starts another process, which takes over new connections; the old one serves its open connections.
func (h *haproxy) reload() {
	h.t.Helper()
	h.launch("-sf", strconv.Itoa(h.runs[len(h.runs)-1].cmd.Process.Pid))
}

func (h *haproxy) stop() {
	for i, r := range h.runs {
		_ = r.cmd.Process.Kill() // an error means that it has already ended
		<-r.ended
		if h.t.Failed() {
			h.t.Logf("log of haproxy, process %d:\n%s", i+1, r.log.String())
		}
	}
}

// url is where clients connect.
func (h *haproxy) url() string {
	scheme := "ws"
	if h.tls {
		scheme = "wss"
	}
	return scheme + "://" + h.at.port(portHub) + "/"
}

// server is haproxy's state of a hub.
type server struct {
	status   string // UP, DOWN, or a transition
	sessions int
}

// servers returns haproxy's states of the hubs, in order.
func (h *haproxy) servers() ([]server, error) {
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + h.at.port(portStats) + "/stats;csv")
	if err != nil {
		return nil, fmt.Errorf("ask haproxy: %w", err)
	}
	defer resp.Body.Close()
	rows, err := csv.NewReader(resp.Body).ReadAll()
	if err != nil || len(rows) == 0 {
		return nil, fmt.Errorf("ask haproxy: %d rows: %w", len(rows), err)
	}
	status, sessions := slices.Index(rows[0], "status"), slices.Index(rows[0], "scur")
	var all []server
	for _, row := range rows[1:] {
		if row[0] == "hub" && row[1] != "BACKEND" {
			n, err := strconv.Atoi(row[sessions])
			if err != nil {
				return nil, fmt.Errorf("ask haproxy: %w", err)
			}
			all = append(all, server{row[status], n})
		}
	}
	return all, nil
}

// await waits until haproxy reports hub i as UP or DOWN.
func (h *haproxy) await(i int, status string) {
	h.t.Helper()
	var last []server
	err := eventually.Within(patience, func() bool {
		all, err := h.servers()
		last = all
		return err == nil && i < len(all) && all[i].status == status
	})
	if err != nil {
		h.t.Fatalf("haproxy does not find hub %d %s: %v, %+v", i+1, status, err, last)
	}
}
