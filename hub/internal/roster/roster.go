package roster

import (
	"bytes"
	"slices"
	"sort"
	"time"

	"github.com/google/uuid"
)

// awaitSuccessor is how long a member that moves is still shown where its old connection's end is heard of before the new
// connection.
const awaitSuccessor = 3 * time.Second

// Roster has the members of a group on all instances. The zero Roster is empty and ready for use.
type Roster struct {
	entries    map[uuid.UUID]*entry
	successors map[uuid.UUID]*entry // by the id that they replace
	former     map[uuid.UUID]*line  // lines without a member of which the watchers are to be told, by their last id
	told       []*line              // what watchers have been told of, by position; some are empty
	empty      int                  // of them
	touched    []*line              // what changed since, in the order of the changes
	last       uint64               // position given last
	shown      int                  // lines with a member
}

// entry is a member.
type entry struct {
	Member
	source uint32 // its instance
	round  uint32 // of its source: see Settle
	line   *line
	before *entry // the one that it replaces, while that is there
}

// line is a member over all connections that it moves through.
type line struct {
	last    *entry // the one that is shown; nil for none
	touched bool

	position uint64 // given when the watchers were told of it first; 0: they were not
	id       uuid.UUID
	about    []byte // what they were told last; nil: they believe that there is none

	// Of a line without a member.
	formerID uuid.UUID
	reason   string
	until    time.Time // it may go on until then; zero if nothing says so
}

// Kind is the kind of a Change.
type Kind uint8

// The kinds.
const (
	Joined  Kind = iota
	Left         // ID left, for Reason
	Moved        // ID is another one now: that of About
	Updated      // About is new
)

// Change is what watchers are to be told of a member.
type Change struct {
	Kind     Kind
	Position uint64 // of the member among the others: see Page
	ID       uuid.UUID
	About    []byte
	Reason   string
}

// Put notes what the instance source says of a member. round is that of its saying: see Settle.
func (r *Roster) Put(source, round uint32, m Member) {
	if e := r.entries[m.ID]; e != nil {
		e.source, e.round = source, round
		if !bytes.Equal(e.About, m.About) {
			e.About = m.About
			r.touch(e.line)
		}
		return
	}
	if r.entries == nil {
		r.entries, r.successors, r.former = make(map[uuid.UUID]*entry), make(map[uuid.UUID]*entry), make(map[uuid.UUID]*line)
	}
	e := &entry{Member: m, source: source, round: round}
	r.entries[m.ID] = e
	l := r.lineFor(e)
	next := r.successors[m.ID]
	switch {
	case l == nil && next != nil: // the new connection was heard of first
		e.line, e.before, next.before = next.line, next.before, e
		return
	case l == nil:
		l = new(line)
	}
	r.append(l, e)
	if next != nil && next.line != l && next.line.about == nil {
		r.join(l, next)
	}
}

// lineFor returns the line that a new member belongs to: of the one that it replaces, or its own of a moment ago; nil for
// none.
func (r *Roster) lineFor(e *entry) *line {
	if e.Replaces != uuid.Nil {
		if r.successors[e.Replaces] == nil {
			r.successors[e.Replaces] = e
		}
		if old := r.entries[e.Replaces]; old != nil {
			return old.line
		}
		if l := r.former[e.Replaces]; l != nil {
			return l
		}
	}
	return r.former[e.ID]
}

// append makes e the last of the line.
func (r *Roster) append(l *line, e *entry) {
	if l.last == nil {
		r.shown++
		delete(r.former, l.formerID)
	}
	e.line, e.before, l.last = l, l.last, e
	r.touch(l)
}

// join puts the line of next, of which no watcher knows, behind what l has.
func (r *Roster) join(l *line, next *entry) {
	other := next.line
	for e := other.last; ; e = e.before {
		e.line = l
		if e == next {
			break
		}
	}
	next.before, l.last, other.last = l.last, other.last, nil
	r.shown--
	r.touch(l)
}

// Remove notes that the member of that id left for reason. successor is the client that takes its place, zero for none:
// if that is still to be heard of, the member is shown a little longer.
func (r *Roster) Remove(id uuid.UUID, reason string, successor uuid.UUID, now time.Time) {
	e := r.entries[id]
	if e == nil {
		return
	}
	delete(r.entries, id)
	if r.successors[e.Replaces] == e {
		delete(r.successors, e.Replaces)
	}
	l := e.line
	if l.last != e {
		next := l.last
		for next.before != e {
			next = next.before
		}
		next.before = e.before
		return
	}
	l.last = e.before
	r.touch(l)
	if l.last != nil {
		return
	}
	r.shown--
	l.reason, l.formerID, l.until = reason, id, time.Time{}
	r.former[id] = l
	if successor != uuid.Nil && r.entries[successor] == nil {
		l.until = now.Add(awaitSuccessor)
	}
}

