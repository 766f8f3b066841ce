// Package ratelog writes log lines that strangers can cause, without letting them fill the log: at most one line a
// second for each cause. What was left out is counted in the next line of the same cause.
package ratelog

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// interval is the least time between two lines of one cause.
const interval = time.Second

// Logger writes lines by cause. Causes must come from a fixed set: each is remembered for good. Any goroutine may use
// a Logger.
type Logger struct {
	log *slog.Logger
	now func() time.Time

	mu     sync.Mutex
	causes map[key]*cause
}

// key names a kind of line.
type key struct{ msg, why string }

// cause is what is known of one cause; guarded by Logger.mu.
type cause struct {
	last    time.Time
	skipped int
}

// New returns a Logger that writes to log.
func New(log *slog.Logger) *Logger {
	return &Logger{log: log, now: time.Now, causes: make(map[key]*cause)}
}

// Warn writes the message with the cause and the attributes, unless it wrote a line for the same message and cause less
// than a second ago.
func (l *Logger) Warn(msg, why string, attrs ...slog.Attr) {
	skipped, ok := l.admit(key{msg, why})
	if !ok {
		return
	}
	attrs = append([]slog.Attr{slog.String("cause", why)}, attrs...)
	if skipped > 0 {
		attrs = append(attrs, slog.Int("suppressed", skipped))
	}
	l.log.LogAttrs(context.Background(), slog.LevelWarn, msg, attrs...)
}

// admit reports whether a line may be written now, and how many were left out since the last.
func (l *Logger) admit(k key) (skipped int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.causes[k]
	if c == nil {
		c = new(cause)
		l.causes[k] = c
	}
	now := l.now()
	if !c.last.IsZero() && now.Sub(c.last) < interval {
		c.skipped++
		return 0, false
	}
	skipped = c.skipped
	*c = cause{last: now}
	return skipped, true
}
