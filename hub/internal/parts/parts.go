// Package parts keeps which clients of one loop owe an answer to which requests. It belongs to that loop.
package parts

// Index names a part in a Table; 0 is none. It may name another part once the part is removed.
type Index uint32

// Table holds parts. Each is one client's share in one request, a T, and takes 32 bytes, and 4 to 8 of the hash table.
// Every operation takes constant time.
type Table[T any] struct {
	hash    func(*T) uint32
	buckets []Index // the first part of each chain; their number is a power of two
	chunks  []*[chunk]part[T]
	free    Index   // the first of those to use again, chained by chain
	used    Index   // the highest index that was ever used
	len     int     // parts in the table
	on      []Index // the first part of each connection, by its slot
}

const chunk = 256 // parts that are allocated together

// part is one client's share in a request.
type part[T any] struct {
	of    *T
	slot  uint32 // the connection's; its highest bit: the client has sent a first answer
	chain Index  // the next part in the bucket
	// The other parts of the same connection and of the same request.
	nextOn, prevOn, nextOf, prevOf Index
}

const begun = 1 << 31

// New makes an empty Table. hash must return the same for a request as long as it has parts.
func New[T any](hash func(*T) uint32) *Table[T] {
	return &Table[T]{hash: hash, buckets: make([]Index, 64)}
}

// Len returns the number of parts.
func (t *Table[T]) Len() int { return t.len }

func (t *Table[T]) at(i Index) *part[T] { return &t.chunks[(i-1)/chunk][(i-1)%chunk] }

// Of returns the request that the part belongs to.
func (t *Table[T]) Of(i Index) *T { return t.at(i).of }

// Slot returns the slot of the connection that owes the answer.
func (t *Table[T]) Slot(i Index) uint32 { return t.at(i).slot &^ begun }

// Begin notes that the client has sent a first answer.
func (t *Table[T]) Begin(i Index) { t.at(i).slot |= begun }

// Begun reports whether it has.
func (t *Table[T]) Begun(i Index) bool { return t.at(i).slot&begun != 0 }

// NextOf returns the next part of the same request, whose first the caller keeps.
func (t *Table[T]) NextOf(i Index) Index { return t.at(i).nextOf }

// FirstOn returns a part of the connection in that slot, and NextOn the next one of the same connection.
func (t *Table[T]) FirstOn(slot uint32) Index {
	if int(slot) >= len(t.on) {
		return 0
	}
	return t.on[slot]
}

// NextOn is described at FirstOn.
func (t *Table[T]) NextOn(i Index) Index { return t.at(i).nextOn }

// Find returns the part of the connection in that slot in a request with that hash for which is returns true; 0 if there is
// none.
func (t *Table[T]) Find(slot, hash uint32, is func(*T) bool) Index {
	for i := t.buckets[t.bucket(slot, hash)]; i != 0; {
		p := t.at(i)
		if p.slot&^begun == slot && is(p.of) {
			return i
		}
		i = p.chain
	}
	return 0
}

// bucket mixes the slot into the hash of the request, so that the parts of one request are spread.
func (t *Table[T]) bucket(slot, hash uint32) uint32 {
	h := (hash ^ slot*0x9e3779b1) * 0x85ebca6b
	return (h ^ h>>15) & uint32(len(t.buckets)-1)
}

// Add adds the part of the connection in that slot in the request of. first is the request's first part, which Add changes.
func (t *Table[T]) Add(slot uint32, of *T, first *Index) {
	if t.len >= 2*len(t.buckets) {
		t.resize(2 * len(t.buckets))
	}
	i := t.take()
	p := t.at(i)
	for int(slot) >= len(t.on) {
		t.on = append(t.on, 0)
	}
	b := t.bucket(slot, t.hash(of))
	*p = part[T]{of: of, slot: slot, chain: t.buckets[b], nextOn: t.on[slot], nextOf: *first}
	t.buckets[b] = i
	if p.nextOn != 0 {
		t.at(p.nextOn).prevOn = i
	}
	if p.nextOf != 0 {
		t.at(p.nextOf).prevOf = i
	}
	t.on[slot], *first = i, i
	t.len++
}

// take returns an index that is not used.
func (t *Table[T]) take() Index {
	if i := t.free; i != 0 {
		t.free = t.at(i).chain
		return i
	}
	if int(t.used) == chunk*len(t.chunks) {
		t.chunks = append(t.chunks, new([chunk]part[T]))
	}
	t.used++
	return t.used
}

// Remove removes the part. first is the first part of its request, which Remove may change.
func (t *Table[T]) Remove(i Index, first *Index) {
	p := t.at(i)
	slot := p.slot &^ begun
	link := &t.buckets[t.bucket(slot, t.hash(p.of))]
	for *link != i {
		link = &t.at(*link).chain
	}
	*link = p.chain
	if p.nextOn != 0 {
		t.at(p.nextOn).prevOn = p.prevOn
	}
	if p.prevOn != 0 {
		t.at(p.prevOn).nextOn = p.nextOn
	} else {
		t.on[slot] = p.nextOn
	}
	if p.nextOf != 0 {
		t.at(p.nextOf).prevOf = p.prevOf
	}
	if p.prevOf != 0 {
		t.at(p.prevOf).nextOf = p.nextOf
	} else {
		*first = p.nextOf
	}
	*p = part[T]{chain: t.free}
	t.free = i
	if t.len--; t.len == 0 && t.used > 4*chunk {
		t.chunks, t.free, t.used, t.on = nil, 0, 0, nil // what a burst took
		t.buckets = make([]Index, 64)
	}
}

// resize rebuilds the hash table with n chains.
func (t *Table[T]) resize(n int) {
	old := t.buckets
	t.buckets = make([]Index, n)
	for _, i := range old {
		for i != 0 {
			p := t.at(i)
			next := p.chain
			b := t.bucket(p.slot&^begun, t.hash(p.of))
			p.chain, t.buckets[b] = t.buckets[b], i
			i = next
		}
	}
}
