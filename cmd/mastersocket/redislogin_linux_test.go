package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/hubtest"
	"github.com/mastersocket/mastersocket/internal/redistest"
)

// TestRedisPasswordRotates changes the password in Redis and in its file, and breaks all connections. The hub must come
// back by itself. The passwords are of characters that a URL can't have as they are.
func TestRedisPasswordRotates(t *testing.T) {
	t.Parallel()
	const first, second = "p@ss/w:o?rd#%1", "p@ss/w:o?rd#%2"
	server := redistest.Start(t)
	server.Do("ACL", "SETUSER", "hub", "on", ">"+first, "~*", "&*", "+@all")
	file := filepath.Join(t.TempDir(), "password")
	writeFile(t, file, first+"\n")
	s := hubtest.Start(t, hubtest.Options{Flags: []string{"--redis", "redis://hub@" + server.Addr(), "--redis-password-file", file}})
	connected := func() bool { return strings.Contains(server.Do("CLIENT", "LIST"), "user=hub") }
	eventually.True(t, "the hub to sign in", connected)

	mark := s.LogMark()
	server.Do("ACL", "SETUSER", "hub", "resetpass", ">"+second)
	writeFile(t, file, second+"\n")
	s.WaitLog(mark, patience, func(l hubtest.Line) bool {
		return l["msg"] == "configuration reloaded" && l["changed"] == "redis-login"
	})
	server.Do("CLIENT", "KILL", "USER", "hub")
	eventually.True(t, "the hub to sign in with the new password", connected)
	for _, line := range s.Log() {
		if strings.Contains(line, "p@ss") {
			t.Errorf("the log has the password: %s", line)
		}
	}
}
