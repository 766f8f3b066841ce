package history

import (
	"fmt"
	"time"
)

// letter is message n of sender. It is formatted only when printed, as most violations are only counted.
type letter struct {
	sender *peer
	n      int32
}

// String describes the message and its outcome.
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

// gap describes the neighbours of a message that a receiver did not get.
type gap struct {
	s      *sieve
	sender *peer
	n      int32
}

// String names the neighbours of the message that the receiver got, to distinguish a gap from a missing tail.
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

// around describes a client's moves in relation to a time.
type around struct {
	p    *peer
	role string
	at   int64
}

// String returns nothing for a client that never moved.
func (a around) String() (text string) {
	for _, n := range a.p.life.Names {
		text += fmt.Sprintf("; its %s began a move %v, and went on as %.8s %v, after that", a.role, time.Duration(n.At-a.at), n.ID, time.Duration(n.Known-a.at))
	}
	return text
}

// former describes when the receiver gave up the id that a message was for.
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
