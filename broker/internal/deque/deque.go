// Package deque is a queue that is open at both ends.
package deque

// Deque is a queue open at both ends, in a ring that grows.
type Deque[T any] struct {
	ring []T
	head int
	n    int
}

func (d *Deque[T]) Len() int { return d.n }

// At returns the element at i from the front; i must be less than len.
func (d *Deque[T]) At(i int) T { return d.ring[(d.head+i)&(len(d.ring)-1)] }

func (d *Deque[T]) PushBack(v T) {
	d.grow()
	d.ring[(d.head+d.n)&(len(d.ring)-1)] = v
	d.n++
}

func (d *Deque[T]) PushFront(v T) {
	d.grow()
	d.head = (d.head - 1) & (len(d.ring) - 1)
	d.ring[d.head] = v
	d.n++
}

// PopFront returns false where the deque is empty.
func (d *Deque[T]) PopFront() (v T, ok bool) {
	if d.n == 0 {
		return v, false
	}
	var none T
	v, d.ring[d.head] = d.ring[d.head], none
	d.head = (d.head + 1) & (len(d.ring) - 1)
	d.n--
	return v, true
}

// PopBack returns false where the deque is empty.
func (d *Deque[T]) PopBack() (v T, ok bool) {
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
func (d *Deque[T]) grow() {
	if d.n < len(d.ring) {
		return
	}
	ring := make([]T, max(16, 2*len(d.ring)))
	k := copy(ring, d.ring[d.head:])
	copy(ring[k:], d.ring[:d.head])
	d.ring, d.head = ring, 0
}
