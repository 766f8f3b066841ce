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

// readmeProgram returns the README's example in Go as a program that connects to url, and prints the answer of its request
// to the workers, too.
func readmeProgram(t *testing.T, url string) string {
	t.Helper()
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "\n## Receive, reply, request\n\n```go\n")
	example, _, ok := strings.Cut(rest, "\n```\n")
	const address, marker = "ws://127.0.0.1:42069", "\n// adder-1, "
	if !ok || strings.Count(example, address) != 1 || strings.Count(example, marker) != 1 {
		t.Fatal("the README has no example in Go, or another one")
	}
	example = strings.Replace(example, address, url, 1)
	example = strings.Replace(example, marker, "\nfmt.Println(string(reply.Data), err)\n"+marker, 1)
	return "package main\n\nimport (\n\t\"context\"\n\t\"errors\"\n\t\"fmt\"\n\t\"log\"\n\t\"os\"\n\n" +
		"\t\"github.com/mastersocket/mastersocket/client\"\n)\n\nfunc main() {\n" + example + "\n}\n"
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

// TestREADME runs the README's example in Go. Its last request fails as soon as the worker that has it is killed, and says
// which worker that was.
func TestREADME(t *testing.T) {
	t.Parallel()
	hub := hubtest.Start(t, hubtest.Options{})
	env := append(os.Environ(), "MASTERSOCKET_TOKEN="+hub.Token)
	run := func(binary string, args ...string) (*exec.Cmd, *bufio.Scanner) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), binary, args...)
		cmd.Env, cmd.Stderr = env, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
		out, err := cmd.StdoutPipe()
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
		return cmd, bufio.NewScanner(out)
	}
	program := buildProgram(t, readmeProgram(t, hub.URL()))
	adder, _ := run(hubtest.Binary(t), "reply", "--url", hub.URL(), "--group", "adders", "--event", "add", "--name", "adder-1",
		"--", "sh", "-c", "exec sleep 600")
	eventually.True(t, "the adder is there", func() bool { return hub.Metrics().Sum("mastersocket_connections") == 1 })
	_, out := run(program)
	next := func() string {
		t.Helper()
		if !out.Scan() {
			t.Fatalf("the program ended: %v", out.Err())
		}
		return out.Text()
	}
	// It says hi to itself on another goroutine.
	lines := []string{next(), next()}
	if all := strings.Join(lines, "\n") + "\n"; !strings.Contains(all, "3 <nil>\n") || !strings.Contains(all, "hi from ") {
		t.Errorf("the program printed %q", all)
	}
	eventually.True(t, "the adder works", func() bool { return hub.Metrics().Sum("mastersocket_requests_open") == 1 })
	killed := time.Now()
	if err := syscall.Kill(-adder.Process.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	failed := next()
	took := time.Since(killed)
	want := regexp.MustCompile(`^event "add" to GROUP:adders: no answer; adder-1 [0-9a-f-]{36} LOST$`)
	if !want.MatchString(failed) {
		t.Errorf("the request failed with %q", failed)
	}
	figure.Printf(t, "a request failed %v after its worker was killed: %s", took.Round(10*time.Microsecond), failed)
}
