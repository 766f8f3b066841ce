package history

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var testGroups = []string{"a", "b", "c"}

// anyTo draws a target with or without receivers.
func anyTo(m *model) To {
	group := slices.Concat(testGroups, []string{"empty"})[m.pick(4)]
	switch Target(m.pick(4)) {
	case Global:
		return To{Target: Global}
	case Group:
		return To{Group, group}
	case Direct:
		return To{Direct, m.clients[m.pick(len(m.clients))].id}
	}
	if m.pick(2) == 0 {
		return To{Target: Any}
	}
	return To{Any, group}
}

func anyIdentity(m *model) Identity {
	as := Identity{Groups: []string{testGroups[m.pick(3)]}, NoEcho: m.pick(3) == 0, Reports: m.pick(2) == 0}
	if g := testGroups[m.pick(3)]; g != as.Groups[0] {
		as.Groups = append(as.Groups, g)
	}
	return as
}

// TestAcceptsCorrect feeds the checker histories of a correct hub with clients that connect and end in every way.
func TestAcceptsCorrect(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		rng := rand.New(rand.NewPCG(seed, 1))
		m := newModel(rng.IntN)
		steps := rapid.IntRange(1, 300).Draw(t, "steps")
		for range steps {
			wander(m)
		}
		m.drain()
		o := Options{Fault: rapid.Bool().Draw(t, "fault"), Grace: time.Duration(steps) * time.Second, InFlight: time.Hour}
		if err := m.h.Check(o).Err(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	})
}

// wander makes one random step of clients or network.
func wander(m *model) {
	if len(m.clients) == 0 {
		m.identify(m.connect("first"), anyIdentity(m))
	}
	c := m.clients[m.pick(len(m.clients))]
	active := c.joined && !c.gone && c.life.Leaving == 0
	switch k := m.pick(20); {
	case k == 0 && len(m.clients) < 12:
		m.identify(m.connect("late"), anyIdentity(m))
	case k == 1 && len(m.clients) < 12:
		m.connect("mute")
	case k == 2 && active && m.pick(2) == 0:
		m.leave(c)
	case k == 3 && active && m.pick(2) == 0:
		m.cut(c)
	case k == 4 && active && m.pick(2) == 0:
		m.kick(c)
	case k < 12 && active:
		m.send(c, anyTo(m))
	default:
		m.step()
	}
}

// lab is a model with four receivers, one of which has not identified, and two senders.
func lab(seed uint64) (m *model, senders []*client) {
	m = newModel(rand.New(rand.NewPCG(seed, 2)).IntN)
	m.join("r0", Identity{Groups: []string{"a"}})
	m.join("r1", Identity{Groups: []string{"a", "b"}})
	m.join("r2", Identity{Groups: []string{"c"}})
	m.connect("mute")
	for range 2 {
		senders = append(senders, m.join("s", Identity{Groups: []string{"senders"}, NoEcho: true, Reports: true}))
	}
	return m, senders
}

// bug breaks a hub. It gets the message, its receivers, and the copies that a correct hub makes.
type bug struct {
	name string
	want Kind
	fits func(message, []*client) bool
	make func(m *model, msg message, to []*client, d []delivery) []delivery
}

func always(message, []*client) bool { return true }

func target(want ...Target) func(message, []*client) bool {
	return func(m message, to []*client) bool { return slices.Contains(want, m.to.Target) && len(to) > 0 }
}

func received(_ message, to []*client) bool { return len(to) > 0 }

// outsider returns an identified client that is not in to.
func outsider(m *model, to []*client) *client {
	for _, c := range m.clients {
		if c.known && !slices.Contains(to, c) {
			return c
		}
	}
	return nil
}

