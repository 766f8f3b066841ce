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
	// ticketLife is the lifetime of a ticket.
	ticketLife = 30 * time.Second
	// maxTickets bounds the open tickets of an instance: neither redeemed nor expired.
	maxTickets = 1 << 17
	// maxTicketsEach bounds those of one Global connection.
	maxTicketsEach = 1 << 14
)

const (
	inboxBytes  = 8
	secretBytes = 16
	// ticketText is the length of a ticket in a URL.
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

// formatTicket returns a ticket as written in a URL.
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
	if n, err := base64.RawURLEncoding.Strict().Decode(b[:], text); err != nil || n != len(b) { // the decoder skips line breaks
		return i, s, false
	}
	copy(s[:], b[copy(i[:], b[:]):])
	return i, s, true
}

// ticket is an open ticket.
type ticket struct {
	secret  secret
	team    rtm.ID
	expires time.Time
	holder  *holder

	all, mine *list.Element // its elements in tickets.queue and in holder.queue
}

// holder is a Global connection as a holder of tickets. tickets.mu guards its fields.
type holder struct {
	grant *auth.Grant // nil: without a token
	queue list.List   // of its *ticket, the oldest first
	at    int         // index in tickets.holders while it has tickets
	over  bool        // the connection has ended
}

// exhaustion is the reason why no ticket is issued.
type exhaustion uint8

// The reasons.
const (
	notExhausted exhaustion = iota
	eachOpen                // the connection has maxTicketsEach open tickets, or has ended
	allOpen                 // the instance has maxTickets, and no connection has more than this one
)

// tickets holds the open tickets of an instance. Any goroutine may use it.
//
// Connections share the room fairly: at maxTickets, a new ticket displaces the oldest ticket of the connection that has
// the most. So connections that ask for all they can get take nothing from others.
type tickets struct {
	mu      sync.Mutex
	open    map[secret]*ticket
	queue   list.List // of *ticket, in the order in which they expire
	holders holders   // holders with open tickets

	displaced   uint64
	limit, each int
}

func newTickets() *tickets {
	return &tickets{open: make(map[secret]*ticket), limit: maxTickets, each: maxTicketsEach}
}

// issue issues a ticket, or returns the reason why it can't.
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

// displace makes room for a ticket of h by removing one of the holder with the most. It returns false if that holder
// would then have fewer than h. mu must be held.
func (t *tickets) displace(h *holder) bool {
	most := t.holders[0]
	if most.queue.Len() <= h.queue.Len()+1 {
		return false
	}
	t.remove(most.queue.Front().Value.(*ticket))
	t.displaced++
	return true
}

// redeem removes a ticket. It returns the team's id in the form of the team.connect and the rights of the holder, or
// the reason for a refusal.
func (t *tickets) redeem(s secret, text string, now time.Time) (id rtm.ID, grant *auth.Grant, why refusal) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire(now)
	k, ok := t.open[s]
	if !ok {
		return id, nil, refusedTicket
	}
	t.remove(k)
	if k.team.String() != text {
		return id, nil, refusedOtherTeam
	}
	return k.team, k.holder.grant, granted
}

// revoke removes all tickets of a holder whose connection has ended.
func (t *tickets) revoke(h *holder) {
	t.mu.Lock()
	defer t.mu.Unlock()
	h.over = true
	for e := h.queue.Front(); e != nil; e = h.queue.Front() {
		t.remove(e.Value.(*ticket))
	}
}

// stats returns the number of open tickets, including those that expired since the last issue, and of tickets displaced
// so far.
func (t *tickets) stats() (open int, displaced uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.open), t.displaced
}

// remove removes a ticket. mu must be held.
func (t *tickets) remove(k *ticket) {
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

// expire removes expired tickets. mu must be held.
func (t *tickets) expire(now time.Time) {
	for e := t.queue.Front(); e != nil && !now.Before(e.Value.(*ticket).expires); e = t.queue.Front() {
		t.remove(e.Value.(*ticket))
	}
}

// holders is a heap (heap.Interface) of the holders of open tickets, the one with the most first.
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
