package client_test

import (
	"context"
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/client"
	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/hubtest"
)

func mustHold(t *testing.T, c *client.Client, group string) *client.Hold {
	t.Helper()
	ctx, cancel := within(20 * time.Second)
	defer cancel()
	h, err := c.Hold(ctx, group)
	if err != nil {
		t.Fatal(err)
	}
	if h.Term() == 0 || h.Left() <= 0 || h.Context().Err() != nil {
		t.Fatalf("term %d, left %v, %v", h.Term(), h.Left(), h.Context().Err())
	}
	return h
}

// held waits for a Hold on a goroutine.
func holdLater(c *client.Client, group string) <-chan *client.Hold {
	got := make(chan *client.Hold, 1)
	go func() {
		ctx, cancel := within(20 * time.Second)
		defer cancel()
		h, _ := c.Hold(ctx, group)
		got <- h
	}()
	return got
}

// TestHold has a group change hands between clients: given up, with the client, and with its connection.
func TestHold(t *testing.T) {
	t.Parallel()
	s := hubtest.Start(t, hubtest.Options{})
	a, b := dialReal(t, s, client.Options{}), dialReal(t, s, client.Options{})
	first := mustHold(t, a, "leader")
	if _, err := a.Hold(t.Context(), "leader"); !errors.Is(err, client.ErrHeld) {
		t.Errorf("a second Hold: %v", err)
	}
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := b.Hold(short, "leader"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while another one holds it: %v", err)
	}
	waiting := holdLater(b, "leader")
	select {
	case <-waiting:
		t.Fatal("two hold the group")
	case <-time.After(2500 * time.Millisecond): // longer than one confirmation lasts
	}
	if first.Left() <= 0 || first.Context().Err() != nil {
		t.Fatalf("lost without a reason: %v", context.Cause(first.Context()))
	}
	began := time.Now()
	if err := first.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	second := <-waiting
	if took := time.Since(began); second == nil || second.Term() <= first.Term() || took > 2*time.Second { // less than one confirmation lasts
		t.Fatalf("after %v: %+v", took, second)
	}
	if cause := context.Cause(first.Context()); first.Context().Err() == nil || !errors.Is(cause, client.ErrHoldReleased) || first.Left() != 0 {
		t.Errorf("released: %v", cause)
	}
	waiting = holdLater(a, "leader")
	ctx, cancel := within(10 * time.Second)
	defer cancel()
	if err := b.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if cause := context.Cause(second.Context()); !errors.Is(cause, client.ErrClosed) {
		t.Errorf("of a closed Client: %v", cause)
	}
	third := <-waiting
	if third == nil || third.Term() <= second.Term() {
		t.Fatalf("after the Client's goodbye: %+v", third)
	}
	s.Kill()
	select {
	case <-third.Context().Done():
	case <-time.After(10 * time.Second):
		t.Fatal("the Hold outlives the hub")
	}
	if cause := context.Cause(third.Context()); !errors.Is(cause, client.ErrHoldLost) {
		t.Errorf("without a hub: %v", cause)
	}
}

func TestHoldRefused(t *testing.T) {
	t.Parallel()
	s := hubtest.Start(t, hubtest.Options{})
	c := dialReal(t, s, client.Options{Group: "g"})
	for group, want := range map[string]string{"g": "CONFLICT", "$x": ""} {
		_, err := c.Hold(t.Context(), group)
		var refused *client.GroupError
		switch {
		case err == nil:
			t.Errorf("%s: held", group)
		case want != "" && (!errors.As(err, &refused) || string(refused.Code) != want):
			t.Errorf("%s: %v", group, err)
		}
	}
}

// TestHoldMoves drains the holder's instance, and the next one: the Hold stays, though another Client waits for it.
func TestHoldMoves(t *testing.T) {
	t.Parallel()
	hubs, restart := startHubs(t, 3, hubtest.Options{})
	at := &elsewhere{hubs: []string{hubs[0].HubAddr, hubs[1].HubAddr}}
	c := dialReal(t, hubs[0], client.Options{Dial: at.dial})
	waiter := dialReal(t, hubs[2], client.Options{})
	h := mustHold(t, c, "leader")
	waiting := holdLater(waiter, "leader")
	term := h.Term()
	for i := range 2 {
		at.at.Store(int32(1 - i))
		old := c.Identity().ID
		hubs[i].Signal(syscall.SIGTERM)
		if _, ok := hubs[i].Wait(30 * time.Second); !ok {
			t.Fatal("the instance does not end")
		}
		eventually.True(t, "the move", func() bool { return c.Identity().ID != old })
		select {
		case <-h.Context().Done():
			t.Fatalf("lost in move %d: %v", i, context.Cause(h.Context()))
		case <-waiting:
			t.Fatalf("two hold the group after move %d", i)
		case <-time.After(4 * time.Second): // longer than what the old connection was told, and a lease
		}
		eventually.True(t, "a higher term", func() bool { return h.Term() > term })
		term = h.Term()
		restart(i)
	}
	if h.Context().Err() != nil {
		t.Fatalf("lost: %v", context.Cause(h.Context()))
	}
	if err := h.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if next := <-waiting; next == nil || next.Term() <= term {
		t.Fatalf("released: %+v", next)
	}
}
