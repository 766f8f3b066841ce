package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/mastersocket/mastersocket/client"
	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/hubtest"
	"github.com/mastersocket/mastersocket/internal/localtoken"
)

func TestSubAndPub(t *testing.T) {
	t.Parallel()
	x := newTools(t, hubtest.Start(t, hubtest.Options{}))
	data := x.sub("--group", "demo", "--group", "other", "--count", "4")
	filtered := x.sub("-g", "demo", "--event", "second", "--event", "third", "-n", "2", "--timeout", "1m")
	text := x.sub("-g", "other", "-n", "1", "--format", "text")
	whole := x.sub("-g", "other", "-n", "1", "--json")

	x.start("", "pub", "--to", "GROUP:demo", "--event", "first", `{"n" : 1}`).want(0, "", "")
	x.start("", "pub", "--to", "GROUP:demo", "--event", "second").want(0, "", "")
	x.start(`"3"`, "pub", "--to", "GLOBAL", "--event", "third", "-").want(0, "", "")
	text.code()
	text.want(0, `third "3" from `+senderIn(text.out.String())+"\n", "")
	filtered.want(0, "null\n\"3\"\n", "")
	x.start("[\n4]", "pub", "--to", "GROUP:other", "--event", "fourth", "-").want(0, "", "")
	data.want(0, "{\"n\":1}\nnull\n\"3\"\n[4]\n", "connected to "+strings.TrimPrefix(x.env[0], "MASTERSOCKET_URL="))
	if got := whole.code(); got != 0 {
		t.Errorf("sub --json ended with %d", got)
	}
	for _, part := range []string{`"op":0`, `"event":"third"`, `"data":"3"`, `"intent":{"target":"GLOBAL"}`, `"sender":"`, `"id":"`} {
		if !strings.Contains(whole.out.String(), part) || strings.Count(whole.out.String(), "\n") != 1 {
			t.Errorf("sub --json printed %q, want one line with %s", whole.out, part)
		}
	}
}

func TestWatchCommand(t *testing.T) {
	t.Parallel()
	x := newTools(t, hubtest.Start(t, hubtest.Options{Name: "host"}))
	a := dialHub(t, x, client.Options{Group: "workers", Name: "first", Version: "1", Meta: map[string]string{"zone": "a"}})
	text := x.start("", "watch", "--group", "workers", "--format", "text")
	text.out.waitFor(t, "here    "+a.Identity().ID+" first 1 on host zone=a since ")
	b := dialHub(t, x, client.Options{Group: "workers"})
	text.out.waitFor(t, "joined  "+b.Identity().ID+" on host\n")
	if err := b.SetMeta(t.Context(), map[string]string{"load": "2"}); err != nil {
		t.Fatal(err)
	}
	text.out.waitFor(t, "updated "+b.Identity().ID+" on host load=2\n")
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	text.out.waitFor(t, "left    "+b.Identity().ID+" on host load=2 NO_REASON\n")
	text.signal(os.Interrupt.(syscall.Signal))
	if code := text.code(); code != 0 {
		t.Errorf("watch ended with %d: %s", code, text.err)
	}
	once := x.start("", "watch", "-g", "workers", "--once")
	once.code()
	var line struct {
		Change string        `json:"change"`
		Member client.Member `json:"member"`
	}
	if err := json.Unmarshal([]byte(once.out.String()), &line); err != nil || line.Change != "here" || line.Member.Name != "first" {
		t.Errorf("watch --once printed %q: %v", once.out, err)
	}
	x.start("", "watch", "-g", "$team").want(1, "", "group")
}

// senderIn returns the client id at the end of a line of text.
func senderIn(line string) string {
	_, after, _ := strings.Cut(line, " from ")
	return strings.TrimSuffix(after, "\n")
}

