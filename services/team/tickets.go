package team

import (
	"container/heap"
	"container/list"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"sync"
	"time"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/services/team/rtm"
)

const (
	// ticketLife is how long a ticket is valid.
	ticketLife = 30 * time.Second
	// maxTickets bounds the tickets of an instance that are neither used nor over.
	maxTickets = 1 << 17
	// maxTicketsEach bounds those of one Global connection.
	maxTicketsEach = 1 << 14
)

const (
	inboxBytes  = 8
	secretBytes = 16
	// ticketText is the length of a ticket as it is written.
	ticketText = (inboxBytes + secretBytes) * 4 / 3
)

// inbox names the loop that issued a ticket, and its group for questions about tickets.
type inbox [inboxBytes]byte

func newInbox() (i inbox) {
	_, _ = rand.Read(i[:]) // never fails: crypto/rand
	return i
}

// inboxPrefix begins the group of an inbox. No client can send to a reserved group.
const inboxPrefix = "$team."

// group returns the name of the inbox's group.
func (i inbox) group() string { return inboxPrefix + hex.EncodeToString(i[:]) }

// secret is the random part of a ticket.
type secret [secretBytes]byte

// formatTicket returns a ticket as it stands in a URL.
func formatTicket(i inbox, s secret) string {
	var b [inboxBytes + secretBytes]byte
	copy(b[copy(b[:], i[:]):], s[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// parseTicket is the reverse of formatTicket.
func parseTicket(text []byte) (i inbox, s secret, ok bool) {
	var b [inboxBytes + secretBytes]byte
	if len(text) != ticketText {
		return i, s, false
	}
	if n, err := base64.RawURLEncoding.Strict().Decode(b[:], text); err != nil || n != len(b) { // it skips line breaks
		return i, s, false
	}
	copy(s[:], b[copy(i[:], b[:]):])
	return i, s, true
}

// ticket is what a ticket is good for.
type ticket struct {
	secret  secret
	team    rtm.ID
	expires time.Time
	holder  *holder

	all, mine *list.Element // where it stands in tickets.queue, and in the holder's
}

// holder is who was given tickets: a Global connection. Its fields belong to the tickets.
type holder struct {
	grant *auth.Grant // nil: it showed no token
	queue list.List   // of its *ticket, the oldest first
	at    int         // its place in tickets.holders, if it has tickets
	over  bool        // the connection has ended, and its tickets with it
}

// exhaustion is why no ticket is given.
type exhaustion uint8

// The reasons to give none.
const (
	notExhausted exhaustion = iota
	eachOpen                // the connection has as many as one may have, or has ended
	allOpen                 // the instance has, and no connection has more than this one
)

// tickets are the tickets that an instance has issued. Any goroutine may use them.
//
// The room for them is shared out fairly: where it is full, a new ticket takes the place of the oldest one of the
// connection that has the most. So those who ask for all that they can get take nothing from others, however many
// connections they ask on.
type tickets struct {
	mu      sync.Mutex
	open    map[secret]*ticket
	queue   list.List // of *ticket, in the order in which they expire
	holders holders   // that have any

	displaced   uint64
	limit, each int
}

func newTickets() *tickets {
	return &tickets{open: make(map[secret]*ticket), limit: maxTickets, each: maxTicketsEach}
}

// issue makes a ticket. It returns none, and why, if too many are open.
func (t *tickets) issue(h *holder, id rtm.ID, now time.Time) (s secret, why exhaustion) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire(now)
	switch {
	case h.over || h.queue.Len() >= t.each:
		return s, eachOpen
	case len(t.open) >= t.limit && !t.displace(h):
		return s, allOpen
	}
	_, _ = rand.Read(s[:]) // never fails: crypto/rand
	k := &ticket{secret: s, team: id, expires: now.Add(ticketLife), holder: h}
	t.open[s], k.all, k.mine = k, t.queue.PushBack(k), h.queue.PushBack(k)
	if h.queue.Len() == 1 {
		heap.Push(&t.holders, h)
	} else {
		heap.Fix(&t.holders, h.at)
	}
	return s, notExhausted
}

// displace makes room for a ticket of h. It returns false if nobody would still have as many as h then. mu must be held.
func (t *tickets) displace(h *holder) bool {
	most := t.holders[0]
	if most.queue.Len() <= h.queue.Len()+1 {
		return false
	}
	t.take(most.queue.Front().Value.(*ticket))
	t.displaced++
	return true
}

// redeem uses a ticket up. It returns the team's id as the ticket was asked for, and the rights of its holder, or
// why the ticket is no good.
func (t *tickets) redeem(s secret, text string, now time.Time) (id rtm.ID, grant *auth.Grant, why refusal) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire(now)
	k, ok := t.open[s]
	if !ok {
		return id, nil, refusedTicket
	}
	t.take(k)
	if k.team.String() != text {
		return id, nil, refusedOtherTeam
	}
	return k.team, k.holder.grant, granted
}

// end takes the tickets of a holder back.
func (t *tickets) end(h *holder) {
	t.mu.Lock()
	defer t.mu.Unlock()
	h.over = true
	for e := h.queue.Front(); e != nil; e = h.queue.Front() {
		t.take(e.Value.(*ticket))
	}
}

// size returns how many tickets are open, those that expired since the last was asked for included, and how many gave way
// to others so far.
func (t *tickets) size() (open int, displaced uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.open), t.displaced
}

// take removes a ticket. mu must be held.
func (t *tickets) take(k *ticket) {
	h := k.holder
	delete(t.open, k.secret)
	t.queue.Remove(k.all)
	h.queue.Remove(k.mine)
	if h.queue.Len() == 0 {
		heap.Remove(&t.holders, h.at)
	} else {
		heap.Fix(&t.holders, h.at)
	}
}

// expire removes the tickets whose time is over. mu must be held.
func (t *tickets) expire(now time.Time) {
	for e := t.queue.Front(); e != nil && !now.Before(e.Value.(*ticket).expires); e = t.queue.Front() {
		t.take(e.Value.(*ticket))
	}
}

// holders are those who have tickets, the one with the most first. It implements heap.Interface.
type holders []*holder

func (h holders) Len() int           { return len(h) }
func (h holders) Less(i, j int) bool { return h[i].queue.Len() > h[j].queue.Len() }

func (h holders) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}

// Push implements heap.Interface.
func (h *holders) Push(x any) {
	x.(*holder).at = len(*h)
	*h = append(*h, x.(*holder))
}

// Pop implements heap.Interface.
func (h *holders) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return x
}
