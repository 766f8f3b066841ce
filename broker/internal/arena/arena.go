// Package arena hands out memory for messages that wait in a queue, without garbage.
package arena

// The arena's measures, in bytes.
const (
	blockSize  = 256 << 10
	blockShare = blockSize / 4 // what is larger gets a block of its own
	spareLimit = 8             // empty blocks kept
)

// Arena hands out memory that is given back in roughly the order in which it was taken, without garbage.
type Arena struct {
	current *Block
	spare   []*Block
}

// Block is memory shared by several owners.
type Block struct {
	buf  []byte // its length is what was handed out
	live int    // owners
}

// Take returns an empty slice of capacity n and the block to release it to.
func (a *Arena) Take(n int) ([]byte, *Block) {
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

func (a *Arena) next() *Block {
	if last := len(a.spare) - 1; last >= 0 {
		a.current = a.spare[last]
		a.spare = a.spare[:last]
	} else {
		a.current = &Block{buf: make([]byte, 0, blockSize)}
	}
	return a.current
}

// Release gives back what take returned with b.
func (a *Arena) Release(b *Block) {
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
