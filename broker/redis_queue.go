package broker

// deque is a queue open at both ends, in a ring that grows.
type deque[T any] struct {
	ring []T
	head int
	n    int
}

func (d *deque[T]) len() int { return d.n }

// at returns the element at i from the front; i must be less than len.
func (d *deque[T]) at(i int) T { return d.ring[(d.head+i)&(len(d.ring)-1)] }

func (d *deque[T]) pushBack(v T) {
	d.grow()
	d.ring[(d.head+d.n)&(len(d.ring)-1)] = v
	d.n++
}

func (d *deque[T]) pushFront(v T) {
	d.grow()
	d.head = (d.head - 1) & (len(d.ring) - 1)
	d.ring[d.head] = v
	d.n++
}

// popFront returns false where the deque is empty.
func (d *deque[T]) popFront() (v T, ok bool) {
	if d.n == 0 {
		return v, false
	}
	var none T
	v, d.ring[d.head] = d.ring[d.head], none
	d.head = (d.head + 1) & (len(d.ring) - 1)
	d.n--
	return v, true
}

// popBack returns false where the deque is empty.
func (d *deque[T]) popBack() (v T, ok bool) {
	if d.n == 0 {
		return v, false
	}
	var none T
	at := (d.head + d.n - 1) & (len(d.ring) - 1)
	v, d.ring[at] = d.ring[at], none
	d.n--
	return v, true
}

// grow makes room for one more; the ring's length is a power of two.
func (d *deque[T]) grow() {
	if d.n < len(d.ring) {
		return
	}
	ring := make([]T, max(16, 2*len(d.ring)))
	k := copy(ring, d.ring[d.head:])
	copy(ring[k:], d.ring[:d.head])
	d.ring, d.head = ring, 0
}

// The arena's measures, in bytes.
const (
	blockSize  = 256 << 10
	blockShare = blockSize / 4 // what is larger gets a block of its own
	spareLimit = 8             // empty blocks kept
)

// arena hands out memory that is given back in roughly the order in which it was taken, without garbage.
type arena struct {
	current *block
	spare   []*block
}

// block is memory shared by several owners.
type block struct {
	buf  []byte // its length is what was handed out
	live int    // owners
}

// take returns an empty slice of capacity n and the block to release it to.
func (a *arena) take(n int) ([]byte, *block) {
	if n > blockShare {
		return make([]byte, 0, n), nil
	}
	b := a.current
	if b == nil || cap(b.buf)-len(b.buf) < n {
		b = a.next()
	}
	at := len(b.buf)
	b.buf = b.buf[:at+n]
	b.live++
	return b.buf[at : at : at+n], b
}

func (a *arena) next() *block {
	if last := len(a.spare) - 1; last >= 0 {
		a.current = a.spare[last]
		a.spare = a.spare[:last]
	} else {
		a.current = &block{buf: make([]byte, 0, blockSize)}
	}
	return a.current
}

// release gives back what take returned with b.
func (a *arena) release(b *block) {
	if b == nil {
		return
	}
	if b.live--; b.live > 0 {
		return
	}
	b.buf = b.buf[:0]
	if b != a.current && len(a.spare) < spareLimit {
		a.spare = append(a.spare, b)
	}
}
