package roster

import (
	"bytes"

	"github.com/google/uuid"
)

// Ledger has the members of a group on this instance. The zero Ledger is empty and ready for use.
type Ledger struct {
	members map[uuid.UUID]*record // those that are there, and those of which others believe it
	told    []*record             // what others have been told of, in no order; a record knows its place
	touched []*record             // what changed since others were told
}

// record is a member of a Ledger.
type record struct {
	Member
	gone      bool
	reason    string    // gone: why
	successor uuid.UUID // gone: the client that took its place; zero for none
	touched   bool
	told      bool
	changed   bool // told: something else than what it is now
	at        int  // told: its place
}

// Put notes that m is a member, or is shown in another way now.
func (l *Ledger) Put(m Member) {
	r := l.members[m.ID]
	if r == nil {
		if l.members == nil {
			l.members = make(map[uuid.UUID]*record)
		}
		r = &record{Member: m}
		l.members[m.ID] = r
		l.touch(r)
		return
	}
	if r.gone || !bytes.Equal(r.About, m.About) {
		r.gone, r.changed = false, r.changed || !bytes.Equal(r.About, m.About)
		r.Member = m
		l.touch(r)
	}
}

// Remove notes that the client of that id is no member any more. successor is the client that takes its place, zero for none.
func (l *Ledger) Remove(id uuid.UUID, reason string, successor uuid.UUID) {
	r := l.members[id]
	if r == nil || r.gone {
		return
	}
	r.gone, r.reason, r.successor = true, reason, successor
	l.touch(r)
}

func (l *Ledger) touch(r *record) {
	if !r.touched {
		r.touched = true
		l.touched = append(l.touched, r)
	}
}

// Changed reports whether Flush has something to say.
func (l *Ledger) Changed() bool { return len(l.touched) > 0 }

// Flush appends what changed since it was called last, each member once. What came and went meanwhile is left out.
func (l *Ledger) Flush(ops []Op) []Op {
	for _, r := range l.touched {
		r.touched = false
		switch {
		case r.gone:
			delete(l.members, r.ID)
			if r.told {
				l.untell(r)
				ops = append(ops, Op{Member: Member{ID: r.ID}, Left: true, Reason: r.reason, Successor: r.successor})
			}
		case !r.told:
			r.told, r.at = true, len(l.told)
			l.told = append(l.told, r)
			ops = append(ops, Op{Member: r.Member})
		case r.changed:
			ops = append(ops, Op{Member: r.Member})
		}
		r.changed = false
	}
	clear(l.touched)
	l.touched = l.touched[:0]
	return ops
}

// untell takes r from the list, and moves the last one to its place.
func (l *Ledger) untell(r *record) {
	last := len(l.told) - 1
	l.told[r.at] = l.told[last]
	l.told[r.at].at = r.at
	l.told[last] = nil
	l.told = l.told[:last]
	r.told = false
}

// Start is where the pages of a Ledger begin.
const Start = -1

// Page appends members that others have been told of, of some bytes in all, and returns where the next page begins: 0 after
// the last one. All pages, with what Flush says between them, have every member; some may come twice.
func (l *Ledger) Page(members []Member, from, size int) (page []Member, next int) {
	if from == Start {
		from = len(l.told)
	}
	// From the back: a member that leaves gives its place to the last one, which was on an earlier page or moves on to a
	// later one.
	i := min(from, len(l.told))
	for ; i > 0 && size > 0; i-- {
		m := l.told[i-1].Member
		members = append(members, m)
		size -= m.size()
	}
	return members, i
}

// size is about how many bytes the member takes between instances.
func (m *Member) size() int { return len(m.About) + 2*len(m.ID) + 4 }

// Len returns the number of members that others have been told of.
func (l *Ledger) Len() int { return len(l.told) }
