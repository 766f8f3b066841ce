package hub

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/hub/internal/clientid"
)

// TestCloseAnswers closes an instance while messages to a client that left it are on their way: each of them is answered,
// whether it came before the end or after.
func TestCloseAnswers(t *testing.T) {
	t.Parallel()
	bus := memory.NewBus()
	_, here := startHub(t, bus.Broker(), loops(2))
	closing, there := startHub(t, bus.Broker(), loops(2))
	gone := identify(t, there, "g", nil)
	gone.send(m{"op": 2})
	if f := gone.read(); f.Op != 2 {
		t.Fatalf("got %+v", f)
	}
	sender := identify(t, here, "senders", m{"features": []string{"errors"}})
	closed, sent := make(chan struct{}), make(chan int, 1)
	go func() {
		for n, after := 0, 100; ; n++ {
			select {
			case <-closed: // and some more
				if after--; after == 0 {
					sent <- n
					return
				}
			default:
			}
			sender.send(event(strconv.Itoa(n), to("DIRECT", gone.id)))
		}
	}()
	got, answered := 0, make(map[string]bool)
	take := func() {
		f := sender.read()
		if n, err := strconv.Atoi(f.ID); f.Op != 6 || err != nil || n < 0 || answered[f.ID] {
			t.Fatalf("answered with %+v", f)
		}
		answered[f.ID] = true // those that came back from there may be overtaken by others
		got++
	}
	for got < 50 {
		take()
	}
	go func() {
		defer close(closed)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := closing.Close(ctx); err != nil {
			t.Error(err)
		}
	}()
	for total := -1; total < 0 || got < total; {
		select {
		case total = <-sent:
			continue
		default:
		}
		if total < 0 || got < total {
			take()
		}
	}
}

// TestDirectToALoopThatIsNot: an id that names a loop which its instance does not have is that of no client.
func TestDirectToALoopThatIsNot(t *testing.T) {
	t.Parallel()
	hubs, urls := twoHubs(t)
	sender := identify(t, urls[0], "g", m{"features": []string{"errors"}})
	for _, h := range hubs {
		sender.send(event("nobody", to("DIRECT", clientid.New(clientid.Location{Node: h.node.ID, Loop: 200, Slot: 3}).String())))
		if f := sender.read(); f.Op != 6 || f.ID != "nobody" || f.Data.(m)["code"] != "NO_RECEIVER" {
			t.Errorf("got %+v", f)
		}
	}
}
