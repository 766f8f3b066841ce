package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/client"
	"github.com/mastersocket/mastersocket/internal/hubtest"
)

var anID = regexp.MustCompile(`"[0-9a-f]{4}(…|[0-9a-f]{4}-[0-9a-f-]{27})"`)

// TestDocumentedCalls runs the lines of docs/http.md with curl and a token that may send, and join no group.
func TestDocumentedCalls(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("needs curl")
	}
	table := filepath.Join(t.TempDir(), "tokens.yaml")
	text := "tokens:\n- {name: service, sha256: " + auth.Hash("of a service") + ", groups: '*', send: '*'}\n" +
		"- {name: cron, sha256: " + auth.Hash("of a script") + ", send: ['GROUP:demo', 'ANY:workers']}\n"
	if err := os.WriteFile(table, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := hubtest.Start(t, hubtest.Options{Token: "none", Flags: []string{"--tokens-file", table}})
	got := make(chan string, 1)
	for group, on := range map[string]map[string]client.Handler{
		"demo": {"hi": func(_ context.Context, m *client.Message) { got <- string(m.Data) }},
		"workers": {"sum": client.HandleFunc(func(_ context.Context, m *client.Message) (any, error) {
			var n []int
			err := m.Unmarshal(&n)
			return n[0] + n[1], err
		})},
	} {
		c, err := client.Connect(t.Context(), client.Options{URL: s.URL(), Token: "of a service", Group: group, On: on})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close(context.Background()) })
	}
	document, err := os.ReadFile(filepath.Join(root, "docs/http.md"))
	if err != nil {
		t.Fatal(err)
	}
	block := strings.SplitN(string(document), "```", 3)[1]
	calls := strings.Split("\n"+strings.TrimSpace(block), "\n$ ")[1:]
	if len(calls) != 2 {
		t.Fatalf("%d calls are documented", len(calls))
	}
	for _, call := range calls {
		line, want := "", ""
		for more := true; more; more = strings.HasSuffix(line, "\\\n") {
			var next string
			next, call, _ = strings.Cut(call, "\n")
			line += next + "\n"
		}
		want = strings.ReplaceAll(call, "\n ", "")
		line = strings.Replace(line, "127.0.0.1:42069", s.HubAddr, 1)
		cmd := exec.CommandContext(t.Context(), "sh", "-c", line)
		cmd.Env = append(os.Environ(), "MASTERSOCKET_TOKEN=of a script")
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if same := func(s string) string { return anID.ReplaceAllString(s, `"…"`) }; same(string(out)) != same(want) {
			t.Errorf("%s\nprints %s\nwant   %s", line, out, want)
		}
	}
	if data := <-got; data != `{"n":1}` {
		t.Error(data)
	}
}

// TestWithoutHTTP: the operator can turn the paths off.
func TestWithoutHTTP(t *testing.T) {
	t.Parallel()
	s := hubtest.Start(t, hubtest.Options{Flags: []string{"--http-api=false"}})
	out, err := exec.CommandContext(t.Context(), "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--json", "{}", "http://"+s.HubAddr+"/v1/events").Output()
	if err != nil || string(out) != "404" {
		t.Errorf("%s, %v", out, err)
	}
}
