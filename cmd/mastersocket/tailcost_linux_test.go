package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/hubtest"
)

// TestTailCost measures what a tail on a busy group costs: the processor time of the hub for each delivery with one, and
// without. MASTERSOCKET_TAIL_ROUNDS asks for it, and says how often; each round takes 10 seconds.
func TestTailCost(t *testing.T) {
	rounds, err := strconv.Atoi(os.Getenv("MASTERSOCKET_TAIL_ROUNDS"))
	if err != nil {
		t.Skip("it takes a while, and a machine that does nothing else: set MASTERSOCKET_TAIL_ROUNDS=5")
	}
	for _, members := range []int{100, 1} {
		t.Run(fmt.Sprint(members, " members"), func(t *testing.T) {
			s := hubtest.Start(t, hubtest.Options{Flags: []string{"--ping-interval", "1h"}})
			o := operator{t, "http://" + s.AdminAddr, s.Token}
			for range members {
				c := joinRaw(t, s, "busy")
				go func() { _, _ = io.Copy(io.Discard, c) }()
			}
			sender := joinRaw(t, s, "senders")
			var with, without []float64
			for range rounds {
				without = append(without, perDelivery(t, s, o, sender, members))
				stop := openTail(t, o, "/v1/tail?group=busy")
				with = append(with, perDelivery(t, s, o, sender, members))
				stop()
			}
			a, b := median(without), median(with)
			t.Logf("processor time for each of 20,000 deliveries a second to %d members: %.3f µs, with a tail %.3f µs: %+.1f %% (medians of %d rounds; all: %.3f and %.3f)",
				members, a, b, (b/a-1)*100, rounds, without, with)
		})
	}
}

func median(rounds []float64) float64 {
	sorted := slices.Sorted(slices.Values(rounds))
	return sorted[len(sorted)/2]
}

// joinRaw connects a client to a group and returns its connection.
func joinRaw(t *testing.T, s *hubtest.Server, group string) net.Conn {
	t.Helper()
	c, err := net.DialTimeout("tcp", s.HubAddr, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := c.Write(append([]byte(upgrade), textFrame(fmt.Sprintf(`{"op":1,"data":{"token":%q,"group":%q}}`, s.Token, group))...)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	for got := ""; !strings.Contains(got, `"ping"`); {
		n, err := c.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		got += string(buf[:n])
	}
	return c
}

// textFrame is a text frame of a client, masked with nothing.
func textFrame(text string) []byte {
	if len(text) < 126 {
		return append([]byte{0x81, 0x80 | byte(len(text)), 0, 0, 0, 0}, text...)
	}
	return append([]byte{0x81, 0x80 | 126, byte(len(text) >> 8), byte(len(text)), 0, 0, 0, 0}, text...)
}

// perDelivery sends for five seconds so much that 20,000 deliveries a second come of it, and returns the processor time of
// the hub for each, in microseconds.
func perDelivery(t *testing.T, s *hubtest.Server, o operator, sender net.Conn, members int) float64 {
	t.Helper()
	const rate, pace, ticks = 20_000, 10 * time.Millisecond, 500
	message := textFrame(`{"op":0,"event":"order.created","data":"` + strings.Repeat("x", 250) + `","intent":{"target":"GROUP","identifier":"busy"}}`)
	var burst []byte
	for range int(rate*pace/time.Second) / members {
		burst = append(burst, message...)
	}
	before, deliveries := processorTime(t, s), delivered(t, o)
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for range ticks {
		<-tick.C
		if _, err := sender.Write(burst); err != nil {
			t.Fatal(err)
		}
	}
	eventually.True(t, "all deliveries", func() bool { return delivered(t, o)-deliveries >= rate*float64(ticks)*pace.Seconds() })
	return (processorTime(t, s) - before) * 1e6 / (delivered(t, o) - deliveries)
}

func delivered(t *testing.T, o operator) float64 {
	t.Helper()
	n, err := strconv.ParseFloat(o.metric(`mastersocket_deliveries_total{type="service"}`), 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// processorTime returns the seconds that the process has run.
func processorTime(t *testing.T, s *hubtest.Server) float64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.PID()))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	fields := strings.Fields(rest)
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return (user + system) / 100 // USER_HZ
}

// openTail reads a tail until stop is called.
func openTail(t *testing.T, o operator, path string) (stop func()) {
	t.Helper()
	lines, stop := watchTail(t, o, path)
	go func() {
		for range lines {
		}
	}()
	return stop
}

// watchTail reads a tail until stop is called, which is also when lines is closed.
func watchTail(t *testing.T, o operator, path string) (lines <-chan string, stop func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, o.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+o.token)
	resp, err := http.DefaultClient.Do(r)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("tail: %v %v", resp, err)
	}
	out := make(chan string)
	go func() {
		defer close(out)
		for scanner := bufio.NewScanner(resp.Body); scanner.Scan(); {
			select {
			case out <- scanner.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, func() {
		cancel()
		for range out {
		}
		resp.Body.Close()
	}
}
