package main

import (
	"context"
	"crypto/tls"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/client"
	"github.com/mastersocket/mastersocket/internal/hubtest"
	"github.com/mastersocket/mastersocket/internal/tlstest"
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

// TestCallsOverTLS: the signed token of a call gives it its rights; without a token the client certificate does.
func TestCallsOverTLS(t *testing.T) {
	t.Parallel()
	ca, dir := tlstest.NewAuthority(t), t.TempDir()
	tlstest.Write(t, dir, ca.Issue(t, tlstest.Template{}))
	tlstest.WriteFile(t, dir, "ca.crt", ca.PEM())
	makeKey(t, dir)
	stranger := t.TempDir()
	makeKey(t, stranger)
	writeFile(t, filepath.Join(dir, "issuers.yaml"), "issuers: {local: {key-file: user.key}}\n")
	writeFile(t, filepath.Join(dir, "tokens.yaml"), `tokens:
- {name: user, claims: {iss: local, sub: "*"}, groups: none, send: ["GROUP:of.{claim:sub}"]}
- {name: mesh, certificate: {uri: "spiffe://cluster.local/ns/shop/*"}, groups: none, send: ["GROUP:of.mesh"]}
`)
	s := hubtest.Start(t, hubtest.Options{Token: "none", TLS: true, Flags: append(tlsFlagsOf(dir),
		"--issuers-file", filepath.Join(dir, "issuers.yaml"), "--tokens-file", filepath.Join(dir, "tokens.yaml"))})
	signedFor := func(subject, keys string) string {
		c := start(t, nil, nil, "token", "sign", "--key-file", filepath.Join(keys, "user.key"), "--subject", subject)
		if c.code() != 0 {
			t.Fatal(c.err)
		}
		return strings.TrimSpace(c.out.String())
	}
	holder := func(uri string) []tls.Certificate {
		return []tls.Certificate{ca.Issue(t, tlstest.Template{Name: "x.test", URIs: []string{uri}})}
	}
	for _, tc := range []struct {
		what, token string
		holder      []tls.Certificate
		group       string
		want        int
	}{
		{"a user", signedFor("42", dir), nil, "of.42", http.StatusAccepted},
		{"another user's group", signedFor("42", dir), nil, "of.43", http.StatusForbidden},
		{"another key", signedFor("42", stranger), nil, "of.42", http.StatusUnauthorized},
		{"a claim with a dot", signedFor("42.x", dir), nil, "of.42.x", http.StatusForbidden},
		{"a certificate", "", holder("spiffe://cluster.local/ns/shop/sa/a"), "of.mesh", http.StatusAccepted},
		{"a certificate's other group", "", holder("spiffe://cluster.local/ns/shop/sa/a"), "of.42", http.StatusForbidden},
		{"another certificate", "", holder("spiffe://cluster.local/ns/other/sa/a"), "of.mesh", http.StatusUnauthorized},
		{"nothing", "", nil, "of.42", http.StatusUnauthorized},
		{"a certificate, and a bad token", "none.of.them", holder("spiffe://cluster.local/ns/shop/sa/a"), "of.mesh", http.StatusUnauthorized},
	} {
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{
			RootCAs: ca.Pool(), ServerName: "127.0.0.1", Certificates: tc.holder,
		}}}
		call, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+s.TLSAddr+"/v1/events",
			strings.NewReader(`{"event":"e","intent":{"target":"GROUP","identifier":"`+tc.group+`"}}`))
		if err != nil {
			t.Fatal(err)
		}
		call.Header.Set("Content-Type", "application/json")
		if tc.token != "" {
			call.Header.Set("Authorization", "Bearer "+tc.token)
		}
		answer, err := client.Do(call)
		if err != nil {
			t.Fatalf("%s: %v", tc.what, err)
		}
		_ = answer.Body.Close()
		if answer.StatusCode != tc.want {
			t.Errorf("%s: %d, want %d", tc.what, answer.StatusCode, tc.want)
		}
	}
}
