package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/internal/hubtest"
)

// TestStopBehindHangups tells a hub to stop while it is busy with one reload and others wait.
func TestStopBehindHangups(t *testing.T) {
	t.Parallel()
	var tokens strings.Builder
	tokens.WriteString("tokens:\n")
	for i := range 3000 { // so many that a reload takes a while
		name := fmt.Sprint("token-", i)
		fmt.Fprintf(&tokens, "  - {name: %s, sha256: %s, groups: [\"*\"], send: [GLOBAL]}\n", name, auth.Hash(name))
	}
	file := filepath.Join(t.TempDir(), "tokens.yaml")
	if err := os.WriteFile(file, []byte(tokens.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	s := hubtest.Start(t, hubtest.Options{Token: "none", Flags: []string{"--tokens-file", file}})
	pace := time.NewTicker(5 * time.Millisecond) // faster, the kernel makes one of several
	defer pace.Stop()
	for range 10 {
		s.Signal(syscall.SIGHUP)
		<-pace.C
	}
	s.Signal(syscall.SIGTERM)
	if code, ok := s.Wait(patience); !ok || code != 0 {
		t.Errorf("ended: %t, with code %d", ok, code)
	}
}
