package history

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestPayload changes every byte of payloads and truncates them everywhere.
func TestPayload(t *testing.T) {
	t.Parallel()
	for _, pad := range []int{2, 7, 8, 9, 1000} {
		data := AppendPayload(nil, 12, 345, pad)
		s, n, known, err := ParsePayload(data)
		if s != 12 || n != 345 || !known || err != nil {
			t.Fatalf("pad %d: got %d, %d, %v, %v", pad, s, n, known, err)
		}
		if want := len(`{"s":12,"n":345,"pad":""}`) + pad; len(data) != want {
			t.Errorf("pad %d: %d bytes, want %d", pad, len(data), want)
		}
		for i := range data {
			bad := bytes.Clone(data)
			bad[i]++
			if _, _, _, err := ParsePayload(bad); err == nil {
				t.Errorf("pad %d: byte %d changed unnoticed", pad, i)
			}
			if _, _, _, err := ParsePayload(data[:i]); err == nil {
				t.Errorf("pad %d: cut unnoticed after %d bytes", pad, i)
			}
		}
	}
	if _, _, _, err := ParsePayload([]byte(`{"s":1234567890,"n":1,"pad":""}`)); err == nil {
		t.Error("a number beyond the range was taken")
	}
}

func TestParseID(t *testing.T) {
	t.Parallel()
	if n, ok := ParseID(AppendID(nil, 7, 123), 7); n != 123 || !ok {
		t.Errorf("got %d, %v", n, ok)
	}
	for _, id := range []string{"", "m", "m7", "m7-", "m7-x", "m7-1x", "m8-1", "7-1"} {
		if _, ok := ParseID([]byte(id), 7); ok {
			t.Errorf("%q was taken", id)
		}
	}
}

// TestNDJSON writes a history in two parts and reads them into a third: the verdict is the same.
func TestNDJSON(t *testing.T) {
	t.Parallel()
	m := newModel(rand.New(rand.NewPCG(1, 4)).IntN)
	for range 3000 {
		wander(m)
	}
	m.drain()
	// With some violations, so that the verdict is not empty.
	m.clients[0].Stray("something")
	m.clients[0].sends = append(m.clients[0].sends, send{at: m.clock, to: To{Target: Global}, outcome: accepted, settled: m.clock})
	o := Options{Grace: time.Hour, InFlight: time.Hour}
	want := m.h.Check(o)

	first, second := *New(0), *New(0)
	first.table, second.table = m.h.table[:2], m.h.table[2:]
	merged := New(1000)
	for _, part := range []*History{&first, &second} {
		var file bytes.Buffer
		if err := part.WriteNDJSON(&file); err != nil {
			t.Fatal(err)
		}
		copied := file.Bytes()
		if err := merged.ReadNDJSON(&file); err != nil {
			t.Fatal(err)
		}
		if err := merged.ReadNDJSON(bytes.NewReader(copied)); err == nil {
			t.Error("the same sessions were taken twice")
		}
	}
	if diff := cmp.Diff(want.String(), merged.Check(o).String()); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{`{"session":1,"sent":[]}`, `{"session":99`, `[]`} {
		if err := merged.ReadNDJSON(bytes.NewReader([]byte(bad))); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}

// TestChiSquare compares with tabulated quantiles of the distribution.
func TestChiSquare(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ a, x, want float64 }{
		{0.5, 3.841459 / 2, 0.05}, {1, 5.991465 / 2, 0.05}, {5, 18.30704 / 2, 0.05}, {50, 124.3421 / 2, 0.05},
		{1, 13.815511 / 2, 0.001}, {5, 2.558212 / 2, 0.99}, {50, 70.06489 / 2, 0.99}, {5, 0, 1},
	} {
		if got := upperGamma(c.a, c.x); math.Abs(got-c.want) > 1e-6 {
			t.Errorf("Q(%v, %v) = %v, want %v", c.a, c.x, got, c.want)
		}
	}
	if stat, p := ChiSquare([]int{16, 18, 16, 14, 12, 12}); math.Abs(stat-2) > 1e-12 || math.Abs(p-0.849145) > 1e-6 {
		t.Errorf("got %v, %v", stat, p)
	}
	if _, p := ChiSquare([]int{1000, 1300}); p > 1e-6 {
		t.Errorf("a skewed draw has p %v", p)
	}
	for _, counts := range [][]int{nil, {5}, {0, 0}} {
		if stat, p := ChiSquare(counts); stat != 0 || p != 1 {
			t.Errorf("%v: got %v, %v", counts, stat, p)
		}
	}
}

func TestAnyCounts(t *testing.T) {
	t.Parallel()
	m, senders := lab(1)
	for range 1000 {
		m.send(senders[0], To{Any, "a"})
		m.send(senders[0], To{Group, "a"})
		m.drain()
	}
	counts := m.h.AnyCounts("a")
	if len(counts) != 2 || counts[0]+counts[1] != 1000 {
		t.Fatalf("got %v", counts)
	}
	if _, p := ChiSquare(counts); p < 1e-6 {
		t.Errorf("p %v for %v", p, counts)
	}
}

// big makes a history of n messages with every third sent to all of receivers clients.
func big(tb testing.TB, senders, receivers, n int) *History {
	tb.Helper()
	h := New(0)
	var all []*Session
	for i := range senders + receivers {
		s := h.Session("c")
		s.Identifying(Identity{Groups: []string{fmt.Sprintf("g%d", i%4)}, NoEcho: i < senders, Reports: true})
		s.Identified(fmt.Sprintf("id-%d", i))
		all = append(all, s)
	}
	for i := range n {
		s := all[i%senders]
		var to To
		got := all[senders+i%receivers : senders+i%receivers+1]
		switch i % 3 {
		case 0:
			got = all
		case 1:
			to = To{Direct, got[0].life.ID}
		case 2:
			to = To{Any, got[0].life.Groups[0]}
		}
		k := s.Send(to)
		id, data := AppendID(nil, s.index, k), AppendPayload(nil, s.index, k, 40)
		for _, r := range got {
			if r != s || to.Target != Global {
				r.Arrived(id, []byte(s.life.ID), data)
			}
		}
		s.Accepted(k)
	}
	return h
}

// TestBig checks the speed for the largest runs: 200,000 messages, over two million deliveries.
func TestBig(t *testing.T) {
	n := 200_000
	if testing.Short() {
		n = 20_000
	}
	h := big(t, 20, 12, n)
	begin := time.Now()
	r := h.Check(Options{})
	took := time.Since(begin)
	if err := r.Err(); err != nil || r.Arrivals < 10*n {
		t.Fatalf("%v", r)
	}
	t.Logf("%d messages, %d deliveries checked in %v", r.Messages, r.Arrivals, took)
	if took > 20*time.Second {
		t.Errorf("took %v", took)
	}
	// A run with every message lost must not take longer because of the many violations.
	for _, s := range h.table {
		s.arrivals = nil
	}
	if r := h.Check(Options{}); r.Counts[Lost] < 10*n || len(r.Examples) != 10 {
		t.Errorf("%v", r)
	}
}
