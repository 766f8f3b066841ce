package client_test

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/figure"
	"github.com/mastersocket/mastersocket/internal/hubtest"
)

// readmeProgram returns the README's program in Go, which asks the adders at url instead of its own group.
func readmeProgram(t *testing.T, url string) string {
	t.Helper()
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "\n```go\n")
	program, _, _ := strings.Cut(rest, "\n```\n")
	for old, changed := range map[string]string{"ws://127.0.0.1:42069": url, `client.Any("workers"), "sum"`: `client.Any("adders"), "sum"`} {
		if strings.Count(program, old) != 1 {
			t.Fatalf("the README's program in Go has not one %q", old)
		}
		program = strings.Replace(program, old, changed, 1)
	}
	return program + "\n"
}

// buildProgram builds a program of this module from its source.
func buildProgram(t *testing.T, source string) (binary string) {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	place, err := filepath.Abs("readme/main.go") // where no file is
	if err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{place: write("main.go", source)}})
	if err != nil {
		t.Fatal(err)
	}
	binary = filepath.Join(dir, "program")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-overlay", write("overlay.json", string(overlay)), "-o", binary, "./readme")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return binary
}

// TestREADME runs the README's program in Go. Its request fails as soon as the worker that has it is killed, and says which
// worker that was.
func TestREADME(t *testing.T) {
	t.Parallel()
	hub := hubtest.Start(t, hubtest.Options{})
	start := func(binary string, args ...string) (*exec.Cmd, *bufio.Scanner) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), binary, args...)
		cmd.Env = append(os.Environ(), "MASTERSOCKET_TOKEN="+hub.Token)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
		errors, err := cmd.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			_ = cmd.Wait()
		})
		return cmd, bufio.NewScanner(errors)
	}
	program := buildProgram(t, readmeProgram(t, hub.URL()))
	adder, _ := start(hubtest.Binary(t), "reply", "--url", hub.URL(), "--group", "adders", "--event", "sum", "--name", "adder-1",
		"--", "sh", "-c", "exec sleep 600")
	eventually.True(t, "the adder is there", func() bool { return hub.Metrics().Sum("mastersocket_connections") == 1 })
	_, out := start(program)
	eventually.True(t, "the adder works", func() bool { return hub.Metrics().Sum("mastersocket_requests_open") == 1 })
	killed := time.Now()
	if err := syscall.Kill(-adder.Process.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if !out.Scan() {
		t.Fatalf("the program ended without a word: %v", out.Err())
	}
	failed, took := out.Text(), time.Since(killed)
	want := regexp.MustCompile(`event "sum" to ANY:adders: no answer; adder-1 [0-9a-f-]{36} LOST$`)
	if !want.MatchString(failed) {
		t.Errorf("the request failed with %q", failed)
	}
	figure.Printf(t, "a request failed %v after its worker was killed: %s", took.Round(10*time.Microsecond), failed)
}
