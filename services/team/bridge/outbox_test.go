package bridge

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// newTestOutbox returns an outbox and the list of events that it drops.
func newTestOutbox(most, ofTeam, bytes int) (*outbox, *[]string) {
	var dropped []string
	o := newOutbox(&Options{Queue: most, TeamQueue: ofTeam, QueueBytes: bytes}, func(e event) { dropped = append(dropped, e.name) })
	return o, &dropped
}

// While the hub is away a full outbox drops the oldest event, of a team at its bound or of all; nothing else is lost,
// and each team's events stay in order. While the hub is connected nothing is dropped.
func TestOutboxModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		most, ofTeam := rapid.IntRange(1, 12).Draw(t, "most"), rapid.IntRange(1, 6).Draw(t, "of team")
		o, dropped := newTestOutbox(most, ofTeam, 1<<20)
		lanes := []*lane{newLane(), newLane(), newLane()}
		var pushed, popped []string
		away := true
		for i := range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			case 0:
				if away = !away; away {
					o.hubLost()
				} else {
					o.hubConnected()
				}
			case 1, 2, 3:
				if e, what, ok := o.tryPop(); ok && what == nextEvent {
					popped = append(popped, e.name)
				}
			default:
				l := rapid.IntRange(0, len(lanes)-1).Draw(t, "lane")
				name, before := fmt.Sprintf("%d:%d", l, i), len(*dropped)
				done, err := o.tryPush(lanes[l], event{name: name})
				if err != nil {
					t.Fatal(err)
				}
				if done {
					pushed = append(pushed, name)
				}
				if full := o.len() >= most || lanes[l].len() >= ofTeam; !done && (away || !full) || !away && len(*dropped) > before {
					t.Fatalf("done %v, away %v, %d waiting, %d of the team, dropped %v", done, away, o.len(), lanes[l].len(), *dropped)
				}
			}
			waiting := 0
			for _, l := range lanes {
				waiting += l.len()
				if l.len() > ofTeam {
					t.Fatalf("%d of one team wait, at most %d may", l.len(), ofTeam)
				}
			}
			if waiting != o.len() || waiting > most || o.bytes != waiting*eventOverhead {
				t.Fatalf("%d events in lanes, %d turns, %d bytes", waiting, o.len(), o.bytes)
			}
			if len(pushed) != len(popped)+len(*dropped)+waiting {
				t.Fatalf("pushed %v, popped %v, dropped %v, %d wait", pushed, popped, *dropped, waiting)
			}
		}
		o.hubConnected()
		for {
			e, what, ok := o.tryPop()
			if !ok {
				break
			}
			if what == nextEvent {
				popped = append(popped, e.name)
			}
		}
		for l := range lanes {
			mine := func(name string) bool { return !strings.HasPrefix(name, fmt.Sprint(l, ":")) }
			want := slices.DeleteFunc(slices.Clone(pushed), func(name string) bool { return mine(name) || slices.Contains(*dropped, name) })
			if got := slices.DeleteFunc(slices.Clone(popped), mine); !slices.Equal(got, want) {
				t.Fatalf("team %d: %v left, want %v", l, got, want)
			}
		}
	})
}

// The memory of all events is bounded, too. A single event larger than the bound passes.
func TestOutboxBytes(t *testing.T) {
	t.Parallel()
	o, dropped := newTestOutbox(100, 100, 3000)
	l := newLane()
	for i := range 10 {
		if err := o.push(t.Context(), l, event{name: fmt.Sprint(i), data: make([]byte, 1000-eventOverhead)}); err != nil {
			t.Fatal(err)
		}
	}
	if o.len() != 3 || o.bytes != 3000 || len(*dropped) != 7 {
		t.Errorf("%d wait, %d bytes, dropped %v", o.len(), o.bytes, *dropped)
	}
	if err := o.push(t.Context(), l, event{name: "huge", data: make([]byte, 5000)}); err != nil || o.len() != 1 {
		t.Errorf("huge: %v, %d wait", err, o.len())
	}
}

// Waiting pushers continue when there is room, when the hub goes away, and when their context ends.
func TestOutboxWaits(t *testing.T) {
	t.Parallel()
	o, _ := newTestOutbox(4, 2, 1<<20)
	o.hubConnected()
	if _, what := o.pop(t.Context()); what != nextAnnounce {
		t.Fatal("no announcement")
	}
	const pushers, each = 10, 200
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var pushing sync.WaitGroup
	for p := range pushers {
		pushing.Go(func() {
			l := newLane()
			for i := range each {
				if err := o.push(ctx, l, event{name: fmt.Sprint(p), data: []byte(fmt.Sprint(i))}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	next := map[string]int{}
	for range pushers * each {
		e, what := o.pop(ctx)
		if what != nextEvent || string(e.data) != fmt.Sprint(next[e.name]) {
			t.Fatalf("popped %v %s of %s, want %d", what, e.data, e.name, next[e.name])
		}
		next[e.name]++
	}
	pushing.Wait()
	l := newLane()
	for i := range 2 {
		if err := o.push(ctx, l, event{name: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	stopped, stop := context.WithCancel(ctx)
	stop()
	if err := o.push(stopped, l, event{}); err == nil {
		t.Error("a third event of the team found room")
	}
	pushing.Go(func() {
		if err := o.push(ctx, l, event{name: "2"}); err != nil {
			t.Error(err)
		}
	})
	o.hubLost()
	pushing.Wait()
	if l.len() != 2 || l.events[l.head].name != "1" {
		t.Errorf("%d events wait, the oldest is %q", l.len(), l.events[l.head].name)
	}
	o.close()
	if err := o.push(ctx, l, event{}); err == nil {
		t.Error("a closed outbox takes events")
	}
}
