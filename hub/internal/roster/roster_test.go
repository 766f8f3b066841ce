package roster

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
)

// id returns the id with that number.
func id(n int) (u uuid.UUID) {
	binary.BigEndian.PutUint64(u[8:], uint64(n))
	return u
}

func member(n int) Member { return Member{ID: id(n), About: fmt.Append(nil, n)} }

func replacing(n, old int) Member {
	m := member(n)
	m.Replaces = id(old)
	return m
}

// all has no bound that matters here.
const all = 1 << 30

var noon = time.Unix(1_800_000_000, 0)

// seen is the set of a watcher that applies changes in order, and fails where one does not fit the set.
type seen map[uuid.UUID]string

func (s seen) apply(t *testing.T, changes []Change) {
	t.Helper()
	once := make(map[uuid.UUID]bool)
	mark := func(u uuid.UUID) {
		if once[u] {
			t.Fatalf("%v is in a frame twice", u)
		}
		once[u] = true
	}
	gone := func(u uuid.UUID) {
		mark(u)
		if _, ok := s[u]; !ok {
			t.Fatalf("%v left without having joined", u)
		}
		delete(s, u)
	}
	come := func(about []byte) {
		u := idOf(about)
		if _, ok := s[u]; ok {
			t.Fatalf("%v joined twice", u)
		}
		s[u] = string(about)
	}
	for _, c := range changes {
		switch c.Kind {
		case Left:
			gone(c.ID)
		case Moved:
			gone(c.ID)
			mark(idOf(c.About))
			come(c.About)
		case Joined:
			mark(c.ID)
			come(c.About)
		case Updated:
			mark(c.ID)
			if old, ok := s[c.ID]; !ok || old == string(c.About) {
				t.Fatalf("%v was updated from %q to %q", c.ID, old, c.About)
			}
			s[c.ID] = string(c.About)
		}
	}
}

// idOf reads the id from what member made.
func idOf(about []byte) uuid.UUID {
	n, rest := 0, about
	if i := bytes.IndexByte(about, '/'); i >= 0 {
		rest = about[:i]
	}
	_, _ = fmt.Sscan(string(rest), &n)
	return id(n)
}

func describe(changes []Change) string {
	var b []byte
	for _, c := range changes {
		n := binary.BigEndian.Uint64(c.ID[8:])
		switch c.Kind {
		case Joined:
			b = fmt.Appendf(b, "+%s ", c.About)
		case Left:
			b = fmt.Appendf(b, "-%d:%s ", n, c.Reason)
		case Moved:
			b = fmt.Appendf(b, "%d>%s ", n, c.About)
		case Updated:
			b = fmt.Appendf(b, "~%s ", c.About)
		}
	}
	return string(bytes.TrimSpace(b))
}

