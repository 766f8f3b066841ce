package hub

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/opcodes"
)

// leaveSoon tells the client to move, and has it send a FENCE from another instance.
func leaveSoon(t *testing.T, h *Hub, old, next *peer) (s *session, sh *shard) {
	t.Helper()
	id := uuid.MustParse(old.id)
	sh = h.shardOf(&id)
	onLoop(sh, func() {
		s = sh.client(&id)
		s.sendDrain(0, 0, opcodes.DrainRebalance)
	})()
	notice(t, old)
	next.send(fenceTo(old, "f"))
	order(t, "the old connection", old, "FENCE")
	return s, sh
}

// drawn tells which of the first two instances the third one draws for an ANY of the group.
func drawn(hubs []*Hub, group string) (first, second bool) {
	for random := range uint64(60) { // a multiple of the members that there are
		node, _ := hubs[2].broker.Draw([]byte(group), 0, random)
		first, second = first || node == hubs[0].node.ID, second || node == hubs[1].node.ID
	}
	return first, second
}

// TestDepart has a client move: others draw the new connection alone for an ANY as soon as there is one, while the old one
// gets everything else until it is left. One that stays after all is drawn again.
func TestDepart(t *testing.T) {
	t.Parallel()
	hubs, urls := rebalancing(t, 3, DrainSettings{})
	extra := m{"features": []string{"drain"}, "groups": []string{"h", "i"}}
	old, next := identify(t, urls[0], "g", extra), identify(t, urls[1], "g", extra)
	sender := identify(t, urls[2], "senders", nil)
	next.send(fenceTo(old, "e")) // it was not told to move: that says nothing
	order(t, "the old connection", old, "FENCE")
	if first, second := drawn(hubs, "g"); !first || !second {
		t.Errorf("before the move the old connection is drawn: %v, the new one: %v", first, second)
	}
	s, sh := leaveSoon(t, hubs[0], old, next)
	for _, group := range []string{"g", "h", "i", ""} {
		if first, second := drawn(hubs, group); first || !second && group != "" {
			t.Errorf("for group %q the old connection is drawn: %v, the new one: %v", group, first, second)
		}
	}
	sender.send(event("1", to("GROUP", "g")))
	sender.send(event("2", to("DIRECT", old.id)))
	order(t, "the old connection", old, "1", "2")
	order(t, "the new connection", next, "1")
	neighbour := identify(t, urls[0], "senders", nil) // of the old connection
	for i := range 30 {
		neighbour.send(event(fmt.Sprint("any ", i), to("ANY", "g")))
		order(t, "the new connection", next, fmt.Sprint("any ", i))
	}
	onLoop(sh, func() {
		s.departedAt -= uint32((departTime + time.Second).Milliseconds())
		s.stay()
	})()
	if first, _ := drawn(hubs, "g"); !first {
		t.Error("a client that stayed is not drawn again")
	}
}

// TestDepartAlone: a client that is about to leave is drawn by its own instance if there is no other.
func TestDepartAlone(t *testing.T) {
	t.Parallel()
	hubs, urls := rebalancing(t, 3, DrainSettings{})
	old, next := identify(t, urls[0], "g", withDrain), identify(t, urls[1], "elsewhere", withDrain)
	leaveSoon(t, hubs[0], old, next)
	neighbour := identify(t, urls[0], "senders", nil)
	neighbour.send(event("1", to("ANY", "g")))
	order(t, "the only member", old, "1")
}

// TestDepartLeaves counts members right when one that was about to leave does, and others come.
func TestDepartLeaves(t *testing.T) {
	t.Parallel()
	hubs, urls := rebalancing(t, 3, DrainSettings{})
	old, next := identify(t, urls[0], "g", withDrain), identify(t, urls[1], "g", withDrain)
	leaveSoon(t, hubs[0], old, next)
	other := identify(t, urls[0], "g", nil)
	if first, _ := drawn(hubs, "g"); !first {
		t.Error("a member that came is not drawn")
	}
	old.send(m{"op": 2})
	if f := old.read(); f.Op != 2 {
		t.Fatalf("got %+v", f)
	}
	g := hubs[0].groups.find([]byte("g"))
	if n := g.total() - g.offered(); n != 0 || g.offered() != 1 {
		t.Errorf("%d are about to leave, %d are offered, want 0 and 1", n, g.offered())
	}
	_ = other
}
