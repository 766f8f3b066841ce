package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/mastersocket/mastersocket/services/team/bridge"
)

// clearLine makes a terminal clear its current line (ECMA-48, EL).
const clearLine = "\r\x1b[K"

// liveWriter keeps one line at the bottom of a terminal up to date while log lines go by above it.
type liveWriter struct {
	out io.Writer

	mu   sync.Mutex
	line string // what the terminal shows; empty for no line
}

func newLiveWriter(out io.Writer) *liveWriter { return &liveWriter{out: out} }

// Write writes whole log lines above the live line.
func (w *liveWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.line == "" {
		return w.out.Write(p)
	}
	var buf bytes.Buffer
	buf.WriteString(clearLine)
	buf.Write(p)
	buf.WriteString(w.line)
	if _, err := w.out.Write(buf.Bytes()); err != nil {
		return 0, err
	}
	return len(p), nil
}

// set replaces the live line.
func (w *liveWriter) set(line string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.line = line
	_, _ = io.WriteString(w.out, clearLine+line) // it fails only if the terminal is gone
}

// show keeps the live line up to date until ctx ends, and leaves the last one.
func (w *liveWriter) show(ctx context.Context, status func() bridge.Status, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	before, at := status(), time.Now()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.line != "" {
				_, _ = io.WriteString(w.out, "\n")
			}
			w.line = ""
			return
		}
		now, s := time.Now(), status()
		w.set(liveLine(&s, float64(s.Messages.Received-before.Messages.Received)/now.Sub(at).Seconds()))
		before, at = s, now
	}
}

// liveLine returns the text of the line.
func liveLine(s *bridge.Status, perSecond float64) string {
	line := fmt.Sprintf("teams %d  connected %d  messages/s %.0f  reconnects %d  attempts/s %d", s.Teams.Present,
		s.Teams.Connected, perSecond, s.Connections.Reconnects, s.Connections.LastSecond)
	if s.Queue.Events > 0 {
		line += fmt.Sprintf("  queued %d", s.Queue.Events)
	}
	if !s.Global.Connected {
		line += "  SERVER AWAY"
	}
	if !s.Hub.Connected {
		line += "  HUB AWAY"
	}
	return line
}
