package hub

import (
	"fmt"
	"testing"

	"github.com/mastersocket/mastersocket/broker/memory"
)

// anysOf sends so many ANYs to the group and returns how many each of the peers got.
func anysOf(t *testing.T, sender *peer, group string, n int, peers ...*peer) []int {
	t.Helper()
	for i := range n {
		sender.send(event(fmt.Sprint(i), to("ANY", group)))
	}
	sender.send(event("end", to("GLOBAL")))
	got := make([]int, len(peers))
	for i, p := range peers {
		for f := p.read(); f.ID != "end"; f = p.read() {
			got[i]++
		}
	}
	return got
}

// near reports whether a count is what was to be expected, within five standard deviations or so.
func near(got, want int) bool { return got >= want-want/4-10 && got <= want+want/4+10 }

// ANYs are drawn in proportion to the weights, on a loop, between loops and between instances.
func TestWeights(t *testing.T) {
	t.Parallel()
	bus := memory.NewBus()
	var peers []*peer
	var urls []string
	weights := []int{1, 4, 0, 10, 2, 3}
	for range 2 {
		_, url := startHub(t, bus.Broker(), nil)
		urls = append(urls, url)
	}
	for i, w := range weights {
		p := identify(t, urls[i/3], "work", m{"features": []string{"groups"}, "weight": w})
		p.subscribe(fmt.Sprint("further ", i), "further")
		peers = append(peers, p)
	}
	sender := identify(t, urls[0], "boss", withGroups)
	for _, group := range []string{"work", "further"} {
		got := anysOf(t, sender, group, 2000, peers...)
		total := 0
		for i, w := range weights {
			if total += got[i]; !near(got[i], 100*w) || w == 0 && got[i] > 0 {
				t.Errorf("%s: %v were drawn for the weights %v", group, got, weights)
				break
			}
		}
		if total != 2000 {
			t.Errorf("%s: %d arrived", group, total)
		}
	}
	// A weight changes in all groups at once; what is sent to all members still comes.
	if answer, _ := peers[3].change(8, "pause", m{"weight": 0}); len(answer) > 0 {
		t.Errorf("the answer is %v", answer)
	}
	peers[2].change(8, "resume", m{"weight": 10})
	got := anysOf(t, sender, "work", 2000, peers...)
	if !near(got[2], 1000) || got[3] > 0 || !near(got[1], 400) {
		t.Errorf("%v", got)
	}
	sender.send(event("to all", to("GROUP", "work")))
	for i, p := range peers {
		if f := p.read(); f.ID != "to all" {
			t.Errorf("%d got %+v", i, f)
		}
	}
}

// Workers that have all paused get no ANY, and the sender is told. They are receivers of what goes to all members.
func TestAllPaused(t *testing.T) {
	t.Parallel()
	bus := memory.NewBus()
	_, url := startHub(t, bus.Broker(), nil)
	_, otherURL := startHub(t, bus.Broker(), nil)
	p := identify(t, otherURL, "work", m{"features": []string{"groups"}})
	p.subscribe("further")
	p.change(8, "pause", m{"weight": 0})
	for _, senderURL := range []string{url, otherURL} {
		sender := identify(t, senderURL, "boss", m{"features": []string{"errors"}})
		acked := identify(t, senderURL, "boss", m{"features": []string{"acks"}})
		for _, group := range []string{"work", "further"} {
			sender.send(event("any", to("ANY", group)))
			if f := sender.read(); f.Op != 6 || f.Data.(m)["code"] != "NO_RECEIVER" && f.Data.(m)["code"] != "RECEIVER_GONE" {
				t.Errorf("%s: got %+v", group, f)
			}
			acked.send(event("to all", to("GROUP", group)))
			if f := acked.read(); f.Op != 7 || f.Data.(m)["nodes"] != 1.0 {
				t.Errorf("%s: got %+v", group, f)
			}
			if f := p.read(); f.ID != "to all" {
				t.Errorf("%s: got %+v", group, f)
			}
		}
	}
	p.change(8, "resume", m{"weight": 1})
	sender := identify(t, url, "boss", withGroups)
	sender.send(event("any", to("ANY", "work")))
	if f := p.read(); f.ID != "any" {
		t.Errorf("got %+v", f)
	}
}

// What a client says of itself is replaced as a whole.
func TestMetaChanges(t *testing.T) {
	t.Parallel()
	h, url := startHub(t, memory.NewBus().Broker(), nil)
	p := identify(t, url, "g", m{"features": []string{"groups"}, "name": "n", "meta": m{"a": "1", "b": "2"}})
	plain := identify(t, url, "g", withGroups)
	for _, c := range []*peer{p, plain} {
		c.change(8, "s", m{"meta": m{"b": "3"}, "groups": []string{"h"}})
		found, err := h.Client(t.Context(), idOf(c))
		if err != nil || fmt.Sprint(found.Meta) != "map[b:3]" || len(found.Groups) != 2 {
			t.Errorf("%+v, %v", found, err)
		}
		c.change(8, "s", m{"groups": []string{"h"}})
		c.change(8, "s", m{"meta": m{}, "groups": []string{"g"}})
		if found, err = h.Client(t.Context(), idOf(c)); err != nil || len(found.Meta) != 0 {
			t.Errorf("%+v, %v", found, err)
		}
	}
}
