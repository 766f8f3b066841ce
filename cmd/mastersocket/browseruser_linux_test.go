package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/client"
	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/freeport"
	"github.com/mastersocket/mastersocket/internal/hubtest"
)

// browserHub starts a hub with the files of the section about users in browsers, beside a token for the test, and returns the
// folder with the key.
func browserHub(t *testing.T, section string, flags ...string) (s *hubtest.Server, dir string) {
	t.Helper()
	dir = t.TempDir()
	makeKey(t, dir)
	for _, file := range []string{"issuers.yaml", "tokens.yaml"} {
		block := regexp.MustCompile("(?ms)^```yaml\n# " + file + "\n(.*?)^```").FindStringSubmatch(section)
		if block == nil {
			t.Fatalf("no block of %s", file)
		}
		writeFile(t, filepath.Join(dir, file), block[1])
	}
	return hubtest.Start(t, hubtest.Options{Flags: append([]string{
		"--issuers-file", filepath.Join(dir, "issuers.yaml"), "--tokens-file", filepath.Join(dir, "tokens.yaml"),
	}, flags...)}), dir
}

// makeKey makes the key of a local issuer, in the file user.key of the folder.
func makeKey(t *testing.T, dir string) {
	t.Helper()
	if c := start(t, nil, nil, "token", "secret", "--dir", dir, "user.key"); c.code() != 0 {
		t.Fatal(c.err)
	}
}

// browserSection is the section of the document.
func browserSection(t *testing.T) string {
	t.Helper()
	_, section, ok := strings.Cut(documents(t)["docs/identity.md"], "\n## 9. Users in browsers\n")
	if !ok {
		t.Fatal("no section about users in browsers")
	}
	return section
}

// backend runs the section's backend in that language and returns its address.
func backend(t *testing.T, section, dir, language string) string {
	t.Helper()
	address := freeport.Address(t)
	_, port, _ := strings.Cut(address, ":")
	block := regexp.MustCompile("(?ms)^```" + language + "\n(.*?)^```").FindStringSubmatch(section)
	if block == nil {
		t.Fatalf("no backend in %s", language)
	}
	if !strings.Contains(block[1], "127.0.0.1") || !strings.Contains(block[1], "8080") {
		t.Fatalf("the backend in %s listens elsewhere", language)
	}
	source := filepath.Join(dir, "backend."+map[string]string{"go": "go", "js": "mjs", "python": "py"}[language])
	writeFile(t, source, strings.ReplaceAll(block[1], "8080", port))
	command := []string{"/usr/bin/python3", source}
	switch language {
	case "js":
		command = []string{"node", source}
	case "go":
		binary := filepath.Join(dir, "backend")
		if out, err := exec.Command("go", "build", "-o", binary, source).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		command = []string{binary}
	}
	if _, err := exec.LookPath(command[0]); err != nil {
		t.Skipf("not installed: %v", err)
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir, cmd.Stderr = dir, newOutput()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	eventually.True(t, "the backend in "+language+" to answer", func() bool { return fetchToken(address) != "" })
	return address
}

// fetchToken returns a token of the backend; empty for none.
func fetchToken(address string) string {
	response, err := http.Get("http://" + address + "/hub-token")
	if err != nil {
		return ""
	}
	defer response.Body.Close()
	b, _ := io.ReadAll(response.Body)
	return string(b)
}

// TestBrowserBackends runs each backend of the document: its tokens let the user 42 into the user's own group and no other.
func TestBrowserBackends(t *testing.T) {
	t.Parallel()
	section := browserSection(t)
	s, dir := browserHub(t, section)
	for _, language := range []string{"go", "js", "python"} {
		t.Run(language, func(t *testing.T) {
			t.Parallel()
			address := backend(t, section, dir, language)
			x := tools{t, []string{"MASTERSOCKET_URL=" + s.URL(), "MASTERSOCKET_TOKEN="}}
			heard := make(chan string, 10)
			dialHub(t, x, client.Options{
				Group:       "user.42",
				TokenSource: func(context.Context) (string, error) { return fetchToken(address), nil },
				On:          map[string]client.Handler{"for": func(_ context.Context, m *client.Message) { heard <- string(m.Data) }},
			})
			operator := newTools(t, s)
			operator.start("", "pub", "--to", "GROUP:user.43", "--event", "for", `"43"`).code() // it may have no receiver
			operator.start("", "pub", "--to", "GROUP:user.42", "--event", "for", `"42"`).want(0, "", "")
			select {
			case got := <-heard:
				if got != `"42"` {
					t.Errorf("the user 42 heard %s", got)
				}
			case <-time.After(patience):
				t.Error("the user 42 heard nothing")
			}
			file := filepath.Join(t.TempDir(), "token")
			writeFile(t, file, fetchToken(address)+"\n")
			x.start("", "sub", "--token-file", file, "--group", "user.43").want(1, "", "IDENTIFY_FAILED")
		})
	}
}

// TestBrowserPage opens the page of the document in Chromium.
func TestBrowserPage(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat(filepath.Join(socketioClients, "node_modules", "playwright-core")); err != nil {
		t.Skip("the browser's driver is not installed: make socketio-test installs it")
	}
	section := browserSection(t)
	page := httptest.NewUnstartedServer(nil)
	t.Cleanup(page.Close)
	origin := "http://" + page.Listener.Addr().String()
	s, dir := browserHub(t, section, "--allowed-origins", origin)
	target, err := url.Parse("http://" + backend(t, section, dir, "python"))
	if err != nil {
		t.Fatal(err)
	}
	html := strings.ReplaceAll(exampleIn(t, section, "html", ""), "ws://127.0.0.1:42069", s.URL())
	mux := http.NewServeMux()
	mux.Handle("/hub-token", httputil.NewSingleHostReverseProxy(target))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, html) })
	page.Config.Handler = mux
	page.Start()
	browser := startProgram(t, []string{"PAGE=" + origin}, "node", filepath.Join(socketioClients, "browser.mjs"))
	browser.out.waitFor(t, "connected\n")
	x := newTools(t, s)
	x.start("", "pub", "--to", "GROUP:user.43", "--event", "for", `"for 43"`).code()
	x.start("", "pub", "--to", "GROUP:user.42", "--event", "for", `"for 42"`).want(0, "", "")
	browser.out.waitFor(t, "for 42\n")
	if strings.Contains(browser.out.String(), "43") {
		t.Errorf("the page shows %s", browser.out)
	}
}

