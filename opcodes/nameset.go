package opcodes

import (
	"bytes"
	"hash/maphash"
)

const (
	// linearNames is how many names are compared one by one. Ordinary messages have fewer.
	linearNames = 8
	// keptNames is the capacity beyond which reset frees the memory.
	keptNames = 8192
)

// nameSeed is random per process, so that a sender can't choose names that collide.
var nameSeed = maphash.MakeSeed()

// nameSet finds names that occur twice in one object. Adding a name takes constant time, also with names chosen to
// collide. Its memory is reused for the next object.
type nameSet struct {
	names [][]byte
	slots []uint32 // an open-addressing hash table beyond linearNames: index into names plus one; 0 is free
}

// reset empties the set and drops its references to the names' memory.
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

// add adds a name, which must not change until reset. It reports false if the set has the name.
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

// find returns the slot that holds the name, or the free slot for it.
func (s *nameSet) find(name []byte) uint64 {
	mask := uint64(len(s.slots) - 1)
	slot := maphash.Bytes(nameSeed, name) & mask
	for s.slots[slot] != 0 && !bytes.Equal(s.names[s.slots[slot]-1], name) {
		slot = (slot + 1) & mask
	}
	return slot
}

// grow rebuilds the table with four slots for each name.
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
