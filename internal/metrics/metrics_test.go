package metrics

import (
	"net/http/httptest"
	"strings"
	"testing"
)

func TestHandler(t *testing.T) {
	t.Parallel()
	sent, up := Desc("x_sent_total", "Sent.", "to"), Desc("x_up", "Up.")
	h := Handler(NewRegistry(func(w Writer) {
		w.Counter(sent, 7, "a")
		w.Flag(up, true)
	}))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{"# TYPE x_sent_total counter\nx_sent_total{to=\"a\"} 7\n", "# TYPE x_up gauge\nx_up 1\n", "go_goroutines ", "process_open_fds "} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("%q is missing in\n%s", want, w.Body)
		}
	}
}