// A thousand values from one sub through a pub to another sub, in order, as in a shell.
func TestPipe(t *testing.T) {
	t.Parallel()
	const n = 1000
	x := newTools(t, hubtest.Start(t, hubtest.Options{}))
	last := x.sub("-g", "b", "-n", fmt.Sprint(n))
	for _, form := range []struct{ sub, pub []string }{
		{[]string{"--format", "data"}, []string{"--event", "copy"}},
		{[]string{"--json"}, nil},
	} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		middle := exec.Command(hubtest.Binary(t), append([]string{"sub", "-g", "a", "-n", fmt.Sprint(n / 2)}, form.sub...)...)
		stderr := newOutput()
		middle.Env, middle.Stdout, middle.Stderr = append(os.Environ(), x.env...), w, stderr
		if err := middle.Start(); err != nil {
			t.Fatal(err)
		}
		w.Close()
		second := start(t, r, x.env, append([]string{"pub", "--to", "GROUP:b", "-"}, form.pub...)...)
		var in strings.Builder
		for i := range n / 2 {
			fmt.Fprintln(&in, i)
		}
		stderr.waitFor(t, "connected to")
		x.start(in.String(), "pub", "--to", "GROUP:a", "-e", "number", "-").want(0, "", "")
		if err := middle.Wait(); err != nil {
			t.Errorf("sub in the middle: %v", err)
		}
		second.want(0, "", "")
		r.Close()
	}
	var want strings.Builder
	for i := range n {
		fmt.Fprintln(&want, i%(n/2))
	}
	last.want(0, want.String(), "")
}

func TestPubFailures(t *testing.T) {
	t.Parallel()
	x := newTools(t, hubtest.Start(t, hubtest.Options{}))
	x.sub("-g", "demo")
	for name, tt := range map[string]struct {
		in     string
		args   []string
		code   int
		stderr string
	}{
		"no receiver":         {"", []string{"--to", "GROUP:nobody", "-e", "x", "1"}, 1, "NO_RECEIVER"},
		"some of many":        {"1 2 3", []string{"--to", "GROUP:nobody", "-e", "x", "-"}, 1, "3 of 3 messages were not delivered"},
		"unknown client":      {"", []string{"--to", "DIRECT:00000000-0000-8000-8000-000000000000", "-e", "x"}, 1, "NO_RECEIVER"},
		"not JSON":            {"", []string{"--to", "GROUP:demo", "-e", "x", "hello"}, 2, `'"hello"'`},
		"two values":          {"", []string{"--to", "GROUP:demo", "-e", "x", "1 2"}, 2, "DATA is not JSON"},
		"input not JSON":      {"1 hello", []string{"--to", "GROUP:demo", "-e", "x", "-"}, 1, "value 2 is not JSON"},
		"input cut off":       {`1 {"a":`, []string{"--to", "GROUP:demo", "-e", "x", "-"}, 1, "value 2 is not JSON"},
		"no message":          {`{"a":1}`, []string{"--to", "GROUP:demo", "-"}, 1, "value 1 is not a message"},
		"too big":             {`"` + strings.Repeat("x", 40000) + `"`, []string{"--to", "GROUP:demo", "-e", "x", "-"}, 1, "at most 32768"},
		"no event":            {"", []string{"--to", "GROUP:demo"}, 2, "--event is missing"},
		"no target":           {"", []string{"-e", "x"}, 2, "missing flags: --to"},
		"wrong target":        {"", []string{"--to", "EVERYBODY", "-e", "x"}, 2, "--to: intent"},
		"reserved group":      {"", []string{"--to", "GROUP:$x", "-e", "x"}, 2, "reserved"},
		"unknown flag":        {"", []string{"--too", "GROUP:x"}, 2, "For help: mastersocket pub --help"},
		"group of one's own":  {"", []string{"--to", "GLOBAL", "-e", "x", "-g", ""}, 2, "group name is empty"},
		"long event":          {"", []string{"--to", "GLOBAL", "-e", strings.Repeat("e", 129)}, 1, "event is longer than 128 bytes"},
		"duplicate in data":   {"", []string{"--to", "GROUP:demo", "-e", "x", `{"a":1,"a":2}`}, 0, ""},
		"empty input":         {"", []string{"--to", "GROUP:demo", "-e", "x", "-"}, 0, ""},
		"one copy, no echo":   {"", []string{"--to", "GROUP:cli", "-e", "x"}, 1, "NO_RECEIVER"},
		"bad URL":             {"", []string{"--url", "http://127.0.0.1", "--to", "GLOBAL", "-e", "x"}, 2, "want ws://HOST:PORT"},
		"wrong token":         {"", []string{"--token", "wrong", "--to", "GLOBAL", "-e", "x"}, 1, "It came from --token"},
		"token and its file":  {"", []string{"--token", "x", "--token-file", "y", "--to", "GLOBAL", "-e", "x"}, 2, "want one"},
		"missing token file":  {"", []string{"--token-file", "/nonexistent", "--to", "GLOBAL", "-e", "x"}, 1, "/nonexistent: no such file"},
		"no listener":         {"", []string{"--url", "ws://127.0.0.1:1", "--to", "GLOBAL", "-e", "x"}, 1, "mastersocket serve"},
		"still no listener":   {"", []string{"--wait", "300ms", "--url", "ws://127.0.0.1:1", "--to", "GLOBAL", "-e", "x"}, 1, "the time is over (--wait 300ms); the last attempt: connect to"},
		"no path of the hub":  {"", []string{"--url", "ws://" + strings.TrimSuffix(strings.TrimPrefix(x.env[0], "MASTERSOCKET_URL=ws://"), "/") + "/x", "--to", "GLOBAL", "-e", "x"}, 1, "404"},
		"password in the URL": {"", []string{"--url", "ws://a:b@127.0.0.1", "--to", "GLOBAL", "-e", "x"}, 2, "must not contain a user"},
	} {
		t.Run(name, func(t *testing.T) {
			x.t = t
			x.start(tt.in, append([]string{"pub"}, tt.args...)...).want(tt.code, "", tt.stderr)
		})
	}
}

