package main

import (
	"testing"

	"github.com/mastersocket/mastersocket/internal/hubtest"
)

// TestPubToSeveral: pub takes several targets and exceptions, and refuses what the hub would.
func TestPubToSeveral(t *testing.T) {
	t.Parallel()
	x := newTools(t, hubtest.Start(t, hubtest.Options{}))
	a, left := x.sub("--group", "a"), x.sub("--group", "left")
	x.start("", "pub", "--to", "GROUP:a,left", "--except", "left,none", "--event", "e", `"one"`).want(0, "", "")
	x.start("", "pub", "--to", "GLOBAL", "--except", "left", "--event", "e", `"two"`).want(0, "", "")
	x.start("", "pub", "--to", "GROUP:left,a", "--event", "e", `"end"`).want(0, "", "")
	a.out.waitFor(t, "end")
	left.out.waitFor(t, "end")
	for _, args := range [][]string{
		{"--to", "GROUP:a,a"}, {"--to", "GROUP:a,"}, {"--to", "ANY:a", "--except", "b"}, {"--to", "DIRECT:a,b"}, {"--to", "GROUP:a", "--except", "$b"},
	} {
		if c := x.start("", append([]string{"pub", "--event", "bad"}, args...)...); c.code() == 0 {
			t.Errorf("pub %q was sent", args)
		}
	}
	for want, c := range map[string]*command{"\"one\"\n\"two\"\n\"end\"\n": a, "\"end\"\n": left} {
		c.out.waitFor(t, "\"end\"\n")
		if got := c.out.String(); got != want {
			t.Errorf("received %q, want %q", got, want)
		}
	}
}
