package history

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAnswers(t *testing.T) {
	t.Parallel()
	h := New(0)
	s := h.Session("sender")
	for range 4 {
		s.Send(To{Target: Global})
	}
	s.Accepted(0)
	s.Refused(1, "NO_RECEIVER")
	mark := Now()
	s.Refused(s.Send(To{Target: Global}), "RECEIVER_GONE")
	for n, want := range []struct {
		code string
		ok   bool
	}{{"", true}, {"NO_RECEIVER", true}, {"", false}, {"", false}, {"RECEIVER_GONE", true}, {"", false}} {
		if code, ok := s.Answer(n); code != want.code || ok != want.ok {
			t.Errorf("message %d: %q, %v; want %q, %v", n, code, ok, want.code, want.ok)
		}
	}
	if d := cmp.Diff(map[string]int{"NO_RECEIVER": 1, "RECEIVER_GONE": 1}, h.RefusedSince(0)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(map[string]int{"RECEIVER_GONE": 1}, h.RefusedSince(mark)); d != "" {
		t.Error(d)
	}
}

// TestLateErrors: one ACK and one ERROR for a message are right if another instance found the receiver gone.
func TestLateErrors(t *testing.T) {
	t.Parallel()
	h := New(0)
	s := h.Session("sender")
	direct, anyone, group := s.Send(To{Direct, "x"}), s.Send(To{Target: Any}), s.Send(To{Group, "g"})
	for _, step := range []struct{ first, want bool }{
		{s.Accepted(direct), true}, {s.Refused(direct, "NO_RECEIVER"), false},
		{s.Refused(anyone, "RECEIVER_GONE"), true}, {s.Accepted(anyone), false},
	} {
		if step.first != step.want {
			t.Errorf("first: %v, want %v", step.first, step.want)
		}
	}
	if s.oddities.Count > 0 || s.life.Late != 2 {
		t.Errorf("%d late, oddities %v", s.life.Late, s.oddities)
	}
	if code, ok := s.Answer(direct); code != "NO_RECEIVER" || !ok {
		t.Errorf("%q, %v", code, ok)
	}
	s.Accepted(direct)
	s.Refused(anyone, "RECEIVER_GONE")
	s.Accepted(group)
	s.Refused(group, "NO_RECEIVER")
	other := s.Send(To{Direct, "x"})
	s.Accepted(other)
	s.Refused(other, "FORBIDDEN")
	if s.oddities.Count != 4 || s.life.Late != 2 {
		t.Errorf("%d late, oddities %v", s.life.Late, s.oddities)
	}
}
