package opcodes

import (
	"bytes"
	"hash/maphash"
)

const (
	// Up to so many names are compared one by one; a message of a well-meaning client has fewer.
	linearNames = 8
	// A set that had to hold more than this gives its memory back.
	keptNames = 8192
)

// The seed is drawn once per process: nobody outside can choose names that collide.
var nameSeed = maphash.MakeSeed()

// nameSet finds names that occur twice in one object. Each name costs constant time, however many there are and
// whoever chose them; its memory is reused from one object to the next.
type nameSet struct {
	names [][]byte
	slots []uint32 // beyond linearNames: an open-addressing hash table of indices into names, plus one; 0 is free
}

// reset empties the set and lets go of the memory that the names lie in.
func (s *nameSet) reset() {
	if len(s.names) == 0 {
		return
	}
	if cap(s.names) > keptNames {
		*s = nameSet{}
		return
	}
	clear(s.names)
	s.names, s.slots = s.names[:0], s.slots[:0]
}

// add adds a name, which must not change until reset, and reports false if it is there already.
func (s *nameSet) add(name []byte) bool {
	if len(s.names) < linearNames {
		for _, n := range s.names {
			if bytes.Equal(n, name) {
				return false
			}
		}
		s.names = append(s.names, name)
		return true
	}
	if len(s.names)*2 >= len(s.slots) {
		s.grow()
	}
	slot := s.find(name)
	if s.slots[slot] != 0 {
		return false
	}
	s.names = append(s.names, name)
	s.slots[slot] = uint32(len(s.names))
	return true
}

// find returns the slot that the name is in, or the free one that it would take.
func (s *nameSet) find(name []byte) uint64 {
	mask := uint64(len(s.slots) - 1)
	slot := maphash.Bytes(nameSeed, name) & mask
	for s.slots[slot] != 0 && !bytes.Equal(s.names[s.slots[slot]-1], name) {
		slot = (slot + 1) & mask
	}
	return slot
}

// grow makes room for twice as many names, four slots to each of those there are.
func (s *nameSet) grow() {
	n := len(s.names) * 4
	if n <= cap(s.slots) {
		s.slots = s.slots[:n]
		clear(s.slots)
	} else {
		s.slots = make([]uint32, n)
	}
	for i, name := range s.names {
		s.slots[s.find(name)] = uint32(i + 1)
	}
}
