package history

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// nomads are three clients in one group with their own clock; the first sends and the second moves.
type nomads struct {
	*History
	clock               int64
	sender, mover, peer *Session
}

func newNomads() *nomads {
	w := &nomads{History: New(0), clock: 1}
	w.now = func() int64 { w.clock++; return w.clock }
	for i, s := range []**Session{&w.sender, &w.mover, &w.peer} {
		*s = w.Session([]string{"sender", "mover", "peer"}[i])
		(*s).Identifying(Identity{Groups: []string{"g"}, NoEcho: true, Reports: true})
		(*s).Identified([]string{"s0", "m0", "p0"}[i])
	}
	return w
}

// say sends a message that has not arrived anywhere yet.
func (w *nomads) say(s *Session, to To) int { return s.Send(to) }

// hear records the arrival of the message with its sender's id.
func (w *nomads) hear(r, from *Session, id string, n int) {
	r.Arrived(AppendID(nil, from.index, n), []byte(id), AppendPayload(nil, from.index, n, n%9))
}

// pass advances the clock by more than a message's transit time.
func (w *nomads) pass() { w.clock += int64(time.Hour) }

func (w *nomads) check() *Report { return w.Check(Options{InFlight: time.Minute}) }

func (w *nomads) want(t *testing.T, k Kind, count int) {
	t.Helper()
	if r := w.check(); r.Counts[k] != count || r.Violations() != count {
		t.Errorf("want %d %v and nothing else: %v", count, k, r)
	}
}

// group sends n messages to the group; the peer gets all of them.
func (w *nomads) group(n int) (numbers []int) {
	for range n {
		k := w.say(w.sender, To{Group, "g"})
		w.hear(w.peer, w.sender, "s0", k)
		numbers = append(numbers, k)
	}
	return numbers
}

func (w *nomads) move() {
	w.mover.Moving()
	w.mover.Moved("m1")
}

func TestMoveWithoutLoss(t *testing.T) {
	t.Parallel()
	w := newNomads()
	k := w.group(4)
	w.hear(w.mover, w.sender, "s0", k[0])
	old := w.say(w.mover, To{Group, "g"})
	w.move()
	for _, n := range k[1:] {
		w.hear(w.mover, w.sender, "s0", n)
	}
	fresh := w.say(w.mover, To{Group, "g"})
	for _, r := range []*Session{w.sender, w.peer} {
		w.hear(r, w.mover, "m0", old)
		w.hear(r, w.mover, "m1", fresh)
	}
	// A message to the new id arrives; one to the old id is refused, or was already on its way.
	for _, id := range []string{"m0", "m1"} {
		w.hear(w.mover, w.sender, "s0", w.say(w.sender, To{Direct, id}))
	}
	w.sender.Refused(w.say(w.sender, To{Direct, "m0"}), "NO_RECEIVER")
	w.want(t, Lost, 0)
	if r := w.check(); r.Moves != 1 || r.Absences != 0 || r.Outdated != 1 || r.Missed != 0 {
		t.Errorf("moves %d, absences %d, outdated %d, missed %d", r.Moves, r.Absences, r.Outdated, r.Missed)
	}
}

