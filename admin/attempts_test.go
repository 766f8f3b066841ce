package admin

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestGuessesOverTheAPI shows wrong tokens, as fast as a loop can, from an address that an operator has used: 1,000 of
// them are compared, and 100 in each second that this takes.
func TestGuessesOverTheAPI(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, nil)
	guess := func(token string) reply {
		return c.do(0, http.MethodGet, "/v1/nodes", "", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) })
	}
	counts := make(map[int]int)
	for began := time.Now(); counts[429] < 100 && time.Since(began) < 3*time.Minute; {
		r := guess("wrong")
		counts[r.status]++
		if r.status == http.StatusTooManyRequests && r.header.Get("Retry-After") == "" {
			t.Error("a 429 without Retry-After")
		}
	}
	if counts[401] < 1000 || counts[429] < 100 || len(counts) != 2 {
		t.Errorf("answers by status: %v", counts)
	}
	_, text := get(t, http.MethodGet, c.urls[0]+"/metrics")
	for _, name := range []string{"mastersocket_authentication_failures_total", "mastersocket_authentication_throttled_total"} {
		if !strings.Contains(text, "\n"+name+" ") || strings.Contains(text, "\n"+name+" 0\n") {
			t.Errorf("the metric %s is missing, or 0", name)
		}
	}
	if !strings.Contains(c.log.String(), "too many wrong tokens from this address") {
		t.Error("the log does not say it")
	}
}
