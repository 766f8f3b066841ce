package redistest_test

import (
	"testing"

	"github.com/mastersocket/mastersocket/internal/redistest"
)

func TestServer(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	s.Do("SET", "k", "v")
	if got := s.Do("GET", "k"); got != "v" {
		t.Errorf("GET: %q", got)
	}
	if n := s.Calls("get"); n != 1 {
		t.Errorf("%d calls of GET, want 1", n)
	}
	s.Pause()
	s.Resume()
	s.Kill()
	s.Kill()
	if _, err := s.Try("PING"); err == nil {
		t.Error("a killed server answered")
	}
	s.Restart()
	if got := s.Do("GET", "k"); got != "" {
		t.Errorf("restarted server still has %q", got)
	}
}
