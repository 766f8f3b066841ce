// Package journal keeps the last events of an instance in memory, for operators.
//
// A Journal has two rings: one for what clients do all the time, and one for what is rare, so that a thousand clients that
// reconnect don't push out the change of the broker that made them. Entries are encoded into chunks without pointers: adding
// one allocates nothing once the chunks exist, and the garbage collector has nothing to follow.
//
// Any goroutine may use a Journal. Add holds its mutex for the encoding of one entry, and a reader for the copy of one chunk.
package journal

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Bounds of a Journal. A ring keeps its last entries, at least as many as its bound and at most those of two more chunks,
// while they fit into its chunks.
const (
	Usual      = 10_000 // entries that are usual
	Rare       = 2_000  // entries that are rare
	chunkBytes = 32 << 10
	usualBytes = 3 << 20
	rareBytes  = 1 << 20
	maxText    = 512 // bytes of a text; the rest is cut off
)

// Entry is one event.
type Entry struct {
	Seq     uint64    // set by Add: greater than that of each entry before
	At      time.Time // set by Add: not before that of the entry before, in microseconds
	Kind    uint8
	Type    uint8 // the kind of client
	Rare    bool  // it belongs to the ring of what is rare
	Omitted uint32
	Client  [16]byte // zero for none
	Address netip.AddrPort

	Name, Token, Subject, Group, Reason, Detail, By string
}

func (e *Entry) texts() [7]*string {
	return [...]*string{&e.Name, &e.Token, &e.Subject, &e.Group, &e.Reason, &e.Detail, &e.By}
}

// Journal keeps entries. Its zero value is an empty one.
type Journal struct {
	mu    sync.Mutex
	seq   uint64
	at    int64 // of the last entry, in microseconds of Unix time
	rings [2]ring
}

// ring keeps the last entries of one kind.
type ring struct {
	first   uint64   // number of chunks[0]
	chunks  []*chunk // the last one is written
	entries int
}

type chunk struct {
	entries int
	bytes   []byte // of entries, one after the other; its capacity is chunkBytes
}

// Add keeps an entry, and forgets the oldest ones of its ring if these are too many. It does not keep e.
func (j *Journal) Add(now time.Time, e *Entry) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.seq++
	j.at = max(j.at, now.UnixMicro())
	e.Seq, e.At = j.seq, time.UnixMicro(j.at)
	r, entries, bytes := &j.rings[0], Usual, usualBytes
	if e.Rare {
		r, entries, bytes = &j.rings[1], Rare, rareBytes
	}
	c := r.room(e.size(), entries, bytes/chunkBytes)
	c.bytes = e.append(c.bytes)
	c.entries++
	r.entries++
}

// room returns the chunk for an entry of at most so many bytes.
func (r *ring) room(size, entries, chunks int) *chunk {
	if n := len(r.chunks); n > 0 {
		if c := r.chunks[n-1]; len(c.bytes)+size <= cap(c.bytes) {
			return c
		}
	}
	var c *chunk
	for n := len(r.chunks); n > 0 && (n >= chunks || r.entries-r.chunks[0].entries >= entries); n = len(r.chunks) {
		c = r.chunks[0]
		r.entries -= c.entries
		r.first++
		r.chunks = slices.Delete(r.chunks, 0, 1)
	}
	if c == nil {
		c = &chunk{bytes: make([]byte, 0, chunkBytes)}
	}
	c.entries, c.bytes = 0, c.bytes[:0]
	r.chunks = append(r.chunks, c)
	return c
}

// fixedBytes is the most that an entry takes besides its texts: sequence, time, kind, type, omitted, client, address, and the
// lengths of the texts.
const fixedBytes = 8 + 8 + 2 + binary.MaxVarintLen32 + 16 + 1 + 16 + 2 + 7*2

func (e *Entry) size() int {
	n := fixedBytes
	for _, s := range e.texts() {
		n += min(len(*s), maxText)
	}
	return n
}

