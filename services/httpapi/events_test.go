package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/mastersocket/mastersocket/client"
)

const toJobs = `"intent":{"target":"GROUP","identifier":"jobs"}`

func TestEvent(t *testing.T) {
	t.Parallel()
	onSites(t, func(t *testing.T, all []*node) {
		got := make(chan string, 100)
		hear := map[string]client.Handler{"e": func(_ context.Context, m *client.Message) { got <- string(m.Data) }}
		for _, n := range all {
			n.client("jobs", hear)
			n.client("jobs", hear)
		}
		all[0].sees("jobs", 2*len(all))
		status, body := all[0].post("cron", eventsPath, `{"id":"1","event":"e","data":{"a":1},`+toJobs+`}`)
		want := fmt.Sprintf(`{"id":"1","instances":%d,"clients":%d,"dropped":{}}`, len(all), 2*len(all))
		if status != http.StatusAccepted || body != want {
			t.Errorf("%d %s, want %s", status, body, want)
		}
		for range 2 * len(all) {
			if data := <-got; data != `{"a":1}` {
				t.Error(data)
			}
		}
		if status, body = all[0].post("cron", eventsPath, `{"event":"e","intent":{"target":"ANY","identifier":"workers"}}`); status != http.StatusAccepted ||
			!strings.Contains(body, `"instances":0,"clients":0,"dropped":{"no_receiver":1}`) {
			t.Errorf("%d %s", status, body)
		}
		if status, body = all[0].post("cron", eventsPath, `{"event":"e","intent":{"target":"GLOBAL"}}`); status != http.StatusForbidden {
			t.Errorf("%d %s", status, body)
		}
	})
}

func TestBatch(t *testing.T) {
	t.Parallel()
	onSites(t, func(t *testing.T, all []*node) {
		const events = 200
		got := make(chan string, events)
		last(all).client("jobs", map[string]client.Handler{"e": func(_ context.Context, m *client.Message) { got <- string(m.Data) }})
		all[0].sees("jobs", 1)
		var parts []string
		for i := range events {
			switch {
			case i == 7:
				parts = append(parts, `{"event":"e","intent":{"target":"GLOBAL"}}`)
			case i == 9:
				parts = append(parts, `17`)
			case i == 11:
				parts = append(parts, `{"event":7,`+toJobs+`}`)
			default:
				parts = append(parts, fmt.Sprintf(`{"id":"m%d","event":"e","data":%d,%s}`, i, i, toJobs))
			}
		}
		status, body := all[0].post("cron", eventsPath, " [ "+strings.Join(parts, " , ")+" ] ")
		var outcomes []struct {
			Status  int
			ID      string
			Clients *int
			Detail  string
		}
		if err := json.Unmarshal([]byte(body), &outcomes); err != nil || status != http.StatusOK || len(outcomes) != events {
			t.Fatalf("%d %.300s: %v", status, body, err)
		}
		for i, o := range outcomes {
			want := map[int]int{7: http.StatusForbidden, 9: http.StatusUnprocessableEntity, 11: http.StatusUnprocessableEntity}[i]
			switch {
			case want != 0 && (o.Status != want || o.Detail == ""):
				t.Errorf("%d: %+v, want %d", i, o, want)
			case want == 0 && (o.Status != http.StatusAccepted || o.ID != fmt.Sprint("m", i) || o.Clients == nil || *o.Clients != 1):
				t.Errorf("%d: %+v", i, o)
			}
		}
		for i := range events {
			if i == 7 || i == 9 || i == 11 {
				continue
			}
			if data := <-got; data != fmt.Sprint(i) {
				t.Fatalf("%s comes in the place of %d", data, i)
			}
		}
	})
}

func TestBatchBounds(t *testing.T) {
	t.Parallel()
	onSites(t, func(t *testing.T, all []*node) {
		n := all[0]
		one := `{` + toJobs + `}`
		for body, want := range map[string]int{
			`[]`:                     http.StatusOK,
			`[` + one + `,` + one:    http.StatusBadRequest,
			`[` + one + `,]`:         http.StatusBadRequest,
			`[` + one + ` ` + one:    http.StatusBadRequest,
			`[` + one + `]x`:         http.StatusBadRequest,
			`[` + one + `,"\ud800"]`: http.StatusBadRequest,
			`[` + one + "," + `"` + strings.Repeat("x", 40_000) + `"]`:         http.StatusOK,
			`[` + strings.TrimSuffix(strings.Repeat(one+",", 1000), ",") + `]`: http.StatusOK,
			`[` + strings.TrimSuffix(strings.Repeat(one+",", 1001), ",") + `]`: http.StatusRequestEntityTooLarge,
			`[` + strings.Repeat(" ", 2<<20) + `]`:                             http.StatusRequestEntityTooLarge,
			`{` + toJobs + `,"data":"` + strings.Repeat("x", 40_000) + `"}`:    http.StatusRequestEntityTooLarge,
		} {
			before := fmt.Sprint(n.hub.Stats().Published)
			res, answer := n.call("POST", eventsPath, body, http.Header{"Authorization": {"Bearer cron"}, "Content-Type": {"application/json"}})
			if res.StatusCode != want {
				t.Errorf("%.60s (%d bytes): %d %.200s, want %d", body, len(body), res.StatusCode, answer, want)
			}
			if after := fmt.Sprint(n.hub.Stats().Published); want != http.StatusOK && after != before {
				t.Errorf("%.60s: something was sent: %v, %v", body, before, after)
			}
		}
	})
}

func TestRateOfCalls(t *testing.T) {
	t.Parallel()
	onSites(t, func(t *testing.T, all []*node) {
		one := `{` + toJobs + `}`
		_, body := all[0].post("slow", eventsPath, `[`+one+`,`+one+`]`)
		if n := strings.Count(body, `"status":202`); n != 2 {
			t.Errorf("%d are taken: %s", n, body)
		}
		_, body = all[0].post("slow", eventsPath, `[`+one+`,`+one+`]`)
		if n, m := strings.Count(body, `"status":202`), strings.Count(body, `"status":429`); n != 1 || m != 1 {
			t.Errorf("%d are taken, and %d refused: %s", n, m, body)
		}
		for path, body := range map[string]string{
			eventsPath: one, requestsPath: `{"timeout_ms":1000,` + toJobs + `}`,
		} {
			if status, answer := all[0].post("slow", path, body); status != http.StatusTooManyRequests {
				t.Errorf("%s: %d %s", path, status, answer)
			}
		}
		if status, answer := all[0].post("all", eventsPath, one); status != http.StatusAccepted {
			t.Errorf("%d %s", status, answer)
		}
	})
}
