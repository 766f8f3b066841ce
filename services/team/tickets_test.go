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
		s, why := ts.issue(h, rtm.IntID(1), at)
		if why != notExhausted {
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
	if n, _ := ts.stats(); n != 0 || h.queue.Len() != 0 {
		t.Errorf("%d open for the holder, %d in all", h.queue.Len(), n)
	}
	last := issue(now)
	ts.revoke(h)
	redeem(last, now, refusedTicket)
	if _, why := ts.issue(h, rtm.IntID(1), now); why != eachOpen {
		t.Error("a ticket for a connection that has ended")
	}
}

func TestTicketsThatNobodyUsesAreForgotten(t *testing.T) {
	t.Parallel()
	ts := newTickets()
	now := time.Now()
	for k := range 1000 {
		if _, why := ts.issue(&holder{}, rtm.IntID(1), now.Add(time.Duration(k)*time.Second)); why != notExhausted {
			t.Fatal("no ticket")
		}
		if n, _ := ts.stats(); n > 30 || ts.queue.Len() != n || len(ts.holders) != n {
			t.Fatalf("%d tickets are kept, %d in the queue, of %d holders", n, ts.queue.Len(), len(ts.holders))
		}
	}
}

// However many connections take all they can get, another connection gets as many tickets as each of them.
func TestTicketsAreSharedFairly(t *testing.T) {
	t.Parallel()
	for _, greedy := range []int{1, 7, 8, 100, 1000} {
		ts := newTickets()
		ts.limit, ts.each = 1024, 128
		now := time.Now()
		fill := func(h *holder) {
			for why := notExhausted; why == notExhausted; {
				_, why = ts.issue(h, rtm.IntID(1), now)
			}
		}
		all := make([]holder, greedy+1)
		for i := range all {
			fill(&all[i])
		}
		for i := range all {
			if got, want := all[i].queue.Len(), min(ts.each, ts.limit/len(all)); got < want || got > want+1 {
				t.Fatalf("%d greedy ones: number %d has %d tickets, want %d", greedy, i, got, want)
			}
		}
		for i := range all {
			ts.revoke(&all[i])
		}
		if n, _ := ts.stats(); n != 0 || ts.queue.Len() != 0 || len(ts.holders) != 0 {
			t.Errorf("%d tickets are kept, %d in the queue, of %d holders", n, ts.queue.Len(), len(ts.holders))
		}
	}
}

func TestNoTicketIsLeft(t *testing.T) {
	t.Parallel()
	ts := newTickets()
	ts.limit = 10
	for range ts.limit {
		if _, why := ts.issue(&holder{}, rtm.IntID(1), time.Now()); why != notExhausted {
			t.Fatal("no ticket")
		}
	}
	if _, why := ts.issue(&holder{}, rtm.IntID(1), time.Now()); why != allOpen {
		t.Errorf("got %d", why)
	}
}

// The displaced ticket is the oldest of the holder with the most.
func TestWhichTicketGivesWay(t *testing.T) {
	t.Parallel()
	ts := newTickets()
	ts.limit = 3
	now := time.Now()
	few, many := &holder{}, &holder{}
	kept, _ := ts.issue(few, rtm.IntID(1), now)
	oldest, _ := ts.issue(many, rtm.IntID(1), now)
	young, _ := ts.issue(many, rtm.IntID(1), now)
	fresh, why := ts.issue(&holder{}, rtm.IntID(1), now)
	if _, displaced := ts.stats(); why != notExhausted || displaced != 1 {
		t.Fatalf("%d tickets gave way, %d", displaced, why)
	}
	for s, want := range map[secret]refusal{kept: granted, oldest: refusedTicket, young: granted, fresh: granted} {
		if _, _, why := ts.redeem(s, "1", now); why != want {
			t.Errorf("got %v, want %v", why, want)
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