func TestRosterTellsChangesOnce(t *testing.T) {
	t.Parallel()
	var none uuid.UUID
	for _, test := range []struct {
		name string
		do   func(r *Roster, flush func() string) []string // what the calls of flush return, and are to return
	}{
		{"a member comes and goes", func(r *Roster, flush func() string) []string {
			r.Put(1, 0, member(1))
			a := flush()
			r.Remove(id(1), "KICKED", none, noon)
			return []string{a, "+1", flush(), "-1:KICKED"}
		}},
		{"what came and went in between is left out", func(r *Roster, flush func() string) []string {
			r.Put(1, 0, member(1))
			r.Remove(id(1), "KICKED", none, noon)
			return []string{flush(), ""}
		}},
		{"what went and came in between is left out", func(r *Roster, flush func() string) []string {
			r.Put(1, 0, member(1))
			flush()
			r.Remove(id(1), Unsubscribed, none, noon)
			r.Put(1, 0, member(1))
			return []string{flush(), ""}
		}},
		{"a move is no join and no leave", func(r *Roster, flush func() string) []string {
			r.Put(1, 0, member(1))
			flush()
			r.Put(2, 0, replacing(2, 1))
			a := flush()
			r.Remove(id(1), "NO_REASON", none, noon)
			return []string{a, "1>2", flush(), ""}
		}},
		{"the old connection's end overtakes the new one", func(r *Roster, flush func() string) []string {
			r.Put(1, 0, member(1))
			flush()
			r.Remove(id(1), "NO_REASON", id(2), noon)
			a := flush()
			r.Put(2, 0, replacing(2, 1))
			return []string{a, "", flush(), "1>2"}
		}},
		{"a successor that doesn't come", func(r *Roster, flush func() string) []string {
			r.Put(1, 0, member(1))
			flush()
			r.Remove(id(1), "NO_REASON", id(2), noon.Add(-awaitSuccessor))
			return []string{flush(), "-1:NO_REASON"}
		}},
		{"the new connection ends before the old one", func(r *Roster, flush func() string) []string {
			r.Put(1, 0, member(1))
			r.Put(2, 0, replacing(2, 1))
			a := flush()
			r.Remove(id(2), Lost, none, noon)
			return []string{a, "+2", flush(), "2>1"}
		}},
		{"there and back in between", func(r *Roster, flush func() string) []string {
			r.Put(1, 0, member(1))
			flush()
			r.Put(2, 0, replacing(2, 1))
			r.Remove(id(2), Lost, none, noon)
			return []string{flush(), ""}
		}},
		{"two moves in between", func(r *Roster, flush func() string) []string {
			r.Put(1, 0, member(1))
			flush()
			r.Put(2, 0, replacing(2, 1))
			r.Remove(id(1), "NO_REASON", none, noon)
			r.Put(1, 0, replacing(3, 2))
			r.Remove(id(2), "NO_REASON", none, noon)
			return []string{flush(), "1>3"}
		}},
		{"the middle of three connections ends first", func(r *Roster, flush func() string) []string {
			r.Put(1, 0, member(1))
			r.Put(2, 0, replacing(2, 1))
			r.Put(1, 0, replacing(3, 2))
			a := flush()
			r.Remove(id(2), "NO_REASON", none, noon)
			b := flush()
			r.Remove(id(3), Lost, none, noon)
			return []string{a, "+3", b, "", flush(), "3>1"}
		}},
		{"the new connection is heard of first", func(r *Roster, flush func() string) []string {
			r.Put(2, 0, replacing(2, 1))
			a := flush()
			r.Put(1, 0, member(1))
			b := flush()
			r.Remove(id(1), "NO_REASON", none, noon)
			return []string{a, "+2", b, "", flush(), ""}
		}},
		{"the last of three connections is heard of first", func(r *Roster, flush func() string) []string {
			r.Put(2, 0, replacing(3, 2))
			r.Put(1, 0, member(1))
			r.Put(3, 0, replacing(2, 1))
			return []string{flush(), "+3"}
		}},
		{"a successor that is a stranger", func(r *Roster, flush func() string) []string {
			r.Put(1, 0, member(1))
			r.Put(1, 0, replacing(2, 9))
			a := flush()
			r.Remove(id(1), Lost, none, noon)
			return []string{a, "+1 +2", flush(), "-1:LOST"}
		}},
		{"other meta", func(r *Roster, flush func() string) []string {
			r.Put(1, 0, member(1))
			flush()
			m := member(1)
			m.About = []byte("1/x")
			r.Put(1, 0, m)
			a := flush()
			r.Put(1, 0, m)
			return []string{a, "~1/x", flush(), ""}
		}},
		{"an instance is lost, and was only silent", func(r *Roster, flush func() string) []string {
			r.Put(1, 0, member(1))
			r.Put(2, 0, member(2))
			flush()
			r.Drop(2, InstanceLost, noon)
			a := flush()
			r.Put(2, 1, member(2))
			return []string{a, "-2:INSTANCE_LOST", flush(), "+2"}
		}},
		{"the difference after an outage", func(r *Roster, flush func() string) []string {
			for n := range 3 {
				r.Put(1, 1, member(n))
			}
			r.Put(2, 0, member(3))
			flush()
			r.Put(1, 2, member(1))
			r.Put(1, 2, member(4))
			r.Settle(1, 2, noon)
			return []string{flush(), "+4 -0:LOST -2:LOST"}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var r Roster
			s := seen{}
			got := test.do(&r, func() string {
				changes := r.Flush(nil, all, noon)
				s.apply(t, changes)
				return describe(changes)
			})
			for i := 0; i < len(got); i += 2 {
				if got[i] != got[i+1] {
					t.Errorf("frame %d is %q, want %q", i/2, got[i], got[i+1])
				}
			}
		})
	}
}

