package logwriter

import (
	"io"
	"log/slog"
	"strings"
)

// NewLogger returns a logger of lines in format, "json" (in any case) or text for all else, from level on. A duration is
// written as 1m30s in both.
func NewLogger(w io.Writer, format string, level slog.Leveler) *slog.Logger {
	o := &slog.HandlerOptions{Level: level}
	if !strings.EqualFold(format, "json") {
		return slog.New(slog.NewTextHandler(w, o))
	}
	o.ReplaceAttr = func(_ []string, a slog.Attr) slog.Attr {
		if a.Value.Kind() == slog.KindDuration { // by default a number of nanoseconds without a unit
			a.Value = slog.StringValue(a.Value.Duration().String())
		}
		return a
	}
	return slog.New(slog.NewJSONHandler(w, o))
}
