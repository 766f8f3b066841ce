package meter

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// near reports whether a is within a part of b.
func near(a, b, part float64) bool { return math.Abs(a-b) <= part*b }

// TestWindows adds at a steady rate, then stops: the rates are right at all times, whatever part of a bucket has passed.
func TestWindows(t *testing.T) {
	t.Parallel()
	var table Table[int, string]
	begin := uint32(1<<20 + 777)
	now := begin
	rates := func(at uint32) (short, long Counts) {
		table.Each(at, func(key int, _ string, s, l Counts) {
			if key == 7 {
				short, long = s, l
			}
		})
		return short, long
	}
	for ; now < begin+400_000; now += 10 {
		table.Add(now, 7, Counts{1, 100, 2, 300})
		if since := now - begin; since > Long+longStep && since%3330 == 0 {
			short, long := rates(now)
			for n, want := range (Counts{100, 10_000, 200, 30_000}) {
				if !near(short[n], want, 0.01) || !near(long[n], want, 0.01) {
					t.Fatalf("after %d ms: %v and %v a second", since, short, long)
				}
			}
		}
	}
	if short, _ := rates(now + Short/2); !near(short[In], 50, 0.05) {
		t.Errorf("five seconds after the end: %v", short)
	}
	short, long := rates(now + Short + shortStep)
	if short != (Counts{}) || !near(long[In], 100*(1-float64(Short+shortStep)/Long), 0.05) {
		t.Errorf("12 s after the end: %v and %v", short, long)
	}
	if short, long := rates(now + Long + longStep); short != (Counts{}) || long != (Counts{}) {
		t.Errorf("6 min after the end: %v and %v", short, long)
	}
}

// TestSampling passes many more messages by than are taken. Senders take turns, which even steps would be wrong about.
func TestSampling(t *testing.T) {
	t.Parallel()
	for _, batch := range []int{1, 7, 1000} {
		var s Sampler
		const senders, perMilli = 8, 1000
		var counts, truth [senders]float64
		taken, i := 0, 0
		for now := uint32(5); now < 12_000; now++ {
			for left := perMilli; left > 0; {
				n := min(batch, left)
				left -= n
				for n > 0 {
					passed := n
					if !s.Pass(n) {
						at, weight := s.Take(now)
						passed = at + 1
						counts[(i+at)%senders] += weight
						taken++
					}
					for range passed {
						truth[i%senders]++
						i++
					}
					n -= passed
				}
			}
		}
		for n := range counts {
			if !near(counts[n], truth[n], 0.05) {
				t.Errorf("batches of %d: %.0f messages of sender %d, want %.0f", batch, counts[n], n, truth[n])
			}
		}
		if most := 6*target + 10*2*target; taken > most {
			t.Errorf("batches of %d: %d messages were taken, at most %d are to be", batch, taken, most)
		}
	}
}

// TestFewMessagesAreAllTaken counts exactly while there is little to count.
func TestFewMessagesAreAllTaken(t *testing.T) {
	t.Parallel()
	var s Sampler
	for now := uint32(0); now < 60_000; now++ {
		for range 2 {
			if s.Pass(1) {
				t.Fatalf("at %d ms a message is passed over", now)
			}
			if at, weight := s.Take(now); at != 0 || weight != 1 {
				t.Fatalf("at %d ms a message is the %d. and stands for %v", now, at, weight)
			}
		}
	}
}

// TestZipf has 10,000 keys whose rates fall as Zipf's do, many more than a table has room for: the busiest are right.
func TestZipf(t *testing.T) {
	t.Parallel()
	const keys = 10_000
	random := rand.New(rand.NewPCG(1, 2))
	zipf := rand.NewZipf(random, 1.07, 1, keys-1)
	var table Table[uint64, string]
	truth := make(map[uint64]float64)
	now := uint32(0)
	for i := range 400_000 {
		now = uint32(i / 40) // ten seconds
		k := zipf.Uint64()
		truth[k] += 0.1
		table.Add(now, k, Counts{1})
	}
	if len(table.entries) != Size || len(table.index) != Size {
		t.Fatalf("%d entries, %d in the index", len(table.entries), len(table.index))
	}
	type sum struct {
		key  uint64
		rate float64
	}
	var found []sum
	table.Each(now, func(k uint64, _ string, short, _ Counts) { found = append(found, sum{k, short[In]}) })
	slices.SortFunc(found, func(a, b sum) int { return cmp.Compare(b.rate, a.rate) })
	for n, f := range found[:20] {
		if f.key > uint64(n)+4 || !near(f.rate, truth[f.key], 0.1) {
			t.Errorf("place %d: %d with %.0f/s, and it has %.0f/s", n, f.key, f.rate, truth[f.key])
		}
	}
}

// TestClockWraps goes on beyond the greatest time.
func TestClockWraps(t *testing.T) {
	t.Parallel()
	var table Table[int, string]
	var s Sampler
	now := ^uint32(0) - 20_000
	for range 4000 {
		now += 10
		if !s.Pass(1) {
			s.Take(now)
			table.Add(now, 1, Counts{1})
		}
	}
	table.Each(now, func(_ int, _ string, short, _ Counts) {
		if !near(short[In], 100, 0.05) {
			t.Errorf("%v a second", short)
		}
	})
}

func BenchmarkPassedOver(b *testing.B) {
	s := Sampler{step: 1 << 20, left: 1 << 30}
	for b.Loop() {
		s.Pass(1)
	}
}

func BenchmarkTaken(b *testing.B) {
	var table Table[[16]byte, string]
	var key [16]byte
	now := uint32(0)
	for b.Loop() {
		now++
		key[0], key[1] = byte(now), byte(now>>8)&1
		table.Add(now/100, key, Counts{1, 100})
	}
}

// BenchmarkReplaced adds keys that push out others, each time.
func BenchmarkReplaced(b *testing.B) {
	var table Table[uint32, string]
	now := uint32(0)
	for b.Loop() {
		now++
		table.Add(now/100, now, Counts{1, 100})
	}
}
