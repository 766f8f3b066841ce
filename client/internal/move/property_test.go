package move

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// world is a model of a hub with two instances and of a client that moves between them. Messages and FENCEs are delivered to
// each connection in order, with random delays.
type world struct {
	t      *testing.T
	random *rand.Rand
	m      Machine

	queue     [2][]parcel
	member    [2]bool // gets messages to many
	gone      [2]bool // the connection has ended
	stopping  bool
	sending   [2]bool
	published map[int]int  // by sender: the last number
	moved     map[int]bool // the sender addresses the new id
	want      map[[2]int]bool
	got       map[[2]int]bool
	toNew     map[[2]int]bool // addressed to the new id
	last      map[int]int
	recorded  []parcel // received without a move
	fences    int
	lost      bool
	left      bool
}

// parcel is something on its way to a connection.
type parcel struct {
	msg   *Message
	fence bool
	end   bool
}

func newWorld(t *testing.T, seed uint64) *world {
	return &world{
		t: t, random: rand.New(rand.NewPCG(seed, 7)), member: [2]bool{true, false}, sending: [2]bool{true, false},
		published: map[int]int{}, moved: map[int]bool{}, want: map[[2]int]bool{}, got: map[[2]int]bool{}, toNew: map[[2]int]bool{}, last: map[int]int{},
	}
}

// publish sends a message of a random sender to many or to one.
func (w *world) publish() {
	sender := w.random.IntN(4)
	w.published[sender]++
	id := [2]int{sender, w.published[sender]}
	msg := &Message{Sender: fmt.Sprint(sender), Value: id, Size: 1}
	if w.random.IntN(2) == 0 {
		msg.ToMany = true
		for side := range w.queue {
			if w.member[side] && !w.gone[side] {
				w.queue[side] = append(w.queue[side], parcel{msg: msg})
			}
		}
		w.want[id] = true
		return
	}
	// A sender never goes back to the old id.
	side := Old
	if w.moved[sender] = w.moved[sender] || w.member[New] && w.random.IntN(4) == 0 || w.left; w.moved[sender] {
		side = New
	}
	if w.gone[side] || side == Old && w.left {
		return // refused with NO_RECEIVER
	}
	w.queue[side] = append(w.queue[side], parcel{msg: msg})
	w.want[id], w.toNew[id] = true, side == New
}

// deliver delivers the first parcel to a connection.
func (w *world) deliver(side Side) {
	if len(w.queue[side]) == 0 || w.gone[side] || w.m.Full(side) {
		return
	}
	p := w.queue[side][0]
	w.queue[side] = w.queue[side][1:]
	switch {
	case p.end:
		w.end(side)
	case p.fence:
		w.m.FenceArrived(side)
	default:
		msg := *p.msg
		if msg.ToMany && w.m.NeedsKey() {
			id := msg.Value.([2]int)
			msg.Key = uint64(id[0])<<32 | uint64(id[1])
		}
		on := side
		if w.m.Phase() == Single {
			on = Old // the one that is left
		}
		if w.m.Receive(on, msg) == Deliver {
			w.recorded = append(w.recorded, p)
			w.hand(msg)
		}
	}
	w.perform()
}

func (w *world) end(side Side) {
	w.gone[side], w.member[side] = true, false
	if w.m.Ended(side, nil) {
		w.lost = true
	}
}

func (w *world) hand(msg Message) {
	id := msg.Value.([2]int)
	switch {
	case w.got[id]:
		w.t.Errorf("%v is handed out twice", id)
	case w.lost, w.toNew[id] && w.gone[New]:
		w.got[id] = true // no more is promised than with a reconnect
		return
	case w.last[id[0]] >= id[1]:
		w.t.Errorf("%v is handed out after %d", id, w.last[id[0]])
	}
	w.got[id], w.last[id[0]] = true, id[1]
}

func (w *world) next() {
	for {
		msg, ok := w.m.Next()
		w.perform()
		if !ok {
			return
		}
		w.hand(msg)
	}
}

func (w *world) perform() {
	for _, a := range w.m.Actions() {
		switch a.Kind {
		case SendFence:
			if w.gone[a.Side] || a.Side == Old && w.left {
				continue
			}
			w.fences++
			id := fmt.Sprint(w.fences)
			if !w.m.FenceSent(a.Side, id) {
				continue
			}
			if to := 1 - a.Side; w.random.IntN(10) == 0 || w.gone[to] || !w.member[to] {
				w.m.FenceRefused(a.Side, id)
			} else {
				w.queue[to] = append(w.queue[to], parcel{fence: true})
			}
		case StopSending:
			w.stopping, w.sending[Old] = true, false
		case StartSending:
			w.sending[a.Side], w.stopping = true, false
			if w.sending[1-a.Side] && !w.gone[1-a.Side] {
				w.t.Error("both connections send")
			}
		case Leave:
			w.left, w.member[Old] = true, false
			w.queue[Old] = append(w.queue[Old], parcel{end: true})
		case Doubt, End:
			w.t.Errorf("%v %v after %v in %v", a.Kind, a.Side, a.After, w.m.Phase())
		}
	}
}

