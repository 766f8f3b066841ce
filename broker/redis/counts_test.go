package redis

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/internal/weights"
)

func FuzzCounts(f *testing.F) {
	f.Add(appendCount(appendCount(nil, "workers", 3), "", 1<<39))
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		var again []byte
		err := eachCount(b, func(group string, n int) {
			if n < broker.Expected || len(group) > maxGroupLen {
				t.Errorf("%d members of %q", n, group)
			}
			again = appendCount(again, group, n)
		})
		if err == nil && len(again) > len(b) {
			t.Errorf("%x became %x", b, again)
		}
	})
}

// TestPeerCounts loses, repeats and reorders what one instance tells of its members.
func TestPeerCounts(t *testing.T) {
	t.Parallel()
	w := weights.New()
	var c peerCounts
	delta := func(version uint64, group string, n int) bool {
		ok, err := c.delta(w, 7, appendCount(binary.BigEndian.AppendUint64(nil, version), group, n))
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	part := func(version uint64, i, of uint32, group string, n int) bool {
		be := binary.BigEndian
		b := be.AppendUint32(be.AppendUint32(be.AppendUint64(nil, version), i), of)
		complete, err := c.takePart(w, 7, appendCount(b, group, n))
		if err != nil {
			t.Fatal(err)
		}
		return complete
	}
	if delta(1, "g", 1) {
		t.Error("a delta was taken before all counts were known")
	}
	if part(3, 1, 2, "h", 1) || part(3, 0, 2, "g", 2) || part(3, 0, 2, "g", 2) || !part(3, 1, 2, "h", 5) {
		t.Error("the parts were put together wrongly")
	}
	if !delta(3, "g", 9) || w.Count(7, "g") != 2 || w.Count(7, "h") != 5 {
		t.Error("a delta from before the counts was applied")
	}
	if !delta(4, "g", 4) || w.Count(7, "g") != 4 {
		t.Error("the next delta was not applied")
	}
	if delta(6, "g", 6) || w.Count(7, "g") != 4 {
		t.Error("a gap went unnoticed")
	}
	if part(2, 0, 1, "g", 1) || w.Count(7, "g") != 4 {
		t.Error("counts went back in time")
	}
	if !part(6, 0, 1, "g", 6) || w.Count(7, "g") != 6 || w.Count(7, "h") != 0 {
		t.Error("newer counts were not taken whole")
	}
	for _, counts := range [][]byte{{200}, {1}, {1, 'g'}, {1, 'g', 0xFF}, appendCount(nil, strings.Repeat("g", 256), 1)} {
		b := append(binary.BigEndian.AppendUint64(nil, 1), counts...)
		if _, err := (&peerCounts{known: true}).delta(w, 7, b); err == nil {
			t.Errorf("%x was accepted", b)
		}
	}
}
