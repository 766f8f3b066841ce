package history

import (
	"fmt"
	"time"
)

// letter is message n of sender, in words when it is printed and not before: most violations are only counted.
type letter struct {
	sender *peer
	n      int32
}

// String names the message with what its sender knows of it.
func (l letter) String() string {
	m := &l.sender.sends[l.n]
	text := fmt.Sprintf("%d-%d of %v to %v", l.sender.index, l.n, l.sender, m.to)
	switch m.outcome {
	case accepted:
		return text + ", acknowledged"
	case refused:
		return text + ", refused with " + m.code
	case unsent:
		return text + ", not wholly written"
	}
	return text
}

// gap is the surroundings of a message that a receiver did not get.
type gap struct {
	s      *sieve
	sender *peer
	n      int32
}

// String says which neighbours of the message the receiver got, to tell a gap from a tail that is missing.
func (g gap) String() string {
	before, after := int32(-1), int32(-1)
	for i := g.n - 1; i >= 0 && before < 0; i-- {
		if g.s.has(g.sender.first + int(i)) {
			before = i
		}
	}
	for i := g.n + 1; int(i) < len(g.sender.sends) && after < 0; i++ {
		if g.s.has(g.sender.first + int(i)) {
			after = i
		}
	}
	return nth(before) + " before and " + nth(after) + " after"
}

func nth(n int32) string {
	if n < 0 {
		return "nothing"
	}
	return fmt.Sprint(n)
}

// former says of a message for one of the receiver's former ids when that was given up.
type former struct {
	p *peer
	m *send
}

// String returns nothing for other messages.
func (f former) String() string {
	next := f.p.nameAfter(f.m.to.Name)
	if f.m.to.Target != Direct || next >= len(f.p.life.Names) {
		return ""
	}
	return fmt.Sprintf("; it began to leave that id %v after it was sent", time.Duration(f.p.life.Names[next].At-f.m.at))
}
