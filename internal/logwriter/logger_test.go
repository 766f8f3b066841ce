package logwriter

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestNewLogger(t *testing.T) {
	t.Parallel()
	for format, want := range map[string]string{
		"json": `"level":"WARN","msg":"slow","over":"1m30s","n":3}`,
		"JSON": `"level":"WARN","msg":"slow","over":"1m30s","n":3}`,
		"text": `level=WARN msg=slow over=1m30s n=3`,
	} {
		var b bytes.Buffer
		log := NewLogger(&b, format, slog.LevelWarn)
		log.Info("left out")
		log.Warn("slow", "over", 90*time.Second, "n", 3)
		if got := strings.TrimSuffix(b.String(), "\n"); !strings.HasSuffix(got, want) || strings.Contains(got, "\n") {
			t.Errorf("%s: %s", format, got)
		}
	}
}
