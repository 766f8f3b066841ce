package sampletest

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/client"
	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/faultproxy"
	"github.com/mastersocket/mastersocket/internal/hubtest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	hubtest.Cleanup()
	os.Exit(code)
}

// ping is the hub's ping interval.
const ping = 2 * time.Second

// maxLines is the longest that the sample may be.
const maxLines = 15

// sample returns the first code block of the language in section 18 of the protocol's description.
func sample(t *testing.T, language string) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "\n## 18. ")
	_, code, found := strings.Cut(section, "\n```"+language+"\n")
	code, _, ended := strings.Cut(code, "\n```\n")
	if !ok || !found || !ended {
		t.Fatalf("docs/protocol.md, section 18, has no sample in %s", language)
	}
	if n := strings.Count(code, "\n") + 1; n > maxLines {
		t.Errorf("the sample has %d lines, want at most %d", n, maxLines)
	}
	return code + "\n"
}

// driver answers every event with its own data.
const driver = `
connect(process.argv[2], process.argv[3], "samples", (m, send) =>
  send({ op: 5, id: m.id, data: m.data, intent: { target: "DIRECT", identifier: m.sender } }));
`

// node returns the flags with which Node.js has a WebSocket of its own.
func node(t *testing.T) []string {
	t.Helper()
	const has = `process.exit(typeof WebSocket === "undefined" ? 1 : 0)`
	for _, flags := range [][]string{nil, {"--experimental-websocket"}} {
		if exec.Command("node", append(flags, "--eval", has)...).Run() == nil {
			return flags
		}
	}
	t.Skip("needs Node.js 20.10 or later")
	return nil
}

// The sample identifies, answers PINGs, and connects again when its connection breaks or its hub hangs.
func TestJavaScript(t *testing.T) {
	t.Parallel()
	flags := node(t)
	hub := hubtest.Start(t, hubtest.Options{Flags: []string{"--ping-interval", ping.String()}})
	proxy := faultproxy.Start(t, hub.HubAddr)
	file := filepath.Join(t.TempDir(), "client.js")
	if err := os.WriteFile(file, []byte(sample(t, "js")+driver), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("node", append(flags, file, "ws://"+proxy.Addr(), hubtest.Token)...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	c, err := client.Connect(ctx, client.Options{URL: hub.URL(), Token: hubtest.Token, Group: "testers"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	answers := func() bool {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		reply, err := c.Request(ctx, client.Any("samples"), "echo", 7)
		return err == nil && string(reply.Data) == "7"
	}
	eventually.True(t, "the sample to answer", answers)
	time.Sleep(3 * ping) // the hub disconnects a client that answers no PING
	if n := proxy.Accepted(); n != 1 || !answers() {
		t.Errorf("after three ping intervals the sample has connected %d times, and answers: %v", n, answers())
	}
	proxy.Cut()
	eventually.True(t, "the sample to answer after its connection broke", answers)
	proxy.Set(faultproxy.Swallow)
	time.Sleep(3 * ping)
	proxy.Set(faultproxy.None)
	eventually.True(t, "the sample to answer after a hang", answers)
}
