// Package meter finds what is busiest, in bounded memory, and measures it.
//
// A Sampler chooses which messages are measured: all of them while these are few, else one in so many, at random. Each stands
// for as many as were passed over, so that the sums stay right. A Table keeps the sums of what is busiest (Space-Saving, after
// Metwally, Agrawal and El Abbadi) in buckets of time, which give the rates over the last ten seconds and five minutes.
//
// Samplers and tables belong to one goroutine. Times are milliseconds of a clock that wraps.
package meter

import "slices"

// The windows, and the buckets that they consist of.
const (
	Short = 10_000
	Long  = 300_000

	buckets   = 5 // of a window
	shortStep = Short / buckets
	longStep  = Long / buckets
)

// Counts are messages and bytes: those that came from something, and those that went to it.
type Counts [4]float64

// The places in Counts.
const (
	In = iota
	InBytes
	Out
	OutBytes
)

// Sampler chooses messages. Its zero value takes all of the first ones.
type Sampler struct {
	left   int32  // the message that comes so many from now is taken
	step   int32  // one of so many is taken on average; 0 stands for 1
	taken  int32  // in the bucket
	bucket uint32 // number of it
	random uint32
}

const (
	target = 4_000 // how many messages are taken in the time of a short bucket, about
	// Large is the size from which on every message is taken that goes to one receiver: those that are passed over weigh much.
	Large = 4096
)

// Pass passes over the next n messages, unless one of them is to be taken: see Take.
func (s *Sampler) Pass(n int) bool {
	if int(s.left) < n {
		return false
	}
	s.left -= int32(n)
	return true
}

// Take returns which message is taken, counted from 0, and how many it stands for, where Pass has returned false. It has then
// passed over those before it, and it.
func (s *Sampler) Take(now uint32) (at int, stands float64) {
	at = int(s.left)
	weight := max(s.step, 1)
	s.taken++
	if b := now / shortStep; b != s.bucket {
		s.bucket = b
		s.step = int32(max(int64(weight)*int64(s.taken)/target, 1))
		s.taken = 0
	} else if s.taken >= 2*target {
		s.step, s.taken = 2*weight, target
	}
	s.left = 0
	if s.step > 1 { // even steps would take the same senders again and again, if these take turns
		s.random = s.random*1664525 + 1013904223
		s.left = int32(uint64(s.random) * uint64(2*s.step-1) >> 32)
	}
	return at, float64(weight)
}

// Size bounds the entries of a Table.
const Size = 512

// Table keeps what is busiest. L is what is known of a key besides. The zero Table is empty.
type Table[K comparable, L any] struct {
	index   map[K]int32
	entries []entry[K, L]
	scores  []uint32 // by the same place: how many messages of late, halved once in each long bucket
	short   uint32   // number of the bucket that is filled
	long    uint32
	next    int    // where lowest goes on
	floor   uint32 // the lowest score, or less
}

type entry[K comparable, L any] struct {
	key   K
	label L
	short [buckets + 1]Counts // by the number of the bucket
	long  [buckets + 1]Counts
}

// Add adds to the sums of a key. For one that is new it returns where its label goes, else nil.
func (t *Table[K, L]) Add(now uint32, key K, c Counts) (label *L) {
	t.roll(now)
	i, ok := t.index[key]
	if !ok {
		i = t.enter(key)
		label = &t.entries[i].label
	}
	e := &t.entries[i]
	for n, v := range c {
		e.short[t.short%(buckets+1)][n] += v
		e.long[t.long%(buckets+1)][n] += v
	}
	t.scores[i] += uint32(min(c[In]+c[Out], 1<<20))
	return label
}

// enter makes room for a key. Where there is none, the one with the lowest score goes, and the new one inherits its score:
// what is busy stays, and what becomes busy gets in.
func (t *Table[K, L]) enter(key K) int32 {
	if t.index == nil {
		t.index = make(map[K]int32)
	}
	if len(t.entries) < Size {
		t.entries = append(t.entries, entry[K, L]{key: key})
		t.scores = append(t.scores, 0)
		t.index[key] = int32(len(t.entries) - 1)
		return t.index[key]
	}
	lowest := t.lowest()
	delete(t.index, t.entries[lowest].key)
	t.entries[lowest] = entry[K, L]{key: key}
	t.index[key] = int32(lowest)
	return int32(lowest)
}

// lowest returns the place of an entry with the lowest score. Between two halvings scores only grow, so that the lowest one
// does, too, and the search goes on where the last one ended.
func (t *Table[K, L]) lowest() int {
	for range t.scores {
		if t.next++; t.next >= len(t.scores) {
			t.next = 0
		}
		if t.scores[t.next] <= t.floor {
			return t.next
		}
	}
	t.floor = slices.Min(t.scores)
	return slices.Index(t.scores, t.floor)
}

// roll empties the buckets whose time has come.
func (t *Table[K, L]) roll(now uint32) {
	if short := now / shortStep; short != t.short {
		n := min(short-t.short, buckets+1) // all of them where the clock has wrapped
		for i := range t.entries {
			for b := range n {
				t.entries[i].short[(short-b)%(buckets+1)] = Counts{}
			}
		}
		t.short = short
	}
	if long := now / longStep; long != t.long {
		n := min(long-t.long, buckets+1)
		for i := range t.entries {
			for b := range n {
				t.entries[i].long[(long-b)%(buckets+1)] = Counts{}
			}
			t.scores[i] >>= min(n, 31)
		}
		t.floor = 0
		t.long = long
	}
}

// Each calls f for all keys with their rates a second over the last ten seconds and five minutes. Of the oldest bucket, which
// the window covers in part, that part counts. What has been silent for so long is left out.
func (t *Table[K, L]) Each(now uint32, f func(key K, label L, short, long Counts)) {
	t.roll(now)
	for i := range t.entries {
		e := &t.entries[i]
		short := rate(&e.short, t.short, float64(now%shortStep)/shortStep, Short)
		long := rate(&e.long, t.long, float64(now%longStep)/longStep, Long)
		if long != (Counts{}) || short != (Counts{}) {
			f(e.key, e.label, short, long)
		}
	}
}

// rate returns the counts a second over a window of so many milliseconds. part is how much of the time of the bucket that is
// being filled has passed.
func rate(all *[buckets + 1]Counts, current uint32, part float64, window int) (r Counts) {
	for b, c := range all {
		weight := 1.0
		if uint32(b) == (current+1)%(buckets+1) { // the oldest
			weight = 1 - part
		}
		for n, v := range c {
			r[n] += weight * v * 1000 / float64(window)
		}
	}
	return r
}
