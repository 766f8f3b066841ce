package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/client"
)

// inProcess runs a command that needs no hub.
func inProcess(in string, args ...string) (code int, out, stderr string) {
	var o, e bytes.Buffer
	code = run(args, streams{strings.NewReader(in), &o, &e})
	return code, o.String(), e.String()
}

func TestTokenCommands(t *testing.T) {
	t.Parallel()
	code, out, _ := inProcess("", "token", "new")
	m := regexp.MustCompile(`^token: (\S+)\nsha256: ([0-9a-f]{64})\n$`).FindStringSubmatch(out)
	if code != 0 || m == nil || auth.Hash(m[1]) != m[2] {
		t.Fatalf("token new ended with %d and printed %q", code, out)
	}
	for _, end := range []string{"", "\n", "\r\n"} {
		if code, out, stderr := inProcess(m[1]+end, "token", "hash"); code != 0 || out != m[2]+"\n" || stderr != "" {
			t.Errorf("token hash of a token and %q: %d, %q, %q", end, code, out, stderr)
		}
	}
	for _, in := range []string{"", "\n", "a\nb\n", "\xff\n", strings.Repeat("x", auth.MaxTokenBytes+1)} {
		code, out, stderr := inProcess(in, "token", "hash")
		if code != 2 || out != "" || !strings.HasPrefix(stderr, "mastersocket: ") {
			t.Errorf("token hash of %.20q: %d, %q, %q", in, code, out, stderr)
		}
	}
	if code, _, _ := inProcess("", "token", "hash", "secret"); code != 2 {
		t.Error("token hash took a token from the command line")
	}
}

func TestConfigCheckCommand(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good, bad := filepath.Join(dir, "good.yaml"), filepath.Join(dir, "bad.yaml")
	for path, text := range map[string]string{good: "listen: 127.0.0.1:1\n", bad: "listn: x\nloops: many\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if code, out, stderr := inProcess("", "config", "check", good); code != 0 || out != good+": no errors\n" || stderr != "" {
		t.Errorf("good file: %d, %q, %q", code, out, stderr)
	}
	code, out, stderr := inProcess("", "config", "check", bad)
	if code != 2 || out != "" || !strings.Contains(stderr, "listn") || !strings.Contains(stderr, "loops") {
		t.Errorf("bad file: %d, %q, %q", code, out, stderr)
	}
	if code, _, stderr := inProcess("", "config", "check", filepath.Join(dir, "none")); code != 2 || !strings.Contains(stderr, "none") {
		t.Errorf("missing file: %d, %q", code, stderr)
	}
}

func TestVersionAndHelp(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"version"}, {"--version"}} {
		if code, out, _ := inProcess("", args...); code != 0 || !regexp.MustCompile(`^mastersocket .*go1\S+ \w+/\w+\n$`).MatchString(out) {
			t.Errorf("%v: %d, %q", args, code, out)
		}
	}
	for _, args := range [][]string{
		{}, {"serve"}, {"sub"}, {"pub"}, {"request"}, {"token"}, {"token", "new"}, {"token", "hash"}, {"config", "check"},
	} {
		code, out, stderr := inProcess("", append(args, "--help")...)
		if code != 0 || !strings.HasPrefix(out, "Usage: mastersocket") || stderr != "" || strings.Contains(out, "${") {
			t.Errorf("%v --help: %d, %q, %q", args, code, out, stderr)
		}
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	for want, args := range map[string][]string{
		"For help: mastersocket --help":       {},
		"For help: mastersocket --help\n":     {"subscribe"},
		"For help: mastersocket sub --help":   {"sub"},
		"For help: mastersocket token --help": {"token"},
		"must be one of":                      {"sub", "-g", "x", "--format", "xml"},
		"--count -1":                          {"sub", "-g", "x", "--count=-1"},
	} {
		if code, out, stderr := inProcess("", args...); code != 2 || out != "" || !strings.Contains(stderr, want) {
			t.Errorf("%v: %d, %q, %q; want %q", args, code, out, stderr, want)
		}
	}
}

func TestFormatMessage(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		format, event, data, want string
	}{
		{"data", "e", "", "null\n"},
		{"data", "e", "{ \"a\" :\n\"\u009b\u202e\" }", "{\"a\":\"\u009b\u202e\"}\n"},
		{"data", "e", `{"a":1,"a":1e2}`, "{\"a\":1,\"a\":1e2}\n"},
		{"text", "e", "", "e from id\n"},
		{"text", "order.created", `[1, "x"]`, "order.created [1,\"x\"] from id\n"},
		{"text", "", "1", "\"\" 1 from id\n"},
		{"text", "two words", "1", "\"two words\" 1 from id\n"},
		// What a terminal would obey stays visible: C1 controls, direction marks, line separators.
		{"text", "e\x1b[2J", "\"\u009b2J\u202e\u2028\U000e0001\"", "\"e\\x1b[2J\" \"\\u009b2J\\u202e\\u2028\\udb40\\udc01\" from id\n"},
	} {
		m := &client.Message{Event: tt.event, Sender: "id"}
		if tt.data != "" {
			m.Data = []byte(tt.data)
		}
		if got := string(formatMessage(tt.format, m)); got != tt.want {
			t.Errorf("%s of %q %s:\n%q, want\n%q", tt.format, tt.event, tt.data, got, tt.want)
		}
	}
}