// TestCatchesAcrossMoves injects each possible fault of a move.
func TestCatchesAcrossMoves(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		want Kind
		make func(w *nomads, k []int) // the mover got none of k, of which there are 4
	}{
		"lost between the connections": {Lost, func(w *nomads, k []int) {
			w.hear(w.mover, w.sender, "s0", k[0])
			w.move()
			w.hear(w.mover, w.sender, "s0", k[2])
			w.hear(w.mover, w.sender, "s0", k[3])
		}},
		"lost at the end of the old one": {Lost, func(w *nomads, k []int) {
			for _, n := range k[:3] {
				w.hear(w.mover, w.sender, "s0", n)
			}
			w.move()
		}},
		"over both connections": {Duplicated, func(w *nomads, k []int) {
			for _, n := range k {
				w.hear(w.mover, w.sender, "s0", n)
			}
			w.move()
			w.hear(w.mover, w.sender, "s0", k[3])
		}},
		"the new one first": {Reordered, func(w *nomads, k []int) {
			w.move()
			for _, i := range []int{0, 2, 1, 3} {
				w.hear(w.mover, w.sender, "s0", k[i])
			}
		}},
		"the sender's new one first": {Reordered, func(w *nomads, k []int) {
			w.hears(k)
			a := w.say(w.mover, To{Direct, "p0"})
			w.move()
			b := w.say(w.mover, To{Direct, "p0"})
			w.hear(w.peer, w.mover, "m1", b)
			w.hear(w.peer, w.mover, "m0", a)
		}},
		"the sender's last on the old one": {Lost, func(w *nomads, k []int) {
			w.hears(k)
			w.say(w.mover, To{Direct, "p0"})
			w.move()
		}},
		"echo over the other connection": {Misrouted, func(w *nomads, k []int) {
			w.hears(k)
			n := w.say(w.mover, To{Group, "g"})
			w.hear(w.peer, w.mover, "m0", n)
			w.hear(w.sender, w.mover, "m0", n)
			w.move()
			w.hear(w.mover, w.mover, "m0", n)
		}},
		"refused before it moved": {Lost, func(w *nomads, k []int) {
			w.hears(k)
			w.sender.Refused(w.say(w.sender, To{Direct, "m0"}), "NO_RECEIVER")
			w.move()
		}},
		"the present id refused": {Lost, func(w *nomads, k []int) {
			w.hears(k)
			w.move()
			w.sender.Refused(w.say(w.sender, To{Direct, "m1"}), "NO_RECEIVER")
		}},
		"a former id, refused for another reason": {Lost, func(w *nomads, k []int) {
			w.hears(k)
			w.move()
			w.sender.Refused(w.say(w.sender, To{Direct, "m0"}), "BROKER_UNAVAILABLE")
		}},
		"a former id, without a word": {Lost, func(w *nomads, k []int) {
			w.hears(k)
			w.move()
			w.say(w.sender, To{Direct, "m0"})
		}},
		"ANY over both connections": {Duplicated, func(w *nomads, k []int) {
			w.hears(k)
			n := w.say(w.sender, To{Any, "g"})
			w.hear(w.mover, w.sender, "s0", n)
			w.move()
			w.hear(w.mover, w.sender, "s0", n)
		}},
		"another client's id": {Corrupted, func(w *nomads, k []int) {
			w.hears(k)
			w.move()
			w.hear(w.peer, w.mover, "s0", w.say(w.mover, To{Direct, "p0"}))
		}},
		"an id of another one": {Corrupted, func(w *nomads, k []int) {
			w.hears(k)
			w.mover.Moved("p0")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newNomads()
			c.make(w, w.group(4))
			w.want(t, c.want, 1)
		})
	}
}

// hears records the arrival of all of k at the mover.
func (w *nomads) hears(k []int) {
	for _, n := range k {
		w.hear(w.mover, w.sender, "s0", n)
	}
}

// TestMoveBack returns to a connection that was not left: its id must not be refused then.
func TestMoveBack(t *testing.T) {
	t.Parallel()
	w := newNomads()
	w.move()
	w.sender.Refused(w.say(w.sender, To{Direct, "m0"}), "NO_RECEIVER")
	w.mover.Moved("m0")
	w.sender.Refused(w.say(w.sender, To{Direct, "m1"}), "NO_RECEIVER")
	w.want(t, Lost, 1) // it never was away
	w.sender.Refused(w.say(w.sender, To{Direct, "m0"}), "NO_RECEIVER")
	w.want(t, Lost, 2)
}

// TestAbsence excuses messages that a client without a connection missed, and those that it sent into the broken one,
// but neither earlier gaps nor duplicates.
func TestAbsence(t *testing.T) {
	t.Parallel()
	w := newNomads()
	w.say(w.sender, To{Direct, "m0"}) // lost: long before
	w.pass()
	k := w.group(3) // the second one is lost: the third one arrived before the connection broke
	w.hear(w.mover, w.sender, "s0", k[0])
	w.hear(w.mover, w.sender, "s0", k[2])
	w.group(1)                       // on its way
	w.say(w.mover, To{Direct, "p0"}) // on its way
	w.say(w.sender, To{Any, "g"})    // may have been drawn for the mover
	w.mover.Away()                   //
	w.mover.Away()                   // recorded twice
	w.group(1)                       // missed
	w.sender.Refused(w.say(w.sender, To{Direct, "m0"}), "NO_RECEIVER")
	w.mover.Back("m1")
	w.sender.Refused(w.say(w.sender, To{Direct, "m0"}), "NO_RECEIVER")
	w.group(1)                       // lost
	w.say(w.mover, To{Direct, "p0"}) // lost
	r := w.check()
	if r.Counts[Lost] != 4 || r.Violations() != 4 || r.Absences != 1 || r.Moves != 1 || r.Missed != 3 || r.Outdated != 1 {
		t.Errorf("want 4 lost, 3 missed, 1 outdated: %v", r)
	}
	w.hears(k[2:])
	if r := w.check(); r.Counts[Duplicated] != 1 {
		t.Errorf("want 1 duplicated: %v", r)
	}
	w.pass()
	w.mover.Away()
	w.pass()
	w.group(1)
	if r := w.check(); r.Missed != 4 {
		t.Errorf("what is sent to one who does not come back is missed: %v", r)
	}
}

