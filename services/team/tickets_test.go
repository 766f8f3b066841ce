package team

import (
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/services/team/rtm"
)

func TestTicketLife(t *testing.T) {
	t.Parallel()
	ts := newTickets()
	h := &holder{}
	now := time.Now()
	issue := func(at time.Time) secret {
		t.Helper()
		s, ok := ts.issue(h, rtm.IntID(1), at)
		if !ok {
			t.Fatal("no ticket")
		}
		return s
	}
	old, young, used := issue(now), issue(now.Add(time.Second)), issue(now.Add(time.Second))
	redeem := func(s secret, at time.Time, want refusal) {
		t.Helper()
		if id, _, why := ts.redeem(s, "1", at); why != want || why == granted && id != rtm.IntID(1) {
			t.Errorf("redeemed %v: %v, want %v", id, why, want)
		}
	}
	redeem(used, now.Add(2*time.Second), granted)
	redeem(used, now.Add(2*time.Second), refusedTicket)
	redeem(old, now.Add(ticketLife), refusedTicket)
	redeem(young, now.Add(ticketLife), granted)
	if h.open != 0 || ts.size() != 0 {
		t.Errorf("%d open for the holder, %d in all", h.open, ts.size())
	}
	last := issue(now)
	ts.end(h)
	redeem(last, now, refusedTicket)
	if _, ok := ts.issue(h, rtm.IntID(1), now); ok {
		t.Error("a ticket for a connection that has ended")
	}
}

func TestTicketsThatNobodyUsesAreForgotten(t *testing.T) {
	t.Parallel()
	ts := newTickets()
	now := time.Now()
	for k := range 1000 {
		if _, ok := ts.issue(&holder{}, rtm.IntID(1), now.Add(time.Duration(k)*time.Second)); !ok {
			t.Fatal("no ticket")
		}
		if ts.size() > 30 || len(ts.queue) > 31 {
			t.Fatalf("%d tickets are kept, %d in the queue", ts.size(), len(ts.queue))
		}
	}
}

func FuzzTicket(f *testing.F) {
	f.Add([]byte(formatTicket(newInbox(), secret{1})))
	f.Add([]byte("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if box, s, ok := parseTicket(text); ok && formatTicket(box, s) != string(text) {
			t.Errorf("%q is read as %q", text, formatTicket(box, s))
		}
	})
}
