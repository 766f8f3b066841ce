//go:build linux

package hubtest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// firefoxPage opens a WebSocket, sends what it is told, and reports how the connection ended.
const firefoxPage = `<!doctype html><script>
const ws = new WebSocket(%q), got = [];
ws.onopen = () => ws.send(%q);
ws.onmessage = m => got.push(m.data);
ws.onclose = e => fetch("/ended", {method: "POST", body: JSON.stringify({code: e.code, clean: e.wasClean, got})});
</script>`

// ending is how a page saw its connection end.
type ending struct {
	Code  int
	Clean bool
	Got   []string
}

// TestFirefoxSeesACleanEnd: a browser calls a close clean only if it could answer the close frame.
func TestFirefoxSeesACleanEnd(t *testing.T) {
	firefox, err := exec.LookPath("firefox-esr")
	if err != nil {
		t.Skip("needs firefox-esr (Debian's package of that name)")
	}
	s := Start(t, Options{Flags: []string{"--allowed-origins", "*"}})
	ends := make(chan ending, 1)
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/":
			w.Header().Set("Content-Type", "text/html")
			_, _ = fmt.Fprintf(w, firefoxPage, s.URL(), `{"op":1,"data":{"token":"wrong"}}`)
		case "/ended":
			var e ending
			body, _ := io.ReadAll(r.Body)
			if err := json.Unmarshal(body, &e); err != nil {
				t.Errorf("the page said %q: %v", body, err)
			}
			ends <- e
		}
	}))
	defer page.Close()
	browse(t, firefox, page.URL)
	select {
	case e := <-ends:
		if !e.Clean || e.Code != 4004 || len(e.Got) != 1 || !strings.Contains(e.Got[0], "IDENTIFY_FAILED") {
			t.Errorf("clean %v, code %d, messages %q", e.Clean, e.Code, e.Got)
		}
	case <-time.After(time.Minute):
		t.Fatal("the page said nothing")
	}
}

// browse opens an address in a Firefox of its own until the test ends.
func browse(t *testing.T, firefox, url string) {
	t.Helper()
	profile := t.TempDir()
	cmd := exec.CommandContext(context.Background(), firefox, "--headless", "--no-remote", "--profile", profile, url)
	cmd.Env = append(os.Environ(), "HOME="+profile, "XDG_RUNTIME_DIR="+profile, "MOZ_CRASHREPORTER_DISABLE=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	log, err := os.Create(filepath.Join(profile, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		_ = log.Close()
		if t.Failed() {
			out, _ := os.ReadFile(log.Name())
			t.Logf("Firefox wrote:\n%s", out)
		}
	})
}
