package hub

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/opcodes"
)

// TestMembershipCost measures what a membership beyond the first keeps in memory: at most 32 bytes, whatever the length of
// the group's name, which exists once.
func TestMembershipCost(t *testing.T) {
	h, _ := startHub(t, memory.NewBus().Broker(), nil)
	sh := h.shards[0]
	const clients, groups = 10_000, 32
	names := make([]string, groups)
	for i := range names {
		names[i] = fmt.Sprintf("%0128d", i)
	}
	measure := func(f func()) int {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		f()
		runtime.GC()
		runtime.ReadMemStats(&after)
		return int(after.HeapAlloc) - int(before.HeapAlloc)
	}
	if err := h.onLoops(t.Context(), func(other *shard) {
		if other != sh {
			return
		}
		sessions := make([]*session, clients)
		for i := range sessions {
			sessions[i] = &session{shard: sh, weight: opcodes.DefaultWeight}
			sessions[i].phase = phaseIdentified
			sessions[i].first = sessions[i].enter(h.groups.expect("first", sessions[i]))
			sessions[i].first.group.forget(sessions[i])
			sessions[i].others()
		}
		bytes := measure(func() {
			for _, s := range sessions {
				for _, name := range names { // one by one, as the worst case
					s.enterGroups([]*group{h.groups.expect(name, s)})
				}
			}
		})
		each := float64(bytes) / (clients * groups)
		t.Logf("%d clients in %d groups more: %.1f bytes for each membership", clients, groups, each)
		if each > 32 && !raceEnabled {
			t.Errorf("a membership costs %.1f bytes, want at most 32", each)
		}
		one := sessions[0]
		many := make([]*group, 1023)
		for i := range many { // the groups themselves are there already
			many[i] = h.groups.expect(fmt.Sprintf("many %d", i), sessions[1])
			many[i].local[0].list = append(make([]*session, 0, 4), sessions[1])
		}
		bytes = measure(func() {
			for _, g := range many {
				one.enterGroups([]*group{g})
			}
		})
		t.Logf("a client in 1,023 groups more: %.1f bytes for each membership", float64(bytes)/float64(len(many)))
		if each := float64(bytes) / float64(len(many)); each > 32 && !raceEnabled {
			t.Errorf("a membership of many costs %.1f bytes, want at most 32", each)
		}
		for _, s := range sessions {
			s.rest.more = nil // they were never clients of the hub
		}
	}); err != nil {
		t.Fatal(err)
	}
}