// append encodes the entry.
func (e *Entry) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, e.Seq)
	b = binary.LittleEndian.AppendUint64(b, uint64(e.At.UnixMicro()))
	b = append(b, e.Kind, e.Type)
	b = binary.AppendUvarint(b, uint64(e.Omitted))
	b = append(b, e.Client[:]...)
	ip := e.Address.Addr().Unmap()
	b = append(b, uint8(ip.BitLen()/8))
	switch {
	case ip.Is4():
		a := ip.As4()
		b = append(b, a[:]...)
	case ip.Is6():
		a := ip.As16()
		b = append(b, a[:]...)
	}
	if ip.IsValid() {
		b = binary.LittleEndian.AppendUint16(b, e.Address.Port())
	}
	for _, s := range e.texts() {
		t := (*s)[:min(len(*s), maxText)]
		b = binary.AppendUvarint(b, uint64(len(t)))
		b = append(b, t...)
	}
	return b
}

// decode reads the entry at the beginning of b, and returns what follows it. The texts are parts of text, which is b as a
// string.
func (e *Entry) decode(b []byte, text string) ([]byte, string) {
	all := len(b)
	next := func(n int) []byte {
		part := b[:n]
		b = b[n:]
		return part
	}
	number := func() int {
		v, n := binary.Uvarint(b)
		b = b[n:]
		return int(v)
	}
	e.Seq = binary.LittleEndian.Uint64(next(8))
	e.At = time.UnixMicro(int64(binary.LittleEndian.Uint64(next(8)))).UTC()
	e.Kind, e.Type = b[0], b[1]
	next(2)
	e.Omitted = uint32(number())
	copy(e.Client[:], next(16))
	if n := int(next(1)[0]); n > 0 {
		ip, _ := netip.AddrFromSlice(next(n))
		e.Address = netip.AddrPortFrom(ip, binary.LittleEndian.Uint16(next(2)))
	}
	for _, s := range e.texts() {
		n := number()
		at := all - len(b)
		*s = text[at : at+n]
		next(n)
	}
	return b, text[all-len(b):]
}

// Newest calls f for the entries from the newest to the oldest, until it returns false. What is added meanwhile may be
// missing, and what is forgotten meanwhile too.
func (j *Journal) Newest(f func(*Entry) bool) {
	var readers [2]reader
	for i := range readers {
		readers[i] = reader{journal: j, ring: &j.rings[i], rare: i == 1}
	}
	for {
		var newest *reader
		for i := range readers {
			r := &readers[i]
			if r.fill() && (newest == nil || r.last().Seq > newest.last().Seq) {
				newest = r
			}
		}
		if newest == nil {
			return
		}
		e := newest.last()
		newest.entries = newest.entries[:len(newest.entries)-1]
		if !f(e) {
			return
		}
	}
}

// reader reads a ring backwards, chunk by chunk.
type reader struct {
	journal *Journal
	ring    *ring
	rare    bool
	begun   bool
	next    uint64 // number of the chunk behind the one that is read next
	entries []Entry
	bytes   []byte
}

func (r *reader) last() *Entry { return &r.entries[len(r.entries)-1] }

// fill reads the next chunk if the last one has been read. It returns false at the end.
func (r *reader) fill() bool {
	for len(r.entries) == 0 {
		if !r.load() {
			return false
		}
		r.entries = r.entries[:0]
		b, text := r.bytes, string(r.bytes)
		for len(b) > 0 {
			var e Entry
			b, text = e.decode(b, text)
			e.Rare = r.rare
			r.entries = append(r.entries, e)
		}
	}
	return true
}

// load copies the next chunk.
func (r *reader) load() bool {
	r.journal.mu.Lock()
	defer r.journal.mu.Unlock()
	if !r.begun {
		r.begun, r.next = true, r.ring.first+uint64(len(r.ring.chunks))
	}
	if r.next <= r.ring.first {
		return false
	}
	r.next--
	r.bytes = append(r.bytes[:0], r.ring.chunks[r.next-r.ring.first].bytes...)
	return true
}
