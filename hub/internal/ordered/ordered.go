// Package ordered keeps a large set of named things in the order of their names, so that a page of it costs as much as the
// page is long.
package ordered

import (
	"cmp"
	"slices"
	"sync"
)

// maxBlock is the greatest length of a block: so many entries are moved for one that comes or goes, at most.
const maxBlock = 512

// Set is a set of things with different names. Any goroutine may use it.
type Set[T any] struct {
	name func(T) string

	mu     sync.RWMutex
	blocks [][]T // none is empty; in order, as is each
}

// New returns an empty Set of things whose names are what name returns. A thing's name must not change.
func New[T any](name func(T) string) *Set[T] { return &Set[T]{name: name} }

// Add adds a thing. Its name must not be in the set.
func (s *Set[T]) Add(v T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.blocks) == 0 {
		s.blocks = [][]T{{v}}
		return
	}
	i := max(s.blockOf(s.name(v)), 0)
	at, _ := s.find(s.blocks[i], s.name(v))
	b := slices.Insert(s.blocks[i], at, v)
	if s.blocks[i] = b; len(b) <= maxBlock {
		return
	}
	s.blocks[i] = slices.Clone(b[:len(b)/2])
	s.blocks = slices.Insert(s.blocks, i+1, slices.Clone(b[len(b)/2:]))
}

// Remove removes the thing of that name.
func (s *Set[T]) Remove(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.blockOf(name)
	if i < 0 {
		return
	}
	at, ok := s.find(s.blocks[i], name)
	if !ok {
		return
	}
	if s.blocks[i] = slices.Delete(s.blocks[i], at, at+1); len(s.blocks[i]) == 0 {
		s.blocks = slices.Delete(s.blocks, i, i+1)
		return
	}
	// Half empty neighbours become one.
	if i+1 < len(s.blocks) && len(s.blocks[i])+len(s.blocks[i+1]) <= maxBlock/2 {
		s.blocks[i] = append(s.blocks[i], s.blocks[i+1]...)
		s.blocks = slices.Delete(s.blocks, i+1, i+2)
	}
}

// After appends to dst, up to its capacity, the things whose names are behind name, in their order.
func (s *Set[T]) After(name string, dst []T) []T {
	s.mu.RLock()
	defer s.mu.RUnlock()
	i := max(s.blockOf(name), 0)
	if i == len(s.blocks) {
		return dst
	}
	at, ok := s.find(s.blocks[i], name)
	if ok {
		at++
	}
	for ; i < len(s.blocks) && len(dst) < cap(dst); i, at = i+1, 0 {
		rest := s.blocks[i][at:]
		dst = append(dst, rest[:min(len(rest), cap(dst)-len(dst))]...)
	}
	return dst
}

// blockOf returns the place of the block that the name belongs to, -1 if it comes before all.
func (s *Set[T]) blockOf(name string) int {
	i, ok := slices.BinarySearchFunc(s.blocks, name, func(b []T, name string) int { return cmp.Compare(s.name(b[0]), name) })
	if ok {
		return i
	}
	return i - 1
}

// find returns the place of the name in a block, and whether it is there.
func (s *Set[T]) find(b []T, name string) (int, bool) {
	return slices.BinarySearchFunc(b, name, func(v T, name string) int { return cmp.Compare(s.name(v), name) })
}
