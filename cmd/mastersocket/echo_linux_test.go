package main

import (
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/hubtest"
)

func startEchoHub(t *testing.T) (tools, *hubtest.Server) {
	t.Helper()
	s := hubtest.Start(t, hubtest.Options{Flags: []string{"--enable", "echo"}})
	return newTools(t, s), s
}

func TestEchoSend(t *testing.T) {
	t.Parallel()
	x, _ := startEchoHub(t)
	for _, text := range []string{"hello", "", "größe\nand more", "-x"} {
		x.start("", "echo", "send", "--", text).want(0, "ok "+text+"\n", "connections made: 1, messages of others answered: 1")
	}
	silent := []string{"MASTERSOCKET_URL=ws://127.0.0.1:1"}
	start(t, nil, silent, "echo", "send", "--tries", "1", "x").want(1, "", "serve --enable echo")
	plain := newTools(t, hubtest.Start(t, hubtest.Options{}))
	plain.start("", "echo", "send", "x").want(1, "", "The hub does not serve echo")
	for _, args := range [][]string{{"--url", "http://x", "x"}, {"--timeout", "0s", "x"}, {"--tries", "0", "x"}, {}} {
		x.start("", append([]string{"echo", "send"}, args...)...).want(2, "", "mastersocket: ")
	}
}

// A small load test of the protocol: many clients at random moments; some break their connections.
func TestEchoLoad(t *testing.T) {
	t.Parallel()
	x, s := startEchoHub(t)
	c := x.start("", "echo", "load", "--clients", "2000", "--over", "5s", "--ok-delay", "0s..200ms", "--kill", "1%", "--processes", "2", "--admin", s.AdminURL(""))
	if code := c.code(); code != 0 {
		t.Fatalf("ended with %d:\n%s%s", code, c.out, c.err)
	}
	for _, pattern := range []string{
		`(?m)^ok +2,000$`, `(?m)^without ok +0$`, `(?m)^time to ok +p50 \S+, p99 \S+, max \S+$`, `(?m)^peak concurrent +[0-9,]+$`,
		`(?m)^reconnections +[1-9]\d*, [1-9]\d* of them cut by the client$`,
		`(?m)^hub afterwards +echo connections: 0, messages waiting: 0, messages given: 0$`,
	} {
		if !regexp.MustCompile(pattern).MatchString(c.out.String()) {
			t.Errorf("no %s in\n%s", pattern, c.out)
		}
	}
	if !strings.Contains(c.err.String(), "ok 2,000 of 2,000") {
		t.Errorf("progress:\n%s", c.err)
	}
	m := s.Metrics()
	if answered := m.Sum("mastersocket_echo_answered_total"); answered < 2000 || m.Sum("mastersocket_echo_given_up_total") != 0 {
		t.Errorf("%v oks came", answered)
	}
}

func TestEchoLoadFails(t *testing.T) {
	t.Parallel()
	x, s := startEchoHub(t)
	for _, processes := range []string{"1", "2"} { // no ok can come in time
		c := x.start("", "echo", "load", "--clients", "4", "--over", "0s", "--ok-delay", "1h", "--within", "300ms", "--processes", processes, "--admin", s.AdminURL(""))
		if code := c.code(); code != 1 || !strings.Contains(c.err.String(), "4 of 4 clients got no ok") || !strings.Contains(c.out.String(), "no ok by the end of the run") {
			t.Errorf("ended with %d:\n%s%s", code, c.out, c.err)
		}
	}
	held := x.start("", "echo", "load", "--clients", "2", "--over", "0s", "--ok-delay", "1h", "--processes", "2", "--admin", s.AdminURL(""))
	if err := eventually.Within(patience, func() bool { return s.Metrics().Sum("mastersocket_echo_waiting") == 2 }); err != nil {
		t.Fatal("the clients did not send")
	}
	held.signal(syscall.SIGTERM)
	if code := held.code(); code != 130 {
		t.Errorf("interrupted, it ended with %d:\n%s%s", code, held.out, held.err)
	}
	plain := hubtest.Start(t, hubtest.Options{})
	newTools(t, plain).start("", "echo", "load", "--admin", plain.AdminURL("")).want(1, "", "the hub does not serve echo")
	for _, args := range [][]string{
		{"--clients", "0"}, {"--ok-delay", "2s..1s"}, {"--kill", "200%"}, {"--over", "-1s"}, {"--timeout", "0s"},
		{"--processes", "-1", "--clients", "-5"}, {"--url", "ws://hub.example"},
	} {
		x.start("", append([]string{"echo", "load"}, args...)...).want(2, "", "mastersocket: ")
	}
}