func TestRequestCommand(t *testing.T) {
	t.Parallel()
	x := newTools(t, hubtest.Start(t, hubtest.Options{}))
	for i := range 3 {
		answer := func(ctx context.Context, m *client.Message) {
			_ = m.Reply(ctx, map[string]any{"n": i, "asked": m.Data})
		}
		dialHub(t, x, client.Options{Group: "w", On: map[string]client.Handler{
			"ask":     answer,
			"silence": func(context.Context, *client.Message) {},
		}})
	}
	one := x.start("", "request", "--to", "ANY:w", "-e", "ask", "[1]")
	if code, out := one.code(), one.out.String(); code != 0 || !strings.HasPrefix(out, `{"asked":[1],"n":`) || strings.Count(out, "\n") != 1 {
		t.Errorf("request ended with %d and printed %q, %q", code, out, one.err)
	}
	for name, tt := range map[string]struct {
		in     string
		args   []string
		code   int
		lines  int
		stderr string
	}{
		"from all":        {"7", []string{"--to", "GROUP:w", "-e", "ask", "-n", "3", "--json", "-"}, 0, 3, ""},
		"all in time":     {"", []string{"--to", "GLOBAL", "-e", "ask", "-n", "0", "--timeout", "500ms"}, 0, 3, ""},
		"fewer":           {"", []string{"--to", "GROUP:w", "-e", "ask", "-n", "4", "--timeout", "500ms"}, 1, 3, "3 of 3 receivers answered"},
		"none":            {"", []string{"--to", "ANY:w", "-e", "silence", "--timeout", "300ms"}, 1, 0, "no answer; "},
		"nobody":          {"", []string{"--to", "ANY:nobody", "-e", "ask", "--timeout", "1h"}, 1, 0, "no client matches the intent; NOT_DELIVERED"},
		"negative":        {"", []string{"--to", "ANY:w", "-e", "ask", "-n=-1"}, 2, 0, "--expect"},
		"two values":      {"1 2", []string{"--to", "ANY:w", "-e", "ask", "-"}, 2, 0, "more than one"},
		"no value":        {"", []string{"--to", "ANY:w", "-e", "ask", "-"}, 2, 0, "want one JSON value"},
		"wrong target":    {"", []string{"--to", "w", "-e", "ask"}, 2, 0, "--to: intent"},
		"data not JSON":   {"", []string{"--to", "ANY:w", "-e", "ask", "x"}, 2, 0, "DATA is not JSON"},
		"event is needed": {"", []string{"--to", "ANY:w"}, 2, 0, "missing flags: --event"},
	} {
		t.Run(name, func(t *testing.T) {
			x.t = t
			c := x.start(tt.in, append([]string{"request"}, tt.args...)...)
			code, out := c.code(), c.out.String()
			if code != tt.code || strings.Count(out, "\n") != tt.lines || !strings.Contains(c.err.String(), tt.stderr) {
				t.Errorf("ended with %d, printed %q, %q; want %d, %d lines, %q", code, out, c.err, tt.code, tt.lines, tt.stderr)
			}
			if tt.lines > 0 && strings.Contains(strings.Join(tt.args, " "), "--json") && !strings.Contains(out, `"op":5`) {
				t.Errorf("--json printed %q", out)
			}
		})
	}
}

