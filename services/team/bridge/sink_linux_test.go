package bridge_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/client"
	"github.com/mastersocket/mastersocket/internal/hubtest"
	"github.com/mastersocket/mastersocket/services/team/rtm"
)

// sink is a client of the hub that records the bridge's events.
type sink struct {
	t *testing.T

	mu      sync.Mutex
	events  []string         // name and data
	texts   map[string]int   // of team.message: team and text → how often
	byTeam  map[rtm.ID]int   // messages
	last    map[rtm.ID]int64 // last number of each team's messages, where they are numbers
	errors  []string
	losses  []string      // why the connection to the hub ended: what was sent before the next one did not come here
	changed chan struct{} // closed and replaced when something came
	total   int           // messages
}

func newSink(t *testing.T, hub *hubtest.Server, groups ...string) *sink {
	t.Helper()
	s := &sink{
		t: t, texts: make(map[string]int), byTeam: make(map[rtm.ID]int), last: make(map[rtm.ID]int64), changed: make(chan struct{}),
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := client.Connect(ctx, client.Options{
		URL: hub.URL(), Token: hub.Token, Group: groups[0], Groups: groups[1:], MinBackoff: time.Millisecond, MaxBackoff: 5 * time.Millisecond,
		OnMessage:    func(_ context.Context, m *client.Message) { s.take(m) },
		OnDisconnect: func(err error) { s.lost(err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		closeClient(t, c)
		for _, e := range s.errors {
			t.Error(e)
		}
	})
	return s
}

// lost notes that the connection to the hub ended.
func (s *sink) lost(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.losses = append(s.losses, err.Error())
}

func (s *sink) take(m *client.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.changed)
	s.changed = make(chan struct{})
	if m.Event != "team.message" {
		s.events = append(s.events, m.Event+" "+string(m.Data))
		return
	}
	var data struct {
		TeamID rtm.ID `json:"team_id"`
		Text   string `json:"text"`
	}
	if err := m.Unmarshal(&data); err != nil {
		s.errors = append(s.errors, err.Error())
		return
	}
	key := string(data.TeamID.Append(nil)) + " " + data.Text
	if s.texts[key]++; s.texts[key] > 1 {
		s.errors = append(s.errors, fmt.Sprintf("message %.100q came %d times", key, s.texts[key]))
	}
	var n int64
	if _, err := fmt.Sscanf(data.Text, "%d", &n); err == nil {
		if n <= s.last[data.TeamID] {
			s.errors = append(s.errors, fmt.Sprintf("team %s: message %d came after %d", data.TeamID, n, s.last[data.TeamID]))
		}
		s.last[data.TeamID] = n
	}
	s.byTeam[data.TeamID]++
	s.total++
}

// changes is how often something came.
func (s *sink) changes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total + len(s.events) + len(s.losses)
}

// await waits until cond, which is called with the lock held, is true, for as long as something comes.
func (s *sink) await(what string, cond func() bool) {
	s.t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		s.mu.Lock()
		ok, changed := cond(), s.changed
		s.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
			timeout.Reset(patience)
		case <-timeout.C:
			s.mu.Lock()
			defer s.mu.Unlock()
			s.t.Fatalf("the hub did not get %s; it got %d messages and the events %.3000q; it lost its connection: %q", what, s.total, s.events, s.losses)
		}
	}
}

// messages waits until exactly n messages have arrived.
func (s *sink) messages(n int) {
	s.t.Helper()
	s.await(fmt.Sprintf("%d messages", n), func() bool { return s.total >= n })
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.total != n {
		s.t.Errorf("%d messages arrived, want %d", s.total, n)
	}
}

// event waits for an event with that name and data.
func (s *sink) event(text string) {
	s.t.Helper()
	s.await(text, func() bool { return slices.Contains(s.events, text) })
}

// count returns how often the event has come.
func (s *sink) count(text string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.events {
		if e == text {
			n++
		}
	}
	return n
}

// all returns the events so far.
func (s *sink) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.events)
}

// perTeam returns the number of messages of each team so far.
func (s *sink) perTeam() map[rtm.ID]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.byTeam)
}
