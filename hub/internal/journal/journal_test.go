package journal

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

// all returns the entries from the newest to the oldest.
func all(j *Journal) (entries []Entry) {
	j.Newest(func(e *Entry) bool {
		entries = append(entries, *e)
		return true
	})
	return entries
}

func TestEntriesComeBackAsTheyWere(t *testing.T) {
	t.Parallel()
	var j Journal
	now := time.Now()
	long := strings.Repeat("x", maxText+1)
	added := []Entry{
		{Kind: 1, Type: 2, Client: [16]byte{1, 2, 3}, Address: netip.MustParseAddrPort("127.0.0.1:42"), Name: "billing", Token: "t"},
		{Kind: 3, Rare: true, Address: netip.MustParseAddrPort("[::1]:65535"), Subject: "s\x00", Group: "g", Reason: "R", Detail: "d", By: "root", Omitted: 1 << 31},
		{},
		{Kind: 255, Name: long},
	}
	for i := range added {
		j.Add(now.Add(-time.Duration(i)*time.Second), &added[i]) // the clock may go back, and the entries' time does not
	}
	got := all(&j)
	if len(got) != len(added) {
		t.Fatalf("%d entries, want %d", len(got), len(added))
	}
	for i := range got {
		want := added[len(added)-1-i]
		want.At = time.UnixMicro(now.UnixMicro()).UTC()
		want.Seq = uint64(len(added) - i)
		want.Name = want.Name[:min(len(want.Name), maxText)]
		if got[i] != want {
			t.Errorf("got %+v\nwant %+v", got[i], want)
		}
	}
}

// TestBounds adds many entries of both rings: each keeps its last ones, and no more memory than it may.
// It counts allocations, and so runs alone.
func TestBounds(t *testing.T) {
	for _, test := range []struct {
		text int
		kept int // of what is usual, at least
	}{{0, Usual}, {100, Usual}, {maxText, usualBytes/(fixedBytes+maxText) - chunkBytes/(fixedBytes+maxText)}} {
		t.Run(fmt.Sprint(test.text), func(t *testing.T) {
			var j Journal
			text := strings.Repeat("x", test.text)
			j.Add(time.Now(), &Entry{Rare: true, Name: "first"})
			for range 5 * Usual {
				j.Add(time.Now(), &Entry{Name: text})
			}
			got := all(&j)
			if last := got[len(got)-1]; last.Name != "first" || !last.Rare {
				t.Errorf("what is rare was pushed out: the oldest is %+v", last)
			}
			usual := len(got) - 1
			if slack := 2 * chunkBytes / (8 + 8 + 2 + 1 + 16 + 1 + 7); usual < test.kept || usual > Usual+slack {
				t.Errorf("%d entries are kept, want %d to %d", usual, test.kept, Usual+slack)
			}
			for i := range got[:usual-1] {
				if got[i].Seq != got[i+1].Seq+1 {
					t.Fatalf("after %d comes %d", got[i].Seq, got[i+1].Seq)
				}
			}
			memory := 0
			for _, c := range j.rings[0].chunks {
				memory += cap(c.bytes)
			}
			if memory > usualBytes {
				t.Errorf("%d bytes, more than %d", memory, usualBytes)
			}
			e := Entry{Name: text}
			if n := testing.AllocsPerRun(1000, func() { j.Add(time.Now(), &e) }); n > 0 {
				t.Errorf("an entry costs %v allocations", n)
			}
		})
	}
}

// TestReadersAndWriters reads while several goroutines write: the order stays, and nothing is read twice.
func TestReadersAndWriters(t *testing.T) {
	t.Parallel()
	var j Journal
	var writers sync.WaitGroup
	for range 4 {
		writers.Go(func() {
			for i := range 3000 {
				j.Add(time.Now(), &Entry{Name: "someone", Rare: i%5 == 0})
			}
		})
	}
	for range 20 {
		last := uint64(1 << 63)
		j.Newest(func(e *Entry) bool {
			if e.Seq >= last || e.Name != "someone" {
				t.Errorf("after %d comes %d, %q", last, e.Seq, e.Name)
			}
			last = e.Seq
			return true
		})
	}
	writers.Wait()
	if n := len(all(&j)); n != 12_000 && n < Usual-Usual/5 {
		t.Errorf("%d entries", n)
	}
}

func BenchmarkAdd(b *testing.B) {
	var j Journal
	e := Entry{Name: "billing-7", Token: "billing", Group: "billing", Address: netip.MustParseAddrPort("10.1.2.3:45678")}
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		j.Add(now, &e)
	}
}