func TestInterrupt(t *testing.T) {
	t.Parallel()
	x := newTools(t, hubtest.Start(t, hubtest.Options{}))
	endless := x.sub("-g", "demo")
	endless.signal(syscall.SIGINT)
	endless.want(0, "", "")
	terminated := x.sub("-g", "demo")
	terminated.signal(syscall.SIGTERM)
	terminated.want(0, "", "")
	counting := x.sub("-g", "demo", "-n", "1")
	counting.signal(syscall.SIGINT)
	counting.want(130, "", "")
	x.sub("-g", "demo", "-n", "1", "--timeout", "100ms").want(1, "", "only 0 of 1 messages")
	x.sub("-g", "demo", "--timeout", "100ms").want(0, "", "")

	r, w, err := os.Pipe() // which doesn't end
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	listener := x.sub("-g", "demo")
	pub := start(t, r, x.env, "pub", "--to", "GROUP:demo", "-e", "x", "-")
	if _, err := io.WriteString(w, "1\n"); err != nil {
		t.Fatal(err)
	}
	listener.out.waitFor(t, "1\n") // sent as soon as it is complete, not at the end of the input
	pub.signal(syscall.SIGINT)
	pub.want(130, "", "")
}

// A subscriber whose reader of standard output is gone says goodbye to the hub, and ends as SIGPIPE ends other filters.
func TestBrokenPipe(t *testing.T) {
	t.Parallel()
	x := newTools(t, hubtest.Start(t, hubtest.Options{}))
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr := newOutput()
	cmd := exec.Command(hubtest.Binary(t), "sub", "-g", "demo")
	cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), x.env...), w, stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	stderr.waitFor(t, "connected to")
	r.Close()
	x.start("", "pub", "--to", "GROUP:demo", "-e", "x").want(0, "", "")
	err = cmd.Wait()
	var exited *exec.ExitError
	if !errors.As(err, &exited) || exited.Sys().(syscall.WaitStatus).Signal() != syscall.SIGPIPE {
		t.Errorf("sub ended with %v, want SIGPIPE", err)
	}
	if n := strings.Count(stderr.String(), "\n"); n != 1 {
		t.Errorf("sub said %q", stderr)
	}
}