func TestFlushIsBounded(t *testing.T) {
	t.Parallel()
	var r Roster
	for n := range 100 {
		r.Put(1, 0, member(n))
	}
	s := seen{}
	frames := 0
	for ; r.Changed(); frames++ {
		s.apply(t, r.Flush(nil, 1000, noon))
	}
	if len(s) != 100 || frames < 5 {
		t.Errorf("%d members in %d frames", len(s), frames)
	}
}

// TestPagesAndChangesGiveTheSet: watchers that begin at any time and read at any speed have the set, and never hear of a
// member that they were not told of.
func TestPagesAndChangesGiveTheSet(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 1))
		var r Roster
		type watcher struct {
			set         seen
			after, last uint64
			live        bool
		}
		var watchers []*watcher
		next := 0
		here := map[int]bool{}
		pick := func() int { return slices.Sorted(maps.Keys(here))[random.IntN(len(here))] }
		for range 400 {
			switch random.IntN(8) {
			case 0, 1, 2:
				r.Put(1, 0, member(next))
				here[next] = true
				next++
			case 3:
				if len(here) > 0 {
					n := pick()
					delete(here, n)
					r.Remove(id(n), Lost, uuid.Nil, noon)
				}
			case 4:
				if len(here) > 0 {
					n := pick()
					r.Put(1, 0, replacing(next, n))
					r.Remove(id(n), Lost, uuid.Nil, noon)
					delete(here, n)
					here[next] = true
					next++
				}
			case 5:
				changes := r.Flush(nil, 1+random.IntN(2000), noon)
				for _, w := range watchers {
					var mine []Change
					for _, c := range changes {
						if w.live || c.Position <= w.after || c.Position > w.last {
							mine = append(mine, c)
						}
					}
					w.set.apply(t, mine)
				}
			case 6:
				watchers = append(watchers, &watcher{set: seen{}, last: r.Last()})
			case 7:
				for _, w := range watchers {
					if w.live || random.IntN(2) == 0 {
						continue
					}
					page, after, more := r.Page(nil, w.after, w.last, 1+random.IntN(30))
					for _, about := range page {
						w.set.apply(t, []Change{{Kind: Joined, ID: idOf(about), About: about}})
					}
					w.after, w.live = after, !more
				}
			}
		}
		for _, w := range watchers {
			for !w.live {
				page, after, more := r.Page(nil, w.after, w.last, 50)
				for _, about := range page {
					w.set.apply(t, []Change{{Kind: Joined, ID: idOf(about), About: about}})
				}
				w.after, w.live = after, !more
			}
		}
		changes := r.Flush(nil, all, noon)
		for _, w := range watchers {
			w.set.apply(t, changes)
			if len(w.set) != len(here) || r.Len() != len(here) {
				t.Fatalf("seed %d: a watcher has %d members, the roster %d, there are %d", seed, len(w.set), r.Len(), len(here))
			}
			for n := range here {
				if _, ok := w.set[id(n)]; !ok {
					t.Fatalf("seed %d: a watcher misses %d", seed, n)
				}
			}
		}
	}
}

