package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/mastersocket/mastersocket/internal/hubtest"
	"github.com/mastersocket/mastersocket/internal/tlstest"
)

// socketioClients is the folder with the client library of Socket.IO, and a driver for a browser.
const socketioClients = root + "/services/socketio/clients"

// socketioPage is a server of the page of the document, which does not run yet, and its origin.
func socketioPage(t *testing.T) (s *httptest.Server, origin string) {
	t.Helper()
	s = httptest.NewUnstartedServer(nil)
	t.Cleanup(s.Close)
	return s, strings.Replace("http://"+s.Listener.Addr().String(), "127.0.0.1", "localhost", 1)
}

// serve serves the page, and the library that it loads.
func serve(s *httptest.Server, page string) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, page) })
	mux.Handle("GET /node_modules/", http.FileServer(http.Dir(socketioClients)))
	s.Config.Handler = mux
	s.Start()
}

// program is a program of the example. Its standard input ends with the test.
type program struct {
	out *output
	in  io.Writer
}

func startProgram(t *testing.T, env []string, name string, args ...string) *program {
	t.Helper()
	p := &program{out: newOutput()}
	cmd := exec.Command(name, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), env...), p.out, p.out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.in = in
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // a browser has processes of its own
		_ = cmd.Wait()
	})
	return p
}

// exampleIn returns the first block of code of a document that is in that language, for a hub at url.
func exampleIn(t *testing.T, document, language, url string) string {
	t.Helper()
	block := regexp.MustCompile("(?ms)^```" + language + "\n(.*?)^```").FindStringSubmatch(document)
	if block == nil {
		t.Fatalf("no block of %s", language)
	}
	return strings.ReplaceAll(block[1], "http://127.0.0.1:42069", url)
}

// TestSocketIOExample does what docs/socketio.md says: a page in Chromium, a program in Node.js, one in Python and the hub's own
// subscriber exchange events. A page of another origin is refused.
func TestSocketIOExample(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat(filepath.Join(socketioClients, "node_modules", "playwright-core")); err != nil {
		if os.Getenv("MASTERSOCKET_SOCKETIO_CLIENTS") != "" {
			t.Fatal(err)
		}
		t.Skip("the client libraries are not installed: make socketio-test installs them")
	}
	document := documents(t)["docs/socketio.md"]
	t.Run("plain", func(t *testing.T) {
		t.Parallel()
		allowed, origin := socketioPage(t)
		s := hubtest.Start(t, hubtest.Options{Flags: []string{"--enable", "socketio", "--allowed-origins", origin}})
		socketioExample(t, s, document, "http://"+s.HubAddr, allowed, origin, nil)
	})
	t.Run("TLS", func(t *testing.T) {
		t.Parallel()
		allowed, origin := socketioPage(t)
		authority, dir := tlstest.NewAuthority(t), t.TempDir()
		certificate, key := tlstest.Write(t, dir, authority.Issue(t, tlstest.Template{}))
		ca := tlstest.WriteFile(t, dir, "ca.pem", authority.PEM())
		s := hubtest.Start(t, hubtest.Options{TLS: true, Flags: []string{
			"--enable", "socketio", "--allowed-origins", origin, "--tls-cert", certificate, "--tls-key", key,
		}})
		socketioExample(t, s, document, "https://"+s.TLSAddr, allowed, origin, []string{"CA=" + ca, "SSL_CERT_FILE=" + ca, "NODE_EXTRA_CA_CERTS=" + ca})
	})
}

func socketioExample(t *testing.T, s *hubtest.Server, document, url string, allowed *httptest.Server, origin string, env []string) {
	t.Helper()
	env = append(env, "TOKEN="+s.Token)
	x := newTools(t, s)
	sub := x.sub("--group", "demo")
	python := startProgram(t, env, "/usr/bin/python3", "-c", exampleIn(t, document, "python", url)) // Debian's, whose packages it uses
	python.out.waitFor(t, "hi from Python\n")
	// A module is looked for beside the file. What a killed test leaves there is no part of the repository.
	script := filepath.Join(socketioClients, "node_modules", "hi-"+strings.NewReplacer(":", "-", "/", "").Replace(url)+".mjs")
	if err := os.WriteFile(script, []byte(exampleIn(t, document, "js", url)), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(script) })
	node := startProgram(t, env, "node", script)
	node.out.waitFor(t, "hi from Node.js\n")
	python.out.waitFor(t, "hi from Node.js\n")

	page := exampleIn(t, document, "html", url)
	serve(allowed, page)
	browser := startProgram(t, append(env, "PAGE="+origin), "node", filepath.Join(socketioClients, "browser.mjs"))
	browser.out.waitFor(t, "connected\n")
	_, _ = io.WriteString(browser.in, "click\n")
	for _, p := range []*program{python, node, browser} {
		p.out.waitFor(t, "hi from the page\n")
	}
	x.start("", "pub", "--to", "GROUP:demo", "--event", "hi", `"from the shell"`).want(0, "", "")
	for _, p := range []*program{python, node, browser} {
		p.out.waitFor(t, "hi from the shell\n")
	}
	for _, from := range []string{"Python", "Node.js", "the page", "the shell"} {
		sub.out.waitFor(t, `"from `+from+`"`)
	}

	foreign, other := socketioPage(t)
	serve(foreign, page)
	stranger := startProgram(t, append(env, "PAGE="+other), "node", filepath.Join(socketioClients, "browser.mjs"))
	stranger.out.waitFor(t, "xhr poll error\n")
	if strings.Contains(stranger.out.String(), "connected") {
		t.Errorf("a page of another origin: %s", stranger.out)
	}
}