// The first try of a newcomer: no token is typed anywhere.
func TestNoTokenTyped(t *testing.T) {
	t.Parallel()
	cache := t.TempDir()
	env := []string{"XDG_CACHE_HOME=" + cache}
	s := hubtest.Start(t, hubtest.Options{Token: "none", Env: env, Flags: []string{"--drain-timeout", "1s"}})
	port, ok := localtoken.IsLocal(s.URL())
	if !ok {
		t.Fatalf("%s is not local", s.URL())
	}
	file := filepath.Join(cache, "mastersocket", fmt.Sprintf("token-%d", port))
	if err := eventually.Within(patience, func() bool { _, err := os.Stat(file); return err == nil }); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	x := tools{t, append(env, "MASTERSOCKET_URL="+s.URL())}
	sub := x.sub("--group", "demo", "--count", "1")
	x.start("", "pub", "--to", "GROUP:demo", "--event", "hi", `{"n":1}`).want(0, "", "")
	sub.want(0, "{\"n\":1}\n", "")

	stranger := tools{t, []string{"XDG_CACHE_HOME=" + t.TempDir(), "MASTERSOCKET_URL=" + s.URL()}}
	stranger.start("", "pub", "--to", "GLOBAL", "--event", "hi").want(1, "", "mastersocket serve")

	// A sub outlives its hub, and finds the token of the next one.
	sub = x.sub("--group", "demo", "--count", "1")
	s.Signal(syscall.SIGTERM)
	sub.err.waitFor(t, "SERVER_RESTART")
	if code, ok := s.Wait(patience); code != 0 || !ok {
		t.Fatalf("the hub ended with %d, %v", code, ok)
	}
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the token is still there after the hub's end: %v", err)
	}
	hubtest.Start(t, hubtest.Options{Token: "none", Env: env, Addr: s.HubAddr})
	if err := eventually.Within(patience, func() bool { return strings.Count(sub.err.String(), "connected to") == 2 }); err != nil {
		t.Fatalf("%v: %s", err, sub.err)
	}
	x.start("", "pub", "--to", "GROUP:demo", "--event", "hi", `2`).want(0, "", "")
	sub.want(0, "2\n", "")
}

func TestTokenSources(t *testing.T) {
	t.Parallel()
	s := hubtest.Start(t, hubtest.Options{})
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(s.Token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	url := "MASTERSOCKET_URL=" + s.URL()
	for name, tt := range map[string]struct {
		env, flags []string
		ok         bool
	}{
		"variable":              {[]string{"MASTERSOCKET_TOKEN=" + s.Token}, nil, true},
		"file":                  {nil, []string{"--token-file", file}, true},
		"variable with file":    {[]string{"MASTERSOCKET_TOKEN_FILE=" + file}, nil, true},
		"flag before variable":  {[]string{"MASTERSOCKET_TOKEN=wrong"}, []string{"--token", s.Token}, true},
		"file before variable":  {[]string{"MASTERSOCKET_TOKEN=wrong"}, []string{"--token-file", file}, true},
		"empty variable":        {[]string{"MASTERSOCKET_TOKEN=", "MASTERSOCKET_TOKEN_FILE=" + file}, nil, true},
		"wrong flag":            {[]string{"MASTERSOCKET_TOKEN=" + s.Token}, []string{"--token", "wrong"}, false},
		"none for another host": {[]string{"MASTERSOCKET_URL=ws://hub.invalid"}, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			args := append([]string{"sub", "-g", "x", "--timeout", "1ms"}, tt.flags...)
			c := start(t, nil, append([]string{url}, tt.env...), args...)
			if code := c.code(); (code == 0) != tt.ok {
				t.Errorf("ended with %d: %s", code, c.err)
			}
		})
	}
}

// --wait bridges the time until the hub is up.
func TestWait(t *testing.T) {
	t.Parallel()
	first := hubtest.Start(t, hubtest.Options{})
	x := newTools(t, first)
	first.Kill()
	sub := x.start("", "sub", "-g", "demo", "--wait", "30s", "--timeout", "1ms")
	hubtest.Start(t, hubtest.Options{Addr: first.HubAddr})
	sub.want(0, "", "connected to")
}