var bugs = []bug{
	{"one copy lost", Lost, received, func(_ *model, _ message, _ []*client, d []delivery) []delivery { return d[1:] }},
	{"ANY lost", Lost, target(Any), func(*model, message, []*client, []delivery) []delivery { return nil }},
	{"DIRECT lost", Lost, target(Direct), func(*model, message, []*client, []delivery) []delivery { return nil }},
	{"duplicated", Duplicated, received, func(_ *model, _ message, _ []*client, d []delivery) []delivery { return append(d, d[0]) }},
	{"ANY twice to the same", Duplicated, target(Any), func(_ *model, _ message, _ []*client, d []delivery) []delivery { return append(d, d[0]) }},
	{"GROUP to a stranger", Misrouted, target(Group), func(m *model, msg message, to []*client, d []delivery) []delivery {
		return append(d, m.copy(msg, outsider(m, to)))
	}},
	{"DIRECT to another", Misrouted, target(Direct), func(m *model, msg message, to []*client, _ []delivery) []delivery {
		return []delivery{m.copy(msg, outsider(m, to))}
	}},
	{"ANY to two", Misrouted, func(msg message, to []*client) bool { return msg.to == To{Any, "a"} && len(to) > 0 },
		func(m *model, msg message, to []*client, d []delivery) []delivery {
			both := []*client{m.clients[0], m.clients[1]}
			return append(d, m.copy(msg, both[1-slices.Index(both, to[0])]))
		}},
	{"echo to a client with NoEcho", Misrouted, target(Global), func(m *model, msg message, _ []*client, d []delivery) []delivery {
		return append(d, m.copy(msg, msg.from))
	}},
	{"leaked", Leaked, target(Global), func(m *model, msg message, _ []*client, d []delivery) []delivery {
		return append(d, m.copy(msg, m.clients[3]))
	}},
	{"refused and yet delivered", Misrouted, func(_ message, to []*client) bool { return len(to) == 0 },
		func(m *model, msg message, _ []*client, _ []delivery) []delivery {
			return []delivery{m.copy(msg, m.clients[0])}
		}},
	{"a byte changed", Corrupted, received, func(_ *model, _ message, _ []*client, d []delivery) []delivery {
		d[0].data[len(d[0].data)-3] ^= 1
		return d
	}},
	{"data cut", Corrupted, func(msg message, to []*client) bool { return len(to) > 0 && msg.n%40 > 4 },
		func(_ *model, _ message, _ []*client, d []delivery) []delivery {
			d[0].data = append(d[0].data[:len(d[0].data)-4], `"}`...)
			return d
		}},
	{"data encoded again", Corrupted, received, func(_ *model, _ message, _ []*client, d []delivery) []delivery {
		d[0].data = bytes.Replace(d[0].data, []byte(`,"n":`), []byte(`, "n":`), 1)
		return d
	}},
	{"wrong id", Corrupted, received, func(_ *model, _ message, _ []*client, d []delivery) []delivery {
		d[0].id = "m0-0"
		return d
	}},
	{"wrong sender", Corrupted, received, func(m *model, _ message, _ []*client, d []delivery) []delivery {
		d[0].sender = m.clients[0].id
		return d
	}},
	{"never sent", Corrupted, always, func(m *model, msg message, _ []*client, d []delivery) []delivery {
		msg.n += 100000
		return append(d, m.copy(msg, m.clients[0]))
	}},
}

// TestCatches breaks one message of many, at a random place, and expects exactly that violation.
func TestCatches(t *testing.T) {
	t.Parallel()
	for _, b := range bugs {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) { catch(t, b, rapid.Uint64().Draw(t, "seed")) })
		})
	}
}

func catch(t *rapid.T, b bug, seed uint64) {
	m, senders := lab(seed)
	skip, done := rand.New(rand.NewPCG(seed, 3)).IntN(5), false
	m.break_ = func(msg message, to []*client) []delivery {
		d := make([]delivery, 0, len(to)+1)
		for _, r := range to {
			d = append(d, m.copy(msg, r))
		}
		if done || !b.fits(msg, to) {
			return d
		}
		if skip--; skip >= 0 {
			return d
		}
		done = true
		return b.make(m, msg, to, d)
	}
	for i := 0; i < 40 || !done && i < 1000; i++ {
		m.send(senders[m.pick(2)], anyTo(m))
		for range m.pick(6) {
			m.step()
		}
	}
	m.drain()
	if !done {
		t.Skip("the bug never had an occasion")
	}
	r := m.h.Check(Options{})
	if r.Counts[b.want] == 0 {
		t.Fatalf("not found: %v", r)
	}
	if len(r.Examples) == 0 || r.Err() == nil || !strings.Contains(r.String(), b.want.String()) {
		t.Fatalf("found but not told: %v", r)
	}
	// A misrouted or unrecognizable message is missing at its receiver.
	missing := 0
	if b.want == Misrouted || b.want == Corrupted {
		missing = r.Counts[Lost]
	}
	if r.Counts[b.want] > 1 || missing > 1 || r.Violations() != r.Counts[b.want]+missing {
		t.Fatalf("found more than there is: %v", r)
	}
}

// TestCatchesReorder swaps two neighbours of one sender in a receiver's queue, for every mix of targets.
func TestCatchesReorder(t *testing.T) {
	t.Parallel()
	mix := []To{{Target: Global}, {Group, "a"}, {Direct, "id-0"}}
	for _, first := range mix {
		for _, second := range mix {
			m, senders := lab(1)
			s := senders[0]
			m.send(s, To{Target: Global})
			m.send(s, first)
			m.send(s, second)
			m.send(s, To{Target: Global})
			for len(s.in) > 0 {
				s.in[0]()
				s.in = s.in[1:]
			}
			out := m.clients[0].out
			out[1], out[2] = out[2], out[1]
			m.drain()
			if r := m.h.Check(Options{}); r.Counts[Reordered] != 1 || r.Violations() != 1 {
				t.Errorf("%v before %v: %v", first, second, r)
			}
		}
	}
}

