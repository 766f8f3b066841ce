package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/mastersocket/mastersocket/internal/hubtest"
	"github.com/mastersocket/mastersocket/internal/redistest"
)

// TestClusterSecret: hubs with one secret are one hub, also after it changed in the file; one without it is not heard.
func TestClusterSecret(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	file := filepath.Join(t.TempDir(), "secret")
	first, second := strings.Repeat("first", 8), strings.Repeat("second", 8)
	writeFile(t, file, first+"\n")
	hub := func(name string, flags ...string) *hubtest.Server {
		return hubtest.Start(t, hubtest.Options{Flags: append([]string{"--redis", server.URL(), "--node", name}, flags...)})
	}
	a, b := hub("a", "--cluster-secret-file", file), hub("b", "--cluster-secret-file", file)
	sub := newTools(t, b).sub("--group", "g", "--format", "data")
	pub := func(s *hubtest.Server, data string) *command {
		return newTools(t, s).start("", "pub", "--to", "GROUP:g", "--event", "e", data)
	}
	pub(a, "1").want(0, "", "")
	sub.out.waitFor(t, "1\n")

	for _, secrets := range []string{first + "\n" + second, second + "\n" + first, second} {
		marks := []int{a.LogMark(), b.LogMark()}
		writeFile(t, file, secrets+"\n")
		for i, s := range []*hubtest.Server{a, b} {
			s.WaitLog(marks[i], patience, func(l hubtest.Line) bool {
				return l["msg"] == "configuration reloaded" && l["changed"] == "redis-login"
			})
		}
	}
	pub(a, "2").want(0, "", "")
	sub.out.waitFor(t, "2\n")

	pub(hub("stranger"), "3").code()
	b.WaitLog(0, patience, func(l hubtest.Line) bool {
		return l["cause"] == "a message without the cluster's signature is ignored"
	})
	pub(a, "4").want(0, "", "")
	sub.out.waitFor(t, "4\n")
	if out := sub.out.String(); out != "1\n2\n4\n" {
		t.Errorf("the subscriber got %q", out)
	}
	for _, s := range []*hubtest.Server{a, b} {
		if log := strings.Join(s.Log(), "\n"); strings.Contains(log, "first") || strings.Contains(log, "second") {
			t.Errorf("the log has a secret:\n%s", log)
		}
	}
}
