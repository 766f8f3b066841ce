//go:build linux

package hubtest

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// Metrics maps the metrics of a hub, written as name{label="value",…} in the order of the exposition, to their values.
type Metrics map[string]float64

// Sum adds up all series of the metric name that have all of labels, each written label="value".
func (m Metrics) Sum(name string, labels ...string) float64 {
	sum := 0.0
next:
	for series, v := range m {
		n, rest, _ := strings.Cut(series, "{")
		if n != name {
			continue
		}
		for _, l := range labels {
			if !strings.Contains("{"+rest, "{"+l) && !strings.Contains(rest, ","+l) {
				continue next
			}
		}
		sum += v
	}
	return sum
}

// ParseMetrics reads the text format of Prometheus.
func ParseMetrics(text []byte) (Metrics, error) {
	m := make(Metrics)
	for line := range bytes.Lines(text) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		i := bytes.LastIndexByte(line, ' ')
		if i < 0 {
			return nil, fmt.Errorf("metrics: line %q has no value", line)
		}
		v, err := strconv.ParseFloat(string(line[i+1:]), 64)
		if err != nil {
			return nil, fmt.Errorf("metrics: line %q: %w", line, err)
		}
		m[string(line[:i])] = v
	}
	return m, nil
}

// adminTimeout bounds a request to the admin listener.
const adminTimeout = 10 * time.Second

// adminClient uses no keep-alive: an idle connection would look like a leak of the hub.
var adminClient = &http.Client{Timeout: adminTimeout, Transport: &http.Transport{DisableKeepAlives: true}}

// Get requests a path of the admin listener and returns status and body. It fails the test if there is no answer.
func (s *Server) Get(path string) (status int, body []byte) {
	s.tb.Helper()
	resp, err := adminClient.Get(s.AdminURL(path))
	if err != nil {
		s.tb.Fatalf("hubtest: %v", err)
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	if err != nil {
		s.tb.Fatalf("hubtest: GET %s: %v", path, err)
	}
	return resp.StatusCode, body
}

// Metrics reads the hub's metrics.
func (s *Server) Metrics() Metrics {
	s.tb.Helper()
	status, body := s.Get("/metrics")
	if status != http.StatusOK {
		s.tb.Fatalf("hubtest: GET /metrics: status %d", status)
	}
	m, err := ParseMetrics(body)
	if err != nil {
		s.tb.Fatalf("hubtest: %v", err)
	}
	return m
}

// RSS returns the process's resident memory in bytes.
func (s *Server) RSS() int64 {
	s.tb.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.PID()))
	if err != nil {
		s.tb.Fatalf("hubtest: %v", err)
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "VmRSS:" && f[2] == "kB" {
			kb, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil {
				s.tb.Fatalf("hubtest: %q: %v", line, err)
			}
			return kb << 10
		}
	}
	s.tb.Fatal("hubtest: the process has no resident memory: it has ended")
	return 0
}

// clockTick is the unit of CPU times in /proc: USER_HZ, 100 on every architecture that Go runs Linux on.
const clockTick = time.Second / 100

// CPU returns the process's CPU time, user and system, in steps of 10 ms while it runs.
func (s *Server) CPU() time.Duration {
	s.tb.Helper()
	if !s.Alive() {
		return s.cmd.ProcessState.UserTime() + s.cmd.ProcessState.SystemTime()
	}
	spent, err := ProcessCPU(s.PID())
	if err != nil {
		s.tb.Fatalf("hubtest: %v", err)
	}
	return spent
}

// ProcessCPU is [Server.CPU] for any running process.
func ProcessCPU(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The second field is the program's name in parentheses and may have spaces; utime and stime are 14th and 15th.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/%d/stat: %w", pid, err)
		}
		ticks += n
	}
	return time.Duration(ticks) * clockTick, nil
}

// Descriptors returns the number of open file descriptors of the process.
func (s *Server) Descriptors() int {
	s.tb.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.PID()))
	if err != nil {
		s.tb.Fatalf("hubtest: %v", err)
	}
	return len(entries)
}