// TestTokenSign: tokens of the command let their subject in; those of another key, or for another audience, don't.
func TestTokenSign(t *testing.T) {
	t.Parallel()
	section := browserSection(t)
	s, dir := browserHub(t, section)
	other := filepath.Join(dir, "other")
	if err := os.Mkdir(other, 0o700); err != nil {
		t.Fatal(err)
	}
	makeKey(t, other)
	key := filepath.Join(dir, "user.key")
	x := tools{t, []string{"MASTERSOCKET_URL=" + s.URL(), "MASTERSOCKET_TOKEN="}}
	identify := func(exit int, errors string, flags ...string) {
		t.Helper()
		c := start(t, nil, nil, append([]string{"token", "sign"}, flags...)...)
		if c.code() != 0 {
			t.Fatalf("token sign %q: %s", flags, c.err)
		}
		file := filepath.Join(t.TempDir(), "token")
		writeFile(t, file, c.out.String())
		x.start("", "pub", "--token-file", file, "--group", "user.42", "--to", "GROUP:orders", "--event", "e").want(exit, "", errors)
	}
	sub := newTools(t, s).sub("--group", "orders")
	identify(0, "", "--key-file", key, "--subject", "42")
	sub.out.waitFor(t, "null\n")
	identify(1, "IDENTIFY_FAILED", "--key-file", key, "--subject", "43")
	identify(1, "IDENTIFY_FAILED", "--key-file", key, "--subject", "42", "--audience", "other")
	identify(1, "IDENTIFY_FAILED", "--key-file", key, "--subject", "42", "--issuer", "other")
	identify(1, "IDENTIFY_FAILED", "--key-file", filepath.Join(other, "user.key"), "--subject", "42")
	identify(0, "", "--key-file", key, "--claim", "sub=42,org=a")
	start(t, nil, nil, "token", "sign", "--key-file", key, "--claim", "iss=a").want(2, "", "want NAME=TEXT")
	start(t, nil, nil, "token", "sign", "--key-file", key, "--expires", "0s").want(2, "", "want a second or more")
	writeFile(t, filepath.Join(dir, "short"), "short\n")
	start(t, nil, nil, "token", "sign", "--key-file", filepath.Join(dir, "short")).want(2, "", "want a secret of 32 bytes")

	// The key is replaced while the hub runs.
	b, err := os.ReadFile(filepath.Join(other, "user.key"))
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, key, string(b))
	s.Signal(syscall.SIGHUP)
	s.WaitLog(0, patience, func(l hubtest.Line) bool {
		return strings.Contains(l["msg"], "keys of the issuer of tokens changed") && l["issuer"] == "local"
	})
	identify(0, "", "--key-file", key, "--subject", "42")
}
