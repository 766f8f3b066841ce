package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestHealthCommand(t *testing.T) {
	t.Parallel()
	hub := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/readyz":
			_, _ = io.WriteString(w, "ready\n")
		case "/slow":
			<-r.Context().Done()
		default:
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, "draining\n")
		}
	})
	plain, secure := httptest.NewServer(hub), httptest.NewTLSServer(hub)
	t.Cleanup(plain.Close)
	t.Cleanup(secure.Close)
	for _, s := range []*httptest.Server{plain, secure} {
		if code, out, stderr := inProcess("", "health", "--url", s.URL+"/readyz"); code != 0 || out != "ready\n" || stderr != "" {
			t.Errorf("%s: %d, %q, %q", s.URL, code, out, stderr)
		}
		code, out, stderr := inProcess("", "health", "--url", s.URL+"/else")
		if code != 1 || out != "" || !strings.Contains(stderr, "503 Service Unavailable: draining") {
			t.Errorf("%s: %d, %q, %q", s.URL, code, out, stderr)
		}
	}
	if code, _, stderr := inProcess("", "health", "--timeout", "20ms", "--url", plain.URL+"/slow"); code != 1 || !strings.Contains(stderr, "deadline") {
		t.Errorf("no answer: %d, %q", code, stderr)
	}
	for _, args := range [][]string{{"--url", "localhost:1"}, {"--url", "http://[::1"}, {"--timeout", "0s"}} {
		if code, _, stderr := inProcess("", append([]string{"health"}, args...)...); code != 2 {
			t.Errorf("%v: %d, %q", args, code, stderr)
		}
	}
}

func TestTokenSecretCommand(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	args := []string{"token", "secret", "--dir", dir, "token", "redis-password"}
	if code, out, stderr := inProcess("", args...); code != 0 || out != "token in "+dir+": made\nredis-password in "+dir+": made\n" || stderr != "" {
		t.Fatalf("%d, %q, %q", code, out, stderr)
	}
	token, err := os.ReadFile(filepath.Join(dir, "token"))
	if err != nil || !strings.HasPrefix(string(token), "ms_") {
		t.Fatalf("%q, %v", token, err)
	}
	if code, out, _ := inProcess("", args...); code != 0 || !strings.HasPrefix(out, "token in "+dir+": exists and stays as it is\n") {
		t.Errorf("again: %d, %q", code, out)
	}
	if again, err := os.ReadFile(filepath.Join(dir, "token")); err != nil || string(again) != string(token) {
		t.Errorf("the token is another, or %v", err)
	}
	for _, wrong := range [][]string{
		{"token"}, {"--dir", dir, "--kubernetes", "x", "token"}, {"--dir", dir, "../token"}, {"--dir", dir, "a", "a"}, {"--dir", dir},
		{"--kubernetes", "x", "--label", "nothing", "token"},
	} {
		if code, _, stderr := inProcess("", append([]string{"token", "secret"}, wrong...)...); code != 2 {
			t.Errorf("%v: %d, %q", wrong, code, stderr)
		}
	}
	missing := []string{"token", "secret", "--kubernetes", "x", "--account-dir", filepath.Join(dir, "none"), "token"}
	if code, _, stderr := inProcess("", missing...); code != 1 || !strings.Contains(stderr, "mastersocket: ") {
		t.Errorf("outside of a cluster: %d, %q", code, stderr)
	}
}
