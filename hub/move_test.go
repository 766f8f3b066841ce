package hub

import (
	"context"
	"strconv"
	"sync"
	"testing"

	"github.com/coder/websocket/wsjson"

	"github.com/mastersocket/mastersocket/broker/memory"
)

// TestMove moves a client from connection to connection, over all loops of two instances, while clients of each send to
// its group: what the old connection got before the FENCE, and the new one from its beginning, has no gap.
func TestMove(t *testing.T) {
	t.Parallel()
	bus := memory.NewBus()
	_, here := startHub(t, bus.Broker(), loops(3))
	_, there := startHub(t, bus.Broker(), loops(2))
	urls := []string{here, there}
	ctx, stop := context.WithCancel(t.Context())
	var senders sync.WaitGroup
	for i := range 6 {
		p := identify(t, urls[i%2], "senders", m{"name": strconv.Itoa(i)})
		senders.Go(func() { p.sendOn(ctx, "g") })
	}
	last := make(map[string]int)
	take := func(f frame) {
		n, _ := strconv.Atoi(f.ID)
		before, known := last[f.Sender]
		switch {
		case known && n > before+1:
			t.Fatalf("%d of %s comes after %d", n, f.Sender, before)
		case n > before || !known:
			last[f.Sender] = n
		}
	}
	old := identify(t, here, "g", withDrain)
	for i := range 25 {
		next := identify(t, urls[i%2], "g", withDrain)
		next.send(fenceTo(old, "f"))
		for f := old.read(); f.Op != 13; f = old.read() {
			take(f)
		}
		_ = old.conn.CloseNow()
		for range 30 {
			take(next.read())
		}
		old = next
	}
	stop()
	senders.Wait()
}

// sendOn sends EVENTs with the ids 1, 2, … to the group, some at a time, until ctx ends.
func (p *peer) sendOn(ctx context.Context, group string) {
	for n := 1; ctx.Err() == nil; {
		for range 5 {
			if err := wsjson.Write(p.ctx, p.conn, event(strconv.Itoa(n), to("GROUP", group))); err != nil {
				p.t.Error(err)
				return
			}
			n++
		}
		p.pong()
	}
}
