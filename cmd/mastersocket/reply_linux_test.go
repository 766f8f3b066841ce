package main

import (
	"syscall"
	"testing"

	"github.com/mastersocket/mastersocket/internal/hubtest"
)

// TestReplyAnswersRequests has commands answer requests, fail and hang.
func TestReplyAnswersRequests(t *testing.T) {
	t.Parallel()
	x := newTools(t, hubtest.Start(t, hubtest.Options{}))
	reply := func(args ...string) *command {
		c := x.start("", append([]string{"reply", "--group", "workers"}, args...)...)
		c.err.waitFor(t, "answers")
		return c
	}
	request := func(args ...string) *command { return x.start("", append([]string{"request"}, args...)...) }
	upper := reply("--event", "upper", "--name", "upper", "--", "tr", "a-z", "A-Z")
	reply("--event", "fail", "--", "sh", "-c", "echo no disk >&2; exit 3")
	reply("--event", "info", "--echo")
	reply("--event", "hang", "--name", "shard-3", "--", "sleep", "100")

	request("--to", "GROUP:workers", "--event", "upper", `"abc"`).want(0, "\"ABC\"\n", "")
	request("--to", "GROUP:workers", "--event", "info", "--expect", "0", `{"n":1}`).want(0, "{\"n\":1}\n", "")
	request("--to", "GROUP:workers", "--event", "fail").want(1, "", "EXIT: exit status 3: no disk")
	request("--to", "GROUP:workers", "--event", "unknown").want(1, "", "no answer; 4 passed")
	request("--to", "ANY:nobody", "--event", "info", "--retry").want(1, "", "NOT_DELIVERED")
	request("--to", "GROUP:workers", "--event", "info", "--retry").want(2, "", "--to ANY")
	request("--to", "GROUP:workers", "--event", "hang", "--timeout", "300ms").want(1, "", "shard-3")
	upper.signal(syscall.SIGINT)
	if code := upper.code(); code != 0 {
		t.Errorf("interrupted: code %d, %s", code, upper.err)
	}
	x.start("", "reply", "--group", "g", "--event", "e").want(2, "", "--echo")
}
