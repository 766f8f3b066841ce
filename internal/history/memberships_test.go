package history

import (
	"bytes"
	"testing"
)

// TestMemberships breaks each promise about groups that are joined and left while connected.
func TestMemberships(t *testing.T) {
	t.Parallel()
	const before, joined, after = 0, 1, 2
	for name, tt := range map[string]struct {
		to      To
		arrives []int // the times at which messages 0 to 2, sent before, during and behind the membership, arrive; -1 for never
		refused bool
		kind    Kind
		want    int
	}{
		"right":                            {To{Group, "x"}, []int{-1, joined, -1}, false, Outside, 0},
		"before the answer to SUBSCRIBE":   {To{Group, "x"}, []int{before, joined, -1}, false, Outside, 1},
		"on its way when it joined":        {To{Group, "x"}, []int{joined, joined, -1}, false, Outside, 0},
		"behind that to UNSUBSCRIBE":       {To{Group, "x"}, []int{-1, joined, after}, false, Outside, 1},
		"late":                             {To{Group, "x"}, []int{-1, after, -1}, false, Outside, 1},
		"refused, but there":               {To{Group, "x"}, []int{-1, joined, -1}, true, Outside, 1},
		"an ANY before the answer":         {To{Any, "x"}, []int{before, joined, -1}, false, Outside, 0},
		"an ANY behind that":               {To{Any, "x"}, []int{-1, joined, after}, false, Outside, 1},
		"another group":                    {To{Group, "g"}, []int{before, joined, after}, false, Outside, 0},
		"lost in another group":            {To{Group, "g"}, []int{before, -1, after}, false, Lost, 1},
		"lost, though a later one arrived": {To{Group, "x"}, []int{-1, -1, joined}, false, Lost, 1},
		"perhaps too late":                 {To{Group, "x"}, []int{-1, -1, -1}, false, Lost, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := New(0)
			clock := int64(0)
			h.now = func() int64 { clock++; return clock }
			from, p := h.Session("sender"), h.Session("member")
			for _, s := range []*Session{from, p} {
				s.Identifying(Identity{Groups: []string{"g"}, NoEcho: true})
				s.Identified(s.String())
			}
			arrive := func(when int) {
				for n, at := range tt.arrives {
					if at == when {
						p.Arrived(AppendID(nil, 0, n), []byte("sender#0"), AppendPayload(nil, 0, n, 0))
					}
				}
			}
			from.Send(tt.to)
			p.Subscribing("x")
			arrive(before)
			if tt.refused {
				p.NotSubscribed("x")
			} else {
				p.Subscribed("x")
			}
			from.Send(tt.to)
			from.Send(tt.to)
			arrive(joined)
			if !tt.refused {
				p.Unsubscribing("x")
				p.Unsubscribed("x")
			}
			arrive(after)
			for n := range 3 {
				from.Accepted(n)
			}
			var b bytes.Buffer
			if err := h.WriteNDJSON(&b); err != nil { // what is written has it all
				t.Fatal(err)
			}
			again := New(0)
			if err := again.ReadNDJSON(&b); err != nil {
				t.Fatal(err)
			}
			for _, h := range []*History{h, again} {
				r := h.Check(Options{})
				if r.Counts[tt.kind] != tt.want || r.Violations() != tt.want && tt.want == 0 {
					t.Errorf("%d %v, want %d: %v", r.Counts[tt.kind], tt.kind, tt.want, r)
				}
			}
		})
	}
}
