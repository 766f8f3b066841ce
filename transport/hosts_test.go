package transport

import (
	"log/slog"
	"strings"
	"sync"
	"testing"
)

// logBook is a Logger that keeps its lines.
type logBook struct {
	mu    sync.Mutex
	lines []string
}

func (b *logBook) Warn(msg, cause string, attrs ...slog.Attr) {
	b.mu.Lock()
	defer b.mu.Unlock()
	line := msg + " " + cause
	for _, a := range attrs {
		line += " " + a.String()
	}
	b.lines = append(b.lines, line)
}

// last returns the latest line.
func (b *logBook) last() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.lines) == 0 {
		return ""
	}
	return b.lines[len(b.lines)-1]
}

// TestHosts: on a loopback address a listener answers no name that a page could rebind to it, unless it is allowed, and says
// in the log which one it refused.
func TestHosts(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		host, allowed string
		status        int
	}{
		{"127.0.0.1:42069", "", 101}, {"localhost:42069", "", 101}, {"[::1]:42069", "", 101},
		{"evil.example:42069", "", 421}, {"hub.example:42069", "", 421},
		{"hub.example:42069", "hub.example", 101}, {"a.hub.example", "*.hub.example", 101}, {"evil.example", "hub.example", 421},
		{"evil.example", "*", 101},
	} {
		book := &logBook{}
		o := testOptions()
		o.Log, o.AllowedHosts = book, nil
		if tt.allowed != "" {
			o.AllowedHosts = []string{tt.allowed}
		}
		c := dial(t, listen(t, startServer(t, o), newTape()))
		c.write([]byte(strings.Replace(upgradeRequest("Origin: http://"+tt.host+"\r\n"), "hub.example:42069", tt.host, 1)))
		if res := c.response(); res.StatusCode != tt.status {
			t.Errorf("%s, allowed %q: %s, want %d", tt.host, tt.allowed, res.Status, tt.status)
		}
		if line := book.last(); tt.status == 421 && !strings.HasSuffix(line, " host="+tt.host+" flag=--allowed-hosts") {
			t.Errorf("%s: the log says %q", tt.host, line)
		}
	}
}

// TestRefusedOriginInTheLog: the line names the origin, and the flag that allows it.
func TestRefusedOriginInTheLog(t *testing.T) {
	t.Parallel()
	book := &logBook{}
	o := testOptions()
	o.Log = book
	c := dial(t, listen(t, startServer(t, o), newTape()))
	c.write([]byte(upgradeRequest("Origin: http://localhost:5173\r\n")))
	if res := c.response(); res.StatusCode != 403 {
		t.Errorf("got %s", res.Status)
	}
	if line := book.last(); !strings.HasSuffix(line, " origin=http://localhost:5173 flag=--allowed-origins") {
		t.Errorf("the log says %q", line)
	}
}
