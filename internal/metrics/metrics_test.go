package metrics

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
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

// slowReader is the writer of a response that is not read until release is closed.
type slowReader struct {
	http.ResponseWriter
	began   chan<- struct{}
	release <-chan struct{}
}

func (s slowReader) Write(b []byte) (int, error) {
	s.began <- struct{}{}
	<-s.release
	return s.ResponseWriter.Write(b)
}

// TestSlowReaders: scrapes whose responses are not read keep no other scrape out.
func TestSlowReaders(t *testing.T) {
	t.Parallel()
	h := Handler(NewRegistry(func(Writer) {}))
	began, release := make(chan struct{}), make(chan struct{})
	var slow sync.WaitGroup
	for range 2 * maxScrapes {
		slow.Go(func() {
			h.ServeHTTP(slowReader{httptest.NewRecorder(), began, release}, httptest.NewRequest("GET", "/metrics", nil))
		})
		<-began
	}
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil)); w.Code != http.StatusOK {
		t.Errorf("%d beside readers that do not read", w.Code)
	}
	close(release)
	slow.Wait()
}