// TestRosterFollowsLedgers: the ledgers of some instances, read over streams that lag by any time, give the set that the
// instances have, whatever moves from one to another.
func TestRosterFollowsLedgers(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 2))
		const instances = 3
		var r Roster
		var ledgers [instances]Ledger
		var queues [instances][]Op
		here := map[int]int{} // instances of the members
		next := 0
		s := seen{}
		pick := func() int { return slices.Sorted(maps.Keys(here))[random.IntN(len(here))] }
		for range 500 {
			switch i := random.IntN(instances); random.IntN(6) {
			case 0, 1:
				ledgers[i].Put(member(next))
				here[next] = i
				next++
			case 2:
				if len(here) > 0 {
					n := pick()
					ledgers[here[n]].Remove(id(n), Lost, uuid.Nil)
					delete(here, n)
				}
			case 3:
				if len(here) > 0 {
					n := pick()
					ledgers[i].Put(replacing(next, n))
					ledgers[here[n]].Remove(id(n), "NO_REASON", id(next))
					delete(here, n)
					here[next] = i
					next++
				}
			case 4:
				queues[i] = ledgers[i].Flush(queues[i])
			case 5:
				n := random.IntN(len(queues[i]) + 1)
				var b []byte
				for j := range n {
					b = AppendOp(b, &queues[i][j])
				}
				queues[i] = queues[i][n:]
				if !EachOp(b, func(op *Op) { apply(&r, uint32(i), op) }) {
					t.Fatal("what was encoded can't be decoded")
				}
				s.apply(t, r.Flush(nil, all, noon))
			}
		}
		for i := range ledgers {
			for _, op := range ledgers[i].Flush(queues[i]) {
				apply(&r, uint32(i), &op)
			}
		}
		s.apply(t, r.Flush(nil, all, noon.Add(time.Minute)))
		if len(s) != len(here) {
			t.Fatalf("seed %d: the watcher has %d members, want %d", seed, len(s), len(here))
		}
		for n := range here {
			if _, ok := s[id(n)]; !ok {
				t.Fatalf("seed %d: the watcher misses %d", seed, n)
			}
		}
	}
}

func apply(r *Roster, source uint32, op *Op) {
	if op.Left {
		r.Remove(op.ID, op.Reason, op.Successor, noon)
		return
	}
	r.Put(source, 0, op.Member)
}

// TestLedgerPagesHaveEveryMember: pages, with the changes between them, give the set.
func TestLedgerPagesHaveEveryMember(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 3))
		var l Ledger
		here := map[int]bool{}
		got := map[uuid.UUID]bool{}
		next, from := 0, Start
		change := func() {
			if random.IntN(2) == 0 && len(here) > 0 {
				n := slices.Sorted(maps.Keys(here))[random.IntN(len(here))]
				l.Remove(id(n), Lost, uuid.Nil)
				delete(here, n)
				return
			}
			l.Put(member(next))
			here[next] = true
			next++
		}
		for range 50 {
			change()
		}
		l.Flush(nil)
		for from != 0 {
			var page []Member
			page, from = l.Page(nil, from, 1+random.IntN(100))
			for _, m := range page {
				got[m.ID] = true
			}
			for range random.IntN(5) {
				change()
			}
			for _, op := range l.Flush(nil) {
				if op.Left {
					delete(got, op.ID)
				} else {
					got[op.ID] = true
				}
			}
		}
		if len(got) != len(here) || l.Len() != len(here) {
			t.Fatalf("seed %d: %d members in pages, %d in the ledger, want %d", seed, len(got), l.Len(), len(here))
		}
	}
}

func FuzzEachOp(f *testing.F) {
	f.Add(AppendOp(AppendOp(nil, &Op{Member: replacing(1, 2)}), &Op{Member: Member{ID: id(1)}, Left: true, Reason: Lost, Successor: id(3)}))
	f.Add([]byte{9, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		var again []byte
		ok := EachOp(b, func(op *Op) { again = AppendOp(again, op) })
		if ok && !EachOp(again, func(*Op) {}) {
			t.Error("what was decoded can't be encoded")
		}
		EachStream(b, func(uint64, uint64) {})
		ParseHeader(b)
	})
}