// step lets something random happen.
func (w *world) step(publishing bool) {
	switch w.random.IntN(8) {
	case 0, 1:
		if publishing {
			w.publish()
		}
	case 2, 3:
		w.deliver(Old)
	case 4, 5:
		w.deliver(New)
	case 6:
		w.next()
	case 7:
		if w.stopping {
			w.stopping = false
			w.m.Stopped()
			w.perform()
		}
	}
	w.m.Tick(time.Duration(w.random.IntN(2)) * time.Millisecond)
	w.perform()
}

// begin opens the new connection. It gets the last messages that the old one has received during recording, and some or all
// of those that are on their way to the old one.
func (w *world) begin() {
	w.m.Record()
	w.recorded = nil
	for range w.random.IntN(40) {
		w.step(true)
	}
	w.m.Begin()
	w.gone[New], w.member[New] = false, true
	var all []parcel
	for _, p := range append(w.recorded, w.queue[Old]...) {
		if p.msg != nil && p.msg.ToMany {
			all = append(all, p)
		}
	}
	w.queue[New] = all[w.random.IntN(len(all)+1):]
	w.perform()
}

// Random moves without faults lose, duplicate and reorder nothing, and send on one connection at a time.
func TestMovesAreLossless(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		w := newWorld(t, seed)
		w.move(func() bool { return false })
		if w.m.Phase() != Single || !w.gone[Old] || !w.sending[New] || w.lost {
			t.Errorf("seed %d: phase %v, the new one sends: %v, lost: %v", seed, w.m.Phase(), w.sending[New], w.lost)
		}
		w.checkComplete(seed)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// move makes a move. Something may break it at any step.
func (w *world) move(broken func() bool) {
	for range 50 {
		w.step(true)
	}
	w.begin()
	identifyAt := w.random.IntN(30)
	for i := range 1000 {
		if i == identifyAt {
			w.m.Identified()
			w.perform()
		}
		if broken() {
			return
		}
		w.step(true)
	}
	w.settle(broken)
}

// settle lets everything on its way arrive, and time pass until the move is over.
func (w *world) settle(broken func() bool) {
	for range 3000 {
		if broken() {
			return
		}
		w.step(false)
		if w.random.IntN(4) == 0 {
			w.m.Tick(3 * time.Millisecond)
			w.perform()
		}
	}
	w.next()
}

func (w *world) checkComplete(seed uint64) {
	w.t.Helper()
	for id := range w.want {
		if !w.got[id] {
			w.t.Errorf("seed %d: %v is missing", seed, id)
		}
	}
}

// If the new connection breaks at any time, the old one goes on, and nothing that it received or receives is lost. If the old one
// breaks, messages are lost only if that is reported.
func TestMovesWithBrokenConnections(t *testing.T) {
	t.Parallel()
	var phases [2]map[Phase]int
	phases[Old], phases[New] = map[Phase]int{}, map[Phase]int{}
	for seed := range uint64(600) {
		w := newWorld(t, seed)
		side := Side(seed % 2)
		at := w.random.IntN(1500)
		steps, broke := 0, false
		w.move(func() bool {
			if steps++; steps == at && w.m.Phase() != Single && !w.gone[0] && !w.gone[1] {
				broke = true
			}
			return broke
		})
		if !broke || side == New && w.left {
			continue // nothing broke, or both are gone
		}
		phases[side][w.m.Phase()]++
		// What is on its way to the broken connection alone is lost.
		for _, p := range w.queue[side] {
			if p.msg != nil && !p.msg.ToMany {
				delete(w.want, p.msg.Value.([2]int))
			}
		}
		w.end(side)
		w.perform()
		for range 50 {
			w.step(true)
		}
		w.settle(func() bool { return false })
		if w.m.Phase() != Single || !w.sending[1-side] {
			t.Errorf("phase %v, the connection that is left sends: %v", w.m.Phase(), w.sending[1-side])
		}
		if !w.lost {
			w.checkComplete(seed)
		}
		if t.Failed() {
			t.Fatalf("seed %d: the %v connection ended", seed, side)
		}
	}
	t.Logf("ends of the old connection: %v, of the new one: %v", phases[Old], phases[New])
}
