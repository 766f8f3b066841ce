package bridge_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mastersocket/mastersocket/client"
	"github.com/mastersocket/mastersocket/internal/hubtest"
	"github.com/mastersocket/mastersocket/services/team/bridge"
	"github.com/mastersocket/mastersocket/services/team/rtm"
	"github.com/mastersocket/mastersocket/services/team/rtmtest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		hubtest.Cleanup()
		os.Exit(code)
	}))
}

// patience bounds the time without any progress, limit the time of any wait. A slow machine takes long but makes
// progress.
const (
	patience = time.Minute
	limit    = 5 * time.Minute
)

// rig is an RTM server, a bridge, a real hub, and a client of the hub that records all events.
type rig struct {
	t      *testing.T
	rtm    *rtmtest.Server
	hub    *hubtest.Server
	bridge *bridge.Bridge
	sink   *sink
	log    *logBuffer
	stop   context.CancelFunc
	done   chan struct{} // closed when Run has returned
	err    error         // result of Run
	said   int           // messages of the bystander
}

// logBuffer collects the bridge's log, for failed tests.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// fast returns options with short waits but long timeouts: on a slow machine, a bridge that gave up a connection just
// opened by the server would miss what the server sends on it.
func fast() bridge.Options {
	return bridge.Options{
		MinBackoff: 5 * time.Millisecond, MaxBackoff: 100 * time.Millisecond, FlushTimeout: 20 * time.Second,
		ConnectTimeout: patience, MessageTimeout: patience, PongTimeout: patience,
	}
}

// start starts all parts. The sink is in the groups, and in teams.
func start(t *testing.T, o bridge.Options, server rtmtest.Options, groups ...string) *rig {
	t.Helper()
	return startWith(t, o, rtmtest.Start(t, server), groups...)
}

// startWith starts the other parts for a running server.
func startWith(t *testing.T, o bridge.Options, server *rtmtest.Server, groups ...string) *rig {
	t.Helper()
	hub := hubtest.Start(t, hubtest.Options{Flags: []string{"--drain-timeout", "1s"}})
	r := &rig{t: t, rtm: server, hub: hub, log: &logBuffer{}, done: make(chan struct{})}
	r.sink = newSink(t, hub, append([]string{"teams"}, groups...)...)
	if o.Global == "" {
		o.Global = r.rtm.URL()
	}
	o.Logger = slog.New(slog.NewTextHandler(r.log, nil))
	b, err := bridge.New(o)
	if err != nil {
		t.Fatal(err)
	}
	r.bridge = b
	c := dial(t, hub, b)
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	go func() {
		defer close(r.done)
		r.err = b.Run(ctx, c)
	}()
	t.Cleanup(func() {
		cancel()
		<-r.done
		closeClient(t, c)
		if t.Failed() {
			t.Logf("log of the bridge:\n%s", r.log)
			status, _ := json.Marshal(b.Status())
			t.Logf("status: %s", status)
		}
	})
	return r
}

func dial(t *testing.T, hub *hubtest.Server, b *bridge.Bridge) *client.Client {
	t.Helper()
	o, err := b.HubOptions(client.Options{
		URL: hub.URL(), Token: hub.Token, Group: "bridges", StopOnAuthError: true, MinBackoff: 10 * time.Millisecond, MaxBackoff: 50 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := client.Connect(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func closeClient(t *testing.T, c *client.Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.Close(ctx); err != nil {
		t.Errorf("close: %v", err)
	}
}

// within returns a context for one wait.
func (r *rig) within() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	r.t.Cleanup(cancel)
	return ctx
}

// connected waits until exactly n teams are connected, as both ends see it.
func (r *rig) connected(n int) {
	r.t.Helper()
	r.await(fmt.Sprintf("%d teams connected", n), func() bool {
		return r.rtm.Connected() == n && r.bridge.Status().Teams.Connected == n
	})
}

// until waits for a state of the bridge that no event announces.
func (r *rig) until(what string, cond func(bridge.Status) bool) {
	r.t.Helper()
	r.await(what, func() bool { return cond(r.bridge.Status()) })
}

// await waits for any state.
func (r *rig) await(what string, cond func() bool) {
	r.t.Helper()
	if err := r.reach(cond); err != nil {
		r.t.Fatalf("not reached: %s: %v", what, err)
	}
}

// errStuck is the error of a wait without progress.
var errStuck = errors.New("no progress")

// reach waits until cond is true, as long as there is progress.
func (r *rig) reach(cond func() bool) error {
	began := time.Now()
	last, at := r.progress(), began
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for n := 1; !cond(); n++ {
		<-tick.C
		if n%100 != 0 {
			continue
		}
		if now := r.progress(); now != last {
			last, at = now, time.Now()
		}
		if time.Since(at) > patience || time.Since(began) > limit {
			return errStuck
		}
	}
	return nil
}

// progress returns a value that changes with every event.
func (r *rig) progress() string {
	s := r.bridge.Status()
	return fmt.Sprint(r.rtm.Changes(), r.sink.changes(), s.Connections, s.Messages, s.Events, s.Teams, s.Ignored, s.Healthchecks)
}

// team returns the bridge's status of a team.
func (r *rig) team(id rtm.ID) bridge.TeamStatus {
	for _, t := range r.bridge.Teams() {
		if t.ID == id {
			return t
		}
	}
	return bridge.TeamStatus{}
}

// join joins teams and waits until they are connected.
func (r *rig) join(ids ...rtm.ID) {
	r.t.Helper()
	before := r.rtm.Connected()
	r.await("a Global connection", r.rtm.GlobalOpen)
	r.rtm.Join(ids...)
	r.connected(before + len(ids))
}

// send sends a message and fails the test where the team has no open connection.
func (r *rig) send(id rtm.ID, text string) {
	r.t.Helper()
	if !r.rtm.Message(id, text) {
		r.t.Errorf("the connection of team %s is not open", id)
	}
}

// finish shuts the bridge down.
func (r *rig) finish() {
	r.stop()
	<-r.done
}

// ended waits for Run to return.
func (r *rig) ended() error {
	r.t.Helper()
	select {
	case <-r.done:
		return r.err
	case <-time.After(patience):
		r.t.Fatal("the bridge still runs")
		return nil
	}
}

// counted checks that a healthcheck answer has the server's counts for each team.
func (r *rig) counted(ids ...rtm.ID) {
	r.t.Helper()
	stats, err := r.rtm.Healthcheck(r.within())
	if err != nil {
		r.t.Fatal(err)
	}
	said := make(map[rtm.ID]rtm.Stat, len(stats))
	for _, s := range stats {
		said[s.ID] = s
	}
	for _, id := range ids {
		if want := r.rtm.Sent(id); said[id] != want {
			r.t.Errorf("the healthcheck says of team %s %+v, the server %+v", id, said[id], want)
		}
	}
}

// ids returns the integer ids from 1 to n.
func ids(n int) []rtm.ID {
	all := make([]rtm.ID, n)
	for i := range all {
		all[i] = rtm.IntID(int64(i + 1))
	}
	return all
}
