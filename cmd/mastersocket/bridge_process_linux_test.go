package main

import (
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/figure"
	"github.com/mastersocket/mastersocket/internal/hubtest"
	"github.com/mastersocket/mastersocket/services/team/rtm"
	"github.com/mastersocket/mastersocket/services/team/rtmtest"
)

// TestMemoryPerIdleTeam measures what a team that is connected and says nothing costs the bridge, over plain TCP and over
// TLS: the growth of its resident memory by 1,000 of them.
func TestMemoryPerIdleTeam(t *testing.T) {
	if hubtest.RaceBinary() {
		t.Skip("measured without the race detector, which has a memory of its own")
	}
	t.Parallel()
	config, authority := rtmtest.Certificate(t)
	file := caFile(t, authority)
	for _, tc := range []struct {
		name string
		o    rtmtest.Options
		most float64 // bytes
	}{{"plain", rtmtest.Options{}, 48 << 10}, {"TLS", rtmtest.Options{TLS: config}, 96 << 10}} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			const warm, teams = 200, 1000
			hub := hubtest.Start(t, hubtest.Options{})
			server := rtmtest.Start(t, tc.o)
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
			defer cancel()
			c := newTools(t, hub).start("", "bridge", "team", "--global", server.URL(), "--ca-file", file,
				"--status-listen", "127.0.0.1:0", "--connect-rate", "2000")
			if err := server.Await(ctx, server.GlobalOpen); err != nil {
				t.Fatalf("%v\n%s", err, c.err)
			}
			grow := func(from, to int) float64 {
				for n := from; n < to; n++ {
					server.Join(rtm.IntID(int64(n)))
				}
				if err := server.AwaitConnected(ctx, to); err != nil {
					t.Fatal(err)
				}
				return c.resident(to)
			}
			before := grow(0, warm)
			after := grow(warm, warm+teams)
			per := (after - before) / teams
			figure.Printf(t, "%.1f KiB of resident memory for each idle team, %d of them", per/1024, teams)
			if per > tc.most {
				t.Errorf("%.0f bytes for each idle team, want at most %.0f", per, tc.most)
			}
			c.signal(syscall.SIGTERM)
			c.want(0, "", "")
		})
	}
}

// A bridge that has no processor for a while doesn't catch up: its rate is never passed.
func TestBridgeTeamStalls(t *testing.T) {
	t.Parallel()
	const rate, teams = 200, 500
	hub := hubtest.Start(t, hubtest.Options{})
	server := rtmtest.Start(t, rtmtest.Options{})
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	c := newTools(t, hub).start("", "bridge", "team", "--global", server.URL(), "--status-listen", "127.0.0.1:0",
		"--connect-rate", strconv.Itoa(rate))
	if err := server.Await(ctx, server.GlobalOpen); err != nil {
		t.Fatalf("%v\n%s", err, c.err)
	}
	began := time.Now()
	for n := range teams {
		server.Join(rtm.IntID(int64(n)))
	}
	for _, some := range []int{20, 150} {
		if err := server.Await(ctx, func() bool { return server.Connected() >= some }); err != nil {
			t.Fatal(err)
		}
		c.signal(syscall.SIGSTOP)
		<-time.After(1500 * time.Millisecond) // the stall itself
		c.signal(syscall.SIGCONT)
	}
	if err := server.AwaitConnected(ctx, teams); err != nil {
		t.Fatal(err)
	}
	m := c.metrics(c.statusAddr())
	total, most := server.AskRate(began, time.Second)
	figure.Printf(t, "%d attempts, at most %d within a second as the server saw it", total, most)
	for _, name := range []string{"mastersocket_bridge_attempts_peak", "mastersocket_bridge_dials_peak"} {
		if n := m[name]; n < 1 || n > rate {
			t.Errorf("%s is %v, want at most %d", name, n, rate)
		}
	}
	c.signal(syscall.SIGTERM)
	c.want(0, "", "")
}

// TestBridgeOutlivesItsLog closes the pipe that the bridge logs to: it goes on bridging.
func TestBridgeOutlivesItsLog(t *testing.T) {
	t.Parallel()
	hub := hubtest.Start(t, hubtest.Options{})
	server := rtmtest.Start(t, rtmtest.Options{})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(hubtest.Binary(t), "bridge", "team", "--global", server.URL())
	cmd.Env = append(os.Environ(), newTools(t, hub).env...)
	cmd.Stderr = write
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	_ = write.Close()
	if err := server.Await(ctx, server.GlobalOpen); err != nil {
		t.Fatal(err)
	}
	_ = read.Close()
	for n := 2; n <= 4; n++ { // each lost and each new connection is a log line
		server.DropGlobal()
		again := func() bool { return server.Globals() == n && server.GlobalOpen() }
		if err := server.Await(ctx, again); err != nil {
			select {
			case err := <-ended:
				t.Fatalf("the bridge ended: %v", err)
			default:
				t.Fatal(err)
			}
		}
	}
	server.Goodbye()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("the bridge ended with %v", err)
		}
	case <-ctx.Done():
		t.Error("the bridge still runs")
	}
}

// statusAddr returns where a bridge serves its status.
func (c *command) statusAddr() string {
	c.t.Helper()
	c.err.waitFor(c.t, "listener=status addr=")
	_, rest, _ := strings.Cut(c.err.String(), "listener=status addr=")
	addr, _, _ := strings.Cut(rest, "\n")
	return addr
}

// resident returns the resident memory of a bridge, once that many teams are connected and nothing waits.
func (c *command) resident(teams int) (bytes float64) {
	c.t.Helper()
	addr := c.statusAddr()
	err := eventually.Within(2*time.Minute, func() bool {
		m := c.metrics(addr)
		bytes = m["process_resident_memory_bytes"]
		return m[`mastersocket_bridge_teams{state="connected"}`] == float64(teams) && m["mastersocket_bridge_queue_events"] == 0
	})
	if err != nil {
		c.t.Fatalf("%d teams: %v", teams, err)
	}
	return bytes
}

func (c *command) metrics(addr string) hubtest.Metrics {
	c.t.Helper()
	resp, err := http.Get("http://" + addr + "/metrics")
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	m, err := hubtest.ParseMetrics(body)
	if err != nil {
		c.t.Fatal(err)
	}
	return m
}
