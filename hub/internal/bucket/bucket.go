// Package bucket bounds the rate of what happens on one goroutine, without allocating and without a clock of its own.
package bucket

// Bucket lets a number of things pass in a second, all of them at once after a silence. Its zero value lets nothing pass.
type Bucket struct {
	rate  int64 // a second
	level int64 // thousandths of what may pass now
	at    uint32
	begun bool
}

// New returns a full Bucket.
func New(perSecond int) Bucket { return Bucket{rate: int64(perSecond)} }

// Take reports whether one more may pass at a time in milliseconds, of a clock that wraps.
func (b *Bucket) Take(now uint32) bool {
	if !b.begun {
		b.begun, b.at, b.level = true, now, b.rate*1000
	}
	passed := min(int64(now-b.at), 1000)
	b.at = now
	b.level = min(b.level+passed*b.rate, b.rate*1000)
	if b.level < 1000 {
		return false
	}
	b.level -= 1000
	return true
}