// Settle removes the members of source that were not put again in the round: the instance has said all that it has.
func (r *Roster) Settle(source, round uint32, now time.Time) {
	r.removeAll(Lost, now, func(e *entry) bool { return e.source == source && e.round != round })
}

// Drop removes all members of an instance.
func (r *Roster) Drop(source uint32, reason string, now time.Time) {
	r.removeAll(reason, now, func(e *entry) bool { return e.source == source })
}

func (r *Roster) removeAll(reason string, now time.Time, which func(*entry) bool) {
	var ids []uuid.UUID
	for id, e := range r.entries {
		if which(e) {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) })
	for _, id := range ids {
		r.Remove(id, reason, uuid.Nil, now)
	}
}

func (r *Roster) touch(l *line) {
	if !l.touched {
		l.touched = true
		r.touched = append(r.touched, l)
	}
}

// Len returns the number of members that are shown.
func (r *Roster) Len() int { return r.shown }

// Changed reports whether Flush may have something to say, now or later.
func (r *Roster) Changed() bool { return len(r.touched) > 0 }

// Flush appends what changed since the watchers were told last, of some bytes at most, and takes it as told. A member that
// came and went in between is left out, and each is in it once. What does not fit is for the next call.
func (r *Roster) Flush(changes []Change, size int, now time.Time) []Change {
	var kept []*line
	i := 0
	for ; i < len(r.touched) && size > 0; i++ {
		l := r.touched[i]
		if l.last == nil && l.about != nil && now.Before(l.until) {
			kept = append(kept, l)
			continue
		}
		l.touched = false
		if c, ok := r.tell(l); ok {
			changes = append(changes, c)
			size -= c.size()
		}
	}
	r.touched = append(kept, r.touched[i:]...)
	return changes
}

// size is about how many bytes the change takes.
func (c *Change) size() int { return len(c.About) + 64 }

// tell takes the line as it is for told, and returns what is new of it.
func (r *Roster) tell(l *line) (c Change, news bool) {
	was, wasID := l.about, l.id
	if l.last == nil {
		if r.former[l.formerID] == l {
			delete(r.former, l.formerID)
		}
		if was == nil {
			return c, false
		}
		c = Change{Kind: Left, Position: l.position, ID: wasID, Reason: l.reason}
		l.about = nil
		r.empty++
		r.compact()
		return c, true
	}
	l.id, l.about = l.last.ID, l.last.About
	c = Change{Position: l.position, ID: wasID, About: l.about}
	switch {
	case was == nil:
		r.last++
		l.position = r.last
		r.told = append(r.told, l)
		c = Change{Kind: Joined, Position: l.position, ID: l.id, About: l.about}
	case wasID != l.id:
		c.Kind = Moved
	case !bytes.Equal(was, l.about):
		c.Kind = Updated
	default:
		return c, false
	}
	return c, true
}

// compact forgets the empty lines where they are the most.
func (r *Roster) compact() {
	if r.empty < 64 || r.empty < len(r.told)/2 {
		return
	}
	r.told = slices.DeleteFunc(r.told, func(l *line) bool { return l.about == nil })
	r.empty = 0
}

// Last returns the position of the newest member that the watchers have been told of.
func (r *Roster) Last() uint64 { return r.last }

// Page appends what the watchers have been told of the members whose positions are above after, and at most until, of some
// bytes in all. It returns the position of the last one, and whether others follow. A watcher that has read so far needs
// those changes whose positions are at most that one, or above until: the other members are on later pages.
func (r *Roster) Page(page [][]byte, after, until uint64, size int) (abouts [][]byte, last uint64, more bool) {
	i := sort.Search(len(r.told), func(i int) bool { return r.told[i].position > after })
	last = after
	for ; i < len(r.told) && r.told[i].position <= until; i++ {
		l := r.told[i]
		if l.about == nil {
			continue
		}
		if size -= len(l.about) + 1; size < 0 && len(page) > 0 {
			return page, last, true
		}
		page, last = append(page, l.about), l.position
	}
	return page, until, false
}