// TestCatchesSilence leaves a message without receivers unanswered, and answers one with receivers with NO_RECEIVER.
func TestCatchesSilence(t *testing.T) {
	t.Parallel()
	m, senders := lab(1)
	s := senders[0]
	s.Accepted(s.Send(To{Group, "empty"}))
	s.Send(To{Direct, "nobody"})
	s.Accepted(s.Send(To{Any, "empty"}))
	s.Refused(s.Send(To{Group, "a"}), "NO_RECEIVER")
	s.Refused(s.Send(To{Group, "a"}), "FORBIDDEN")
	s.Unsent(s.Send(To{Group, "a"}))
	r := m.h.Check(Options{})
	if r.Counts[Unreported] != 3 || r.Counts[Lost] != 2 || r.Violations() != 5 {
		t.Errorf("want 3 unreported and 2 lost: %v", r)
	}
	if r.Refused["NO_RECEIVER"] != 1 || r.Refused["FORBIDDEN"] != 1 {
		t.Errorf("refusals: %v", r.Refused)
	}
}

// TestFault allows reported and counted losses, and nothing else.
func TestFault(t *testing.T) {
	t.Parallel()
	m, senders := lab(1)
	s := senders[0]
	s.Accepted(s.Send(To{Group, "c"}))                      // silent
	s.Accepted(s.Send(To{Group, "a"}))                      // silent, two receivers
	s.Refused(s.Send(To{Group, "a"}), "BROKER_UNAVAILABLE") // told, two receivers
	for counted, lost := range map[int]int{0: 3, 1: 3, 2: 0, 9: 0} {
		r := m.h.Check(Options{Fault: true, CountedDrops: counted})
		if r.Counts[Lost] != lost || r.Reported != 2 || (r.Counted == 2) != (lost == 0) {
			t.Errorf("%d counted drops: want %d lost and 2 reported: %v", counted, lost, r)
		}
	}
	m.send(s, To{Direct, "id-0"})
	m.break_ = func(msg message, to []*client) []delivery {
		return []delivery{m.copy(msg, to[0]), m.copy(msg, to[0]), m.copy(msg, m.clients[1])}
	}
	m.drain()
	if r := m.h.Check(Options{Fault: true, CountedDrops: 9}); r.Counts[Duplicated] != 1 || r.Counts[Misrouted] != 1 {
		t.Errorf("want 1 duplicated and 1 misrouted: %v", r)
	}
}

// TestLeavers loses messages to a client that left: later arrivals prove that it was still connected.
func TestLeavers(t *testing.T) {
	t.Parallel()
	m, senders := lab(1)
	n := 0
	m.break_ = func(msg message, to []*client) []delivery {
		if n++; n != 3 {
			return []delivery{m.copy(msg, to[0])}
		}
		return nil
	}
	for range 5 {
		m.send(senders[0], To{Direct, "id-0"})
	}
	for range 4 { // the last one does not arrive
		senders[0].in[0]()
		senders[0].in = senders[0].in[1:]
	}
	for len(m.clients[0].out) > 0 {
		m.clients[0].out[0]()
		m.clients[0].out = m.clients[0].out[1:]
	}
	m.cut(m.clients[0])
	m.drain()
	r := m.h.Check(Options{})
	if r.Counts[Lost] != 1 || r.Violations() != 1 || r.CutOff != 1 {
		t.Errorf("want one lost: %v", r)
	}
}

// TestStrays checks the kind of unexplained arrivals before and after the IDENTIFY answer.
func TestStrays(t *testing.T) {
	t.Parallel()
	m, _ := lab(1)
	m.clients[0].Stray("op %d", 9)
	m.clients[3].Stray("op %d", 7)
	for range 100 {
		m.clients[3].Arrived(nil, nil, []byte("{}"))
	}
	r := m.h.Check(Options{Examples: 3})
	if r.Counts[Corrupted] != 101 || r.Counts[Leaked] != 101 || len(r.Examples) != 6 {
		t.Errorf("want 101 corrupted and 101 leaked, with 3 examples each: %v", r)
	}
}

// TestDenied: a message refused with NO_RECEIVER must have no receiver, whatever broke.
func TestDenied(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]int{"NO_RECEIVER": 1, "RECEIVER_GONE": 1, "OUTCOME_UNKNOWN": 0, "BROKER_UNAVAILABLE": 0} {
		m, senders := lab(1)
		s := senders[0]
		n := s.Send(To{Direct, "id-0"})
		s.Refused(n, code)
		to := m.clients[0]
		to.Arrived(AppendID(nil, s.index, n), []byte(s.life.ID), AppendPayload(nil, s.index, n, 8))
		if r := m.h.Check(Options{Fault: true}); r.Counts[Misrouted] != want || r.Violations() != want {
			t.Errorf("%s: want %d misrouted: %v", code, want, r)
		}
	}
}
