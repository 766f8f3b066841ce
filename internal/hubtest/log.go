//go:build linux

package hubtest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"
)

// maxLog bounds how much of a process's log is kept, in lines.
const maxLog = 20000

// logBook keeps a process's log and lets tests wait for a line.
type logBook struct {
	mu     sync.Mutex
	lines  []string
	total  int // all lines so far, including dropped ones
	ended  bool
	change chan struct{} // closed and replaced at each change
}

func newLogBook() *logBook { return &logBook{change: make(chan struct{})} }

// follow reads lines until r ends.
func (l *logBook) follow(r io.Reader) {
	scan := bufio.NewScanner(r)
	scan.Buffer(nil, 16<<20)
	for scan.Scan() {
		l.update(func() {
			l.lines = append(l.lines, scan.Text())
			l.total++
			if len(l.lines) > maxLog {
				l.lines = append([]string(nil), l.lines[maxLog/2:]...)
			}
		})
	}
	l.update(func() { l.ended = true })
}

func (l *logBook) update(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
	close(l.change)
	l.change = make(chan struct{})
}

// from returns the lines since line number first, and the number of the next line.
func (l *logBook) from(first int) (lines []string, next int, ended bool, change <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	skip := max(first-(l.total-len(l.lines)), 0)
	return append([]string(nil), l.lines[min(skip, len(l.lines)):]...), l.total, l.ended, l.change
}

// wait returns the first line since number first that match accepts.
func (l *logBook) wait(ctx context.Context, first int, match func(Line) bool) (Line, error) {
	for {
		lines, next, ended, change := l.from(first)
		for _, text := range lines {
			if line := parseLine(text); match(line) {
				return line, nil
			}
		}
		if ended {
			return nil, fmt.Errorf("the process ended without that log line")
		}
		first = next
		select {
		case <-change:
		case <-ctx.Done():
			return nil, fmt.Errorf("no such log line: %w", ctx.Err())
		}
	}
}

// Line is a structured log line: its attributes by key, among them msg and level. An unstructured line is empty.
type Line map[string]string

// parseLine reads a line as log/slog's text or JSON handler writes it.
func parseLine(text string) Line {
	line := make(Line)
	if strings.HasPrefix(text, "{") {
		var values map[string]any
		dec := json.NewDecoder(bytes.NewReader([]byte(text)))
		dec.UseNumber()
		if dec.Decode(&values) == nil {
			for k, v := range values {
				line[k] = fmt.Sprint(v)
			}
		}
		return line
	}
	for rest := text; rest != ""; {
		key, value, ok := strings.Cut(rest, "=")
		if !ok || strings.ContainsAny(key, " \t") {
			return make(Line)
		}
		if value, rest, ok = cutValue(value); !ok {
			return make(Line)
		}
		line[key] = value
	}
	return line
}

// cutValue cuts a value, quoted or not, and the space after it off the front of s.
func cutValue(s string) (value, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		value, rest, _ = strings.Cut(s, " ")
		return value, rest, true
	}
	quoted, err := strconv.QuotedPrefix(s)
	if err != nil {
		return "", "", false
	}
	value, err = strconv.Unquote(quoted)
	return value, strings.TrimPrefix(s[len(quoted):], " "), err == nil
}

// Log returns the log so far, by line. Of a very long log only the later part is kept.
func (s *Server) Log() []string {
	lines, _, _, _ := s.log.from(0)
	return lines
}

// LogMark returns the number of the log's next line, for LogSince and WaitLog.
func (s *Server) LogMark() int {
	_, next, _, _ := s.log.from(0)
	return next
}

// LogSince returns the log since mark.
func (s *Server) LogSince(mark int) []string {
	lines, _, _, _ := s.log.from(mark)
	return lines
}

// WaitLog waits until the log since mark has a line that match accepts, and returns it. It fails the test otherwise.
func (s *Server) WaitLog(mark int, timeout time.Duration, match func(Line) bool) Line {
	s.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	line, err := s.log.wait(ctx, mark, match)
	if err != nil {
		s.tb.Fatalf("hubtest: %v", err)
	}
	return line
}
