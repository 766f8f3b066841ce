//go:build linux

package rolltest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mastersocket/mastersocket/internal/history"
	"github.com/mastersocket/mastersocket/internal/hubtest"
)

// loadOptions configures a load.
type loadOptions struct {
	clients    int
	processes  int
	rate       float64 // messages per second of all clients, without GLOBALs
	globalRate float64 // GLOBALs a second
	noDrain    bool
}

// load is a set of clients in separate processes.
type load struct {
	loadOptions
	t         *testing.T
	processes []*exec.Cmd
	in        []*json.Encoder
	out       []*json.Decoder
	files     []string
	begin     int64
}

// startLoad connects all clients and starts sending.
func startLoad(r *rig, o loadOptions) *load {
	r.t.Helper()
	l := &load{loadOptions: o, t: r.t}
	dir := r.t.TempDir()
	for k := range o.processes {
		l.files = append(l.files, filepath.Join(dir, fmt.Sprintf("history-%d", k)))
		l.launch(r)
	}
	var connecting errgroup.Group
	for k := range o.processes {
		each, globals := o.clients/o.processes, 0.0
		if k == 0 {
			globals = o.globalRate
		}
		connecting.Go(func() error {
			return l.tell(k, loadSettings{
				URL: r.balance.url(), Token: hubtest.Token, Trust: r.trust, File: l.files[k], First: k * each, Clients: each, Total: o.clients,
				Rate: o.rate / float64(o.processes), GlobalRate: globals, NoDrain: o.noDrain,
			}, nil)
		})
	}
	if err := connecting.Wait(); err != nil {
		r.t.Fatal(err)
	}
	l.begin = history.Now()
	l.all("go")
	return l
}

// launch starts a process in the clients' namespace, which ends with the test.
func (l *load) launch(r *rig) {
	l.t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), envRole+"="+roleLoad)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	if err := r.clients.within(cmd.Start); err != nil {
		l.t.Fatalf("start a load process: %v", err)
	}
	l.t.Cleanup(func() {
		_ = cmd.Process.Kill() // errors mean that it has already ended
		_ = cmd.Wait()
	})
	l.processes, l.in, l.out = append(l.processes, cmd), append(l.in, json.NewEncoder(in)), append(l.out, json.NewDecoder(out))
}

// tell gives process k a command and waits for its answer.
func (l *load) tell(k int, command, answer any) error {
	if answer == nil {
		answer = &struct{}{}
	}
	if err := l.in[k].Encode(command); err != nil {
		return fmt.Errorf("load process %d: %v: %w", k, command, err)
	}
	if err := l.out[k].Decode(answer); err != nil {
		return fmt.Errorf("load process %d: answer to %v: %w", k, command, err)
	}
	return nil
}

// all gives all processes a command.
func (l *load) all(command string) {
	l.t.Helper()
	var telling errgroup.Group
	for k := range l.processes {
		telling.Go(func() error { return l.tell(k, command, nil) })
	}
	if err := telling.Wait(); err != nil {
		l.t.Fatal(err)
	}
}

// result is the result of a load.
type result struct {
	*history.Report
	counts
	history *history.History
	took    time.Duration // while it sent
	spent   time.Duration // CPU time of its processes
}

// finish ends the load and judges it.
func (l *load) finish(o history.Options) *result {
	l.t.Helper()
	l.all("stop")
	res := &result{history: history.New(0), took: time.Duration(history.Now() - l.begin), counts: newTally().counts}
	parts := make([]counts, len(l.processes))
	var ending errgroup.Group
	for k, p := range l.processes {
		ending.Go(func() error {
			if err := l.tell(k, "end", &parts[k]); err != nil {
				return err
			}
			return p.Wait()
		})
	}
	if err := ending.Wait(); err != nil {
		l.t.Fatal(err)
	}
	for k, p := range l.processes {
		res.spent += p.ProcessState.UserTime() + p.ProcessState.SystemTime()
		res.add(parts[k])
		f, err := os.Open(l.files[k])
		if err != nil {
			l.t.Fatal(err)
		}
		err = res.history.ReadNDJSON(f)
		f.Close()
		if err != nil {
			l.t.Fatal(err)
		}
	}
	res.Report = res.history.Check(o)
	l.t.Logf("%vquestions: %d, answered %d, refused %d; strays %v; lost connections %v; failures %v",
		res.Report, res.Asked, res.Answers, res.counts.Refused, res.Strays, res.Losses, res.Failures)
	return res
}

// add adds another process's part.
func (c *counts) add(o counts) {
	c.Dials, c.Joins = append(c.Dials, o.Dials...), append(c.Joins, o.Joins...)
	c.Asked, c.Answers, c.Refused, c.Unmade = c.Asked+o.Asked, c.Answers+o.Answers, c.Refused+o.Refused, c.Unmade+o.Unmade
	for _, pair := range [][2]map[string]int{{c.Strays, o.Strays}, {c.Losses, o.Losses}, {c.Failures, o.Failures}} {
		for k, n := range pair[1] {
			pair[0][k] += n
		}
	}
}

// processOf returns the process of a session.
func processOf(session int) int { return session / numbersPerProcess }

// latency is the distribution of the time from send to handler.
type latency struct {
	n                  int
	p50, p90, p99, max time.Duration
}

func (l latency) String() string {
	return fmt.Sprintf("p50 %v, p90 %v, p99 %v, most %v of %d deliveries", l.p50, l.p90, l.p99, l.max, l.n)
}

// latency is that of the messages sent in a span of time, between clients of the same process.
func (r *result) latency(from, to int64) latency {
	d := r.history.Delays(from, to, processOf)
	if len(d) == 0 {
		return latency{}
	}
	at := func(q float64) time.Duration { return d[int(q*float64(len(d)-1))].Round(10 * time.Microsecond) }
	return latency{len(d), at(0.5), at(0.9), at(0.99), at(1)}
}

// peak returns the most events of a second, wherever that begins.
func peak(times []int64) int {
	times = slices.Sorted(slices.Values(times))
	most, first := 0, 0
	for i, at := range times {
		for at-times[first] >= int64(time.Second) {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}

// joinsAfter returns when clients identified since the time from, by instance.
func (c *counts) joinsAfter(from int64) map[string][]int64 {
	by := make(map[string][]int64)
	for _, j := range c.Joins {
		if j.At >= from {
			by[j.Node] = append(by[j.Node], j.At)
		}
	}
	return by
}

// dialsAfter returns when connections were opened since the time from.
func (c *counts) dialsAfter(from int64) []int64 {
	return slices.DeleteFunc(slices.Clone(c.Dials), func(at int64) bool { return at < from })
}

// sumOf adds up a map of counts, leaving out those whose key has one of the prefixes.
func sumOf(counts map[string]int, except ...string) int {
	sum := 0
	for _, key := range slices.SortedFunc(maps.Keys(counts), cmp.Compare[string]) {
		if !slices.ContainsFunc(except, func(prefix string) bool { return strings.HasPrefix(key, prefix) }) {
			sum += counts[key]
		}
	}
	return sum
}
