package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/client"
	"github.com/mastersocket/mastersocket/internal/figure"
	"github.com/mastersocket/mastersocket/internal/hubtest"
	"github.com/mastersocket/mastersocket/internal/rawclient"
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

// TestLoneInstanceRestarts stops a hub that is the only one: it ends within 2 seconds, though some of its clients never
// answer, and the others are back within 5 seconds of its next start.
func TestLoneInstanceRestarts(t *testing.T) {
	t.Parallel()
	first := hubtest.Start(t, hubtest.Options{})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	connected := make(chan string, 64) // names
	for i := range 4 {                 // clients of the SDK, which ask for drain
		name := fmt.Sprint("sdk-", i)
		c, err := client.Connect(ctx, client.Options{
			URL:   "ws://" + first.HubAddr,
			Token: first.Token, Group: "g", Name: name, OnConnect: func(client.Identity) { connected <- name },
			MaxBackoff: time.Second, // what is measured is the hub's doing
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close(context.Background()) })
	}
	for range 4 {
		<-connected
	}
	for range 4 { // clients that read nothing behind the answer to IDENTIFY, not even a Close frame
		c, err := rawclient.Dial(first.HubAddr, rawclient.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		if err := c.Upgrade("/"); err != nil {
			t.Fatal(err)
		}
		if err := c.Write(rawclient.Text(fmt.Sprintf(`{"op":1,"data":{"token":%q,"group":"g"}}`, first.Token)).Bytes()); err != nil {
			t.Fatal(err)
		}
		if _, _, err := c.ReadMessage(); err != nil {
			t.Fatal(err)
		}
	}
	begin := time.Now()
	first.Signal(syscall.SIGTERM)
	if code, ok := first.Wait(patience); !ok || code != 0 {
		t.Fatalf("ended: %t, with code %d", ok, code)
	}
	if took := time.Since(begin); took > figure.Choose(8*time.Second, 2*time.Second) { // it does not wait for the time of a drain
		t.Errorf("the only instance took %v to end", took)
	}
	hubtest.Start(t, hubtest.Options{Addr: first.HubAddr, AdminAddr: first.AdminAddr})
	begin = time.Now()
	for range 4 {
		select {
		case <-connected:
		case <-ctx.Done():
			t.Fatal("a client did not come back")
		}
	}
	if took := time.Since(begin); took > figure.Choose(20*time.Second, 5*time.Second) {
		t.Errorf("the clients took %v to come back", took)
	}
}
