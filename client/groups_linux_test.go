package client_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/client"
	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/hubtest"
)

// A client of 1,024 groups moves from instance to instance, and changes its groups all the time. Nothing that is sent to a
// group that it stays in is lost, duplicated or reordered.
func TestManyGroupsMove(t *testing.T) {
	t.Parallel()
	const times, groups, changing = 3, 1000, 20
	hubs, restart := startHubs(t, 3, hubtest.Options{})
	to := &elsewhere{hubs: []string{hubs[0].HubAddr, hubs[1].HubAddr}}
	var told moves
	in := newTally(t, "the client that moves")
	mover := dialReal(t, hubs[0], client.Options{
		Group: "movers", Dial: to.dial, NoEcho: true, Logger: slog.New(&told),
		OnMessage:    handlerOf(in.take),
		OnDisconnect: func(err error) { t.Errorf("OnDisconnect(%v)", err) },
	})
	var names []string
	for i := range groups {
		names = append(names, fmt.Sprintf("group-%d", i))
	}
	if err := mover.Subscribe(t.Context(), names...); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var wg sync.WaitGroup
	sent := make([][][2]int, 3)
	for who := range sent {
		c := dialReal(t, hubs[2], client.Options{Group: "senders"})
		wg.Go(func() {
			for n := 1; ctx.Err() == nil; n++ {
				if _, err := c.SendAcked(context.Background(), client.Group(names[n*7%groups]), "in", [2]int{who, n}); err != nil {
					t.Errorf("sender %d: %v", who, err)
					return
				}
				sent[who] = append(sent[who], [2]int{who, n})
			}
		})
	}
	changes := 0
	wg.Go(func() {
		for ; ctx.Err() == nil; changes++ {
			change := mover.Subscribe
			if changes/changing%2 == 1 {
				change = mover.Unsubscribe
			}
			waiting, cancel := context.WithTimeout(context.Background(), 60*time.Second)
			err := change(waiting, fmt.Sprintf("extra-%d", changes%changing))
			if cancel(); err != nil {
				t.Errorf("change %d: %v", changes, err)
			}
			time.Sleep(10 * time.Millisecond) // within what a connection may name in a second
		}
	})
	for i := range times {
		here := i % 2
		to.at.Store(int32(1 - here))
		hubs[here].Signal(syscall.SIGTERM)
		if err := eventually.Within(60*time.Second, func() bool { return told.count() == i+1 }); err != nil {
			t.Fatalf("move %d: %v; warnings %q", i+1, err, told.other)
		}
		if _, ok := hubs[here].Wait(30 * time.Second); !ok {
			t.Fatal("the hub has not ended")
		}
		restart(here)
	}
	stop()
	wg.Wait()
	defer closeClient(t, mover) // before the hubs end
	all := 0
	for who := range sent {
		all += len(sent[who])
		if err := eventually.Within(30*time.Second, func() bool { return len(in.missing(sent[who])) == 0 }); err != nil {
			t.Errorf("missing messages of sender %d: %v", who, in.missing(sent[who]))
		}
	}
	t.Logf("%d moves with %d groups, %d messages, %d changes; a move took %v; sends waited %v; warnings %q",
		times, groups, all, changes, told.took, told.waited, told.other)
	if len(told.other) > 0 || len(mover.Groups()) < 1+groups {
		t.Errorf("%d groups; warnings: %q", len(mover.Groups()), told.other)
	}
}
