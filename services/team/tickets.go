package team

import (
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
	team    rtm.ID
	expires time.Time
	holder  *holder
}

// holder is who was given tickets: a Global connection. Its fields belong to the tickets.
type holder struct {
	grant *auth.Grant // nil: it showed no token
	open  int
	over  bool // the connection has ended, and its tickets with it
}

// tickets are the tickets that an instance has issued. Any goroutine may use them.
type tickets struct {
	mu    sync.Mutex
	open  map[secret]ticket
	queue []secret // in the order in which they expire

	limit, each int
}

func newTickets() *tickets {
	return &tickets{open: make(map[secret]ticket), limit: maxTickets, each: maxTicketsEach}
}

// issue makes a ticket. It returns false if too many are open.
func (t *tickets) issue(h *holder, id rtm.ID, now time.Time) (s secret, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire(now)
	if h.over || h.open >= t.each || len(t.open) >= t.limit {
		return s, false
	}
	_, _ = rand.Read(s[:]) // never fails: crypto/rand
	t.open[s] = ticket{id, now.Add(ticketLife), h}
	h.open++
	t.queue = append(t.queue, s)
	return s, true
}

// redeem uses a ticket up. It returns the team's id as the ticket was asked for, and the rights of its holder, or
// why the ticket is no good.
func (t *tickets) redeem(s secret, text string, now time.Time) (id rtm.ID, grant *auth.Grant, why refusal) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire(now)
	ticket, ok := t.open[s]
	if !ok {
		return id, nil, refusedTicket
	}
	t.take(s)
	switch {
	case ticket.holder.over:
		return id, nil, refusedTicket
	case ticket.team.String() != text:
		return id, nil, refusedOtherTeam
	}
	return ticket.team, ticket.holder.grant, granted
}

// end makes the tickets of a holder worthless.
func (t *tickets) end(h *holder) {
	t.mu.Lock()
	defer t.mu.Unlock()
	h.over = true
}

// size returns how many tickets are open, those that expired since the last was asked for included.
func (t *tickets) size() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.open)
}

// take removes a ticket. mu must be held.
func (t *tickets) take(s secret) {
	t.open[s].holder.open--
	delete(t.open, s)
}

// expire removes the tickets whose time is over. mu must be held.
func (t *tickets) expire(now time.Time) {
	for len(t.queue) > 0 {
		s := t.queue[0]
		if ticket, ok := t.open[s]; ok {
			if now.Before(ticket.expires) {
				return
			}
			t.take(s)
		}
		t.queue = t.queue[1:]
	}
}
