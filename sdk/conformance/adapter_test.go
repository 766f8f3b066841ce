package conformance

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"testing"
	"time"
)

// process is the running adapter of one scenario.
type process struct {
	t       *testing.T
	in      io.WriteCloser
	events  chan map[string]any
	results chan map[string]any
	ended   chan struct{} // closed when the process has ended

	mu      sync.Mutex
	stderr  bytes.Buffer
	logged  map[string]int   // log events by level
	lines   []map[string]any // everything, for the report of a failure
	stopped bool
}

func startProcess(t *testing.T, command []string, dir string) *process {
	t.Helper()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir = dir
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{
		t: t, in: in, events: make(chan map[string]any, 1<<16), results: make(chan map[string]any, 1<<16), ended: make(chan struct{}),
		logged: map[string]int{},
	}
	cmd.Stderr = &p.stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		p.read(out)
		if err := cmd.Wait(); err != nil && !p.isStopped() {
			t.Errorf("the adapter has ended: %v", err)
		}
	}()
	t.Cleanup(func() { p.stop(cmd) })
	return p
}

func (p *process) isStopped() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stopped
}

// stop closes standard input, at which an adapter ends.
func (p *process) stop(cmd *exec.Cmd) {
	p.mu.Lock()
	p.stopped = true
	p.mu.Unlock()
	_ = p.in.Close()
	select {
	case <-p.ended:
	case <-time.After(30 * time.Second):
		p.t.Error("the adapter did not end with standard input")
		_ = cmd.Process.Kill()
		<-p.ended
	}
	if p.t.Failed() {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, line := range p.lines {
			p.t.Logf("adapter: %.300s", text(line))
		}
		p.t.Logf("adapter's standard error: %.4000s", p.stderr.String())
	}
}

func (p *process) read(out io.Reader) {
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var line map[string]any
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			p.t.Errorf("the adapter wrote %.200q", lines.Text())
			continue
		}
		p.mu.Lock()
		if p.lines = append(p.lines, line); len(p.lines) > 100 {
			p.lines = p.lines[1:]
		}
		if line["event"] == "log" {
			p.logged[fmt.Sprint(line["level"])]++
		}
		p.mu.Unlock()
		switch {
		case line["n"] != nil:
			p.results <- line
		case line["event"] != "log":
			p.events <- line
		}
	}
}

// call writes a command.
func (p *process) call(command map[string]any) error {
	_, err := fmt.Fprintln(p.in, text(command))
	return err
}

// hasLogged reports whether there was a log event of the level since the last call.
func (p *process) hasLogged(level string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	has := p.logged[level] > 0
	p.logged[level] = 0
	return has
}