// TestMovesInNDJSON writes and reads moves and absences.
func TestMovesInNDJSON(t *testing.T) {
	t.Parallel()
	w := newNomads()
	w.move()
	w.mover.Away()
	w.mover.Back("m2")
	w.sender.Refused(w.say(w.sender, To{Direct, "m1"}), "NO_RECEIVER")
	var file bytes.Buffer
	if err := w.WriteNDJSON(&file); err != nil {
		t.Fatal(err)
	}
	copied := New(100)
	if err := copied.ReadNDJSON(&file); err != nil {
		t.Fatal(err)
	}
	if got, want := copied.Check(Options{}).String(), w.Check(Options{}).String(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestDelays(t *testing.T) {
	t.Parallel()
	w := newNomads()
	early := w.say(w.sender, To{Group, "g"})
	begin := w.clock + 1
	k := w.say(w.sender, To{Group, "g"})
	w.hear(w.peer, w.sender, "s0", early)
	w.hear(w.peer, w.sender, "s0", k)
	w.hear(w.mover, w.sender, "s0", k)
	end := w.clock
	w.hear(w.mover, w.sender, "s0", w.say(w.sender, To{Group, "g"}))
	if got := w.Delays(begin, end, nil); !slices.Equal(got, []time.Duration{2, 3}) {
		t.Errorf("got %v", got)
	}
	if got := w.Delays(begin, end, func(s int) int { return s / 2 }); !slices.Equal(got, []time.Duration{3}) {
		t.Errorf("of one part: got %v", got)
	}
}

// TestManyClients checks the speed for thousands of clients in small groups.
func TestManyClients(t *testing.T) {
	t.Parallel()
	const clients, groupSize, messages = 6000, 5, 200_000
	h, rng := New(0), rand.New(rand.NewPCG(1, 5))
	var all []*Session
	for i := range clients {
		s := h.Session("c")
		s.Identifying(Identity{Groups: []string{string(rune('A' + i/groupSize))}, NoEcho: true, Reports: true})
		s.Identified(string(rune('A' + i)))
		all = append(all, s)
	}
	for i := range messages {
		s := all[rng.IntN(clients)]
		first := s.index / groupSize * groupSize
		to, got := To{Group, s.life.Groups[0]}, all[first:first+groupSize]
		if i%3 == 0 {
			r := all[rng.IntN(clients)]
			to, got = To{Direct, r.life.ID}, []*Session{r}
		}
		k := s.Send(to)
		id, data := AppendID(nil, s.index, k), AppendPayload(nil, s.index, k, 8)
		for _, r := range got {
			if r != s || to.Target == Direct {
				r.Arrived(id, []byte(s.life.ID), data)
			}
		}
	}
	begin := time.Now()
	r := h.Check(Options{})
	if took := time.Since(begin); r.Err() != nil || took > 20*time.Second {
		t.Errorf("%v took %v", r, took)
	} else {
		t.Logf("%d clients, %d messages, %d deliveries checked in %v", clients, r.Messages, r.Arrivals, took)
	}
}

// TestCrossed: only messages to a single client may change order, and only while it has two connections.
func TestCrossed(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		move    bool
		between bool // a message to many
		behind  To   // comes behind a message to many that was sent after it
		late    bool
		crossed int
		kind    int // violations
	}{
		"moves":                         {move: true, crossed: 1},
		"stays":                         {kind: 1},
		"one to many behind":            {move: true, between: true, kind: 1},
		"moved long ago":                {move: true, late: true, kind: 1},
		"ANY behind one to many":        {move: true, behind: To{Any, "g"}, crossed: 1},
		"to the new id, behind as well": {move: true, behind: To{Target: Direct}, crossed: 1},
		"ANY behind, stays":             {behind: To{Any, "g"}, kind: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newNomads()
			if tt.move {
				w.move()
			}
			if tt.late {
				w.pass()
			}
			id := w.mover.ids()[len(w.mover.ids())-1]
			if tt.behind != (To{}) {
				if tt.behind.Target == Direct {
					tt.behind.Name = id
				}
				first := w.say(w.sender, tt.behind)
				w.hear(w.mover, w.sender, "s0", w.group(1)[0])
				w.hear(w.mover, w.sender, "s0", first)
				if r := w.check(); r.Crossed != tt.crossed || r.Counts[Reordered] != tt.kind || r.Violations() != tt.kind {
					t.Errorf("got %v", r)
				}
				return
			}
			first := w.say(w.sender, To{Direct, id})
			if tt.between {
				w.hear(w.mover, w.sender, "s0", w.group(1)[0])
			}
			second := w.say(w.sender, To{Direct, id})
			w.hear(w.mover, w.sender, "s0", second)
			w.hear(w.mover, w.sender, "s0", first)
			if r := w.check(); r.Crossed != tt.crossed || r.Counts[Reordered] != tt.kind || r.Violations() != tt.kind {
				t.Errorf("got %v", r)
			}
		})
	}
}
