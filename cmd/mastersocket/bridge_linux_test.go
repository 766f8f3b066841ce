package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/internal/hubtest"
	"github.com/mastersocket/mastersocket/services/team/bridge"
	"github.com/mastersocket/mastersocket/services/team/rtm"
	"github.com/mastersocket/mastersocket/services/team/rtmtest"
)

func TestBridgeTeam(t *testing.T) {
	t.Parallel()
	hub := hubtest.Start(t, hubtest.Options{})
	x := newTools(t, hub)
	server := rtmtest.Start(t, rtmtest.Options{Token: "global-token"})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	sub := x.sub("--group", "teams", "--event", "team.message", "--count", "1")
	c := start(t, nil, append(x.env, "MASTERSOCKET_GLOBAL_TOKEN=global-token"),
		"bridge", "team", "--global", server.URL(), "--status-listen", "127.0.0.1:0")
	if err := server.Await(ctx, server.GlobalOpen); err != nil {
		t.Fatalf("%v\n%s", err, c.err)
	}
	id := rtm.StringID("a")
	server.Join(id)
	if err := server.AwaitConnected(ctx, 1); err != nil {
		t.Fatal(err)
	}
	server.Message(id, "hi")
	sub.want(0, `{"team_id":"a","text":"hi"}`+"\n", "")

	c.err.waitFor(t, "listener=status addr=")
	_, rest, _ := strings.Cut(c.err.String(), "listener=status addr=")
	addr, _, _ := strings.Cut(rest, "\n")
	resp, err := http.Get("http://" + addr + "/v1/status")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var status bridge.Status
	body, _ := io.ReadAll(resp.Body)
	if err := json.Unmarshal(body, &status); err != nil || status.Messages.Received != 1 {
		t.Errorf("status: %s: %v", body, err)
	}
	if strings.Contains(c.err.String(), "global-token") {
		t.Error("the token was printed")
	}
	server.Goodbye()
	c.want(0, "", "goodbye")
}

func TestBridgeTeamEnds(t *testing.T) {
	t.Parallel()
	hub := hubtest.Start(t, hubtest.Options{})
	x := newTools(t, hub)
	server := rtmtest.Start(t, rtmtest.Options{})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c := x.start("", "bridge", "team", "--global", strings.Replace(server.URL(), "ws://", "http://", 1), "--stay")
	if err := server.Await(ctx, server.GlobalOpen); err != nil {
		t.Fatal(err)
	}
	server.Goodbye()
	if err := server.Await(ctx, func() bool { return server.Globals() > 1 && server.GlobalOpen() }); err != nil {
		t.Fatal(err)
	}
	c.signal(syscall.SIGTERM)
	c.want(0, "", "")

	x.start("", "bridge", "team", "--global", "ws://"+server.Addr()+"/nothing").want(1, "", "404")
	x.start("", "bridge", "team").want(2, "", "--global")
	x.start("", "bridge", "team", "--global", "ftp://a").want(2, "", "scheme")
	x.start("", "bridge", "team", "--global", "ws://a", "--to", "GROUP:{x}").want(2, "", "team_id")
	x.start("", "bridge", "team", "--global", "ws://a", "--allow-host", "http://b").want(2, "", "http://b")
	x.start("", "bridge", "team", "--global", "ws://a", "--queue", "0").want(2, "", "--queue")
	x.start("", "bridge", "team", "--global", hub.URL()+"global", "--to", "GROUP:team.{team_id}").want(2, "", "messages would loop")
	x.start("", "bridge", "team", "--global", server.URL(), "--url", "ws://127.0.0.1:1").want(1, "", "Is the hub running there?")
}

// caFile writes an authority's certificate to a file.
func caFile(t *testing.T, authority []byte) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, authority, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A certificate of a private authority is trusted if the authority is named, by a flag or for the whole system.
func TestBridgeTeamTLS(t *testing.T) {
	t.Parallel()
	hub := hubtest.Start(t, hubtest.Options{})
	x := newTools(t, hub)
	config, authority := rtmtest.Certificate(t)
	file := caFile(t, authority)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for name, how := range map[string]struct{ env, flags []string }{
		"--ca-file":     {nil, []string{"--ca-file", file}},
		"SSL_CERT_FILE": {[]string{"SSL_CERT_FILE=" + file}, nil},
	} {
		server := rtmtest.Start(t, rtmtest.Options{TLS: config})
		c := start(t, nil, append(x.env, how.env...), append([]string{"bridge", "team", "--global", server.URL()}, how.flags...)...)
		if err := server.Await(ctx, server.GlobalOpen); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, c.err)
		}
		server.Join(rtm.IntID(1))
		if err := server.AwaitConnected(ctx, 1); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, c.err)
		}
		server.Goodbye()
		c.want(0, "", "goodbye")
	}
	server := rtmtest.Start(t, rtmtest.Options{TLS: config})
	c := x.start("", "bridge", "team", "--global", server.URL())
	c.err.waitFor(t, "certificate")
	c.signal(syscall.SIGTERM)
	c.want(0, "", "")
	x.start("", "bridge", "team", "--global", server.URL(), "--ca-file", file+"x").want(2, "", "--ca-file")
	if err := os.WriteFile(file, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	x.start("", "bridge", "team", "--global", server.URL(), "--ca-file", file).want(2, "", "no certificate")
}

// The live line stands below the log and is never mixed up with it.
func TestLiveLine(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	w := newLiveWriter(&out)
	write := func(s string) {
		if n, err := w.Write([]byte(s)); n != len(s) || err != nil {
			t.Errorf("Write = %d, %v", n, err)
		}
	}
	write("before\n")
	w.set("one")
	write("log\n")
	w.set("two")
	if got, want := out.String(), "before\n"+clearLine+"one"+clearLine+"log\none"+clearLine+"two"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	s := bridge.Status{Teams: bridge.TeamCounts{Present: 3, Connected: 2}, Queue: bridge.QueueStatus{Events: 7}}
	s.Connections.Reconnects, s.Connections.LastSecond = 4, 5
	want := "teams 3  connected 2  messages/s 12  reconnects 4  attempts/s 5  queued 7  SERVER AWAY  HUB AWAY"
	if got := liveLine(&s, 12.3); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	ctx, cancel := context.WithCancel(context.Background())
	shown := make(chan struct{})
	asked := make(chan struct{}, 100)
	go func() {
		defer close(shown)
		w.show(ctx, func() bridge.Status { asked <- struct{}{}; return s }, time.Millisecond)
	}()
	for range 3 {
		<-asked
	}
	cancel()
	<-shown
	if !strings.HasSuffix(out.String(), "HUB AWAY\n") {
		t.Errorf("it ends with %q", out.String()[max(0, out.Len()-50):])
	}
}
