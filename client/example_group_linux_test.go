package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/mastersocket/mastersocket/client"
)

// Groups change while the Client is connected. Nothing that is sent to them after Subscribe has returned is missed.
func ExampleClient_Subscribe() {
	hub := startHub()
	defer hub.stop()
	got := make(chan string)
	c := hub.connect(client.Options{
		Group: "workers", On: map[string]client.Handler{"hi": func(_ context.Context, m *client.Message) { got <- m.Intent.String() }},
	})
	defer c.Close(context.Background())

	ctx := context.Background()
	if err := c.Subscribe(ctx, "orders.eu", "audit"); err != nil {
		log.Fatal(err)
	}
	if err := c.Send(ctx, client.Group("orders.eu"), "hi", nil); err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-got)
	if err := c.Unsubscribe(ctx, "orders.eu"); err != nil {
		log.Fatal(err)
	}
	fmt.Println(c.Groups())

	err := c.Unsubscribe(ctx, "workers")
	var refused *client.GroupError
	if errors.As(err, &refused) {
		fmt.Println(refused.Group, refused.Code)
	}
	// Output:
	// GROUP:orders.eu
	// [workers audit]
	// workers PRIMARY_GROUP
}

// A worker pauses: with the weight 0 it gets no more messages by Any.
func ExampleClient_SetWeight() {
	hub := startHub()
	defer hub.stop()
	c := hub.connect(client.Options{Group: "workers"})
	defer c.Close(context.Background())

	ctx := context.Background()
	if err := c.SetWeight(ctx, 0); err != nil {
		log.Fatal(err)
	}
	_, err := c.SendAcked(ctx, client.Any("workers"), "job", nil)
	fmt.Println(errors.Is(err, client.ErrNoReceiver))
	_, err = c.SendAcked(ctx, client.Group("workers"), "news", nil)
	fmt.Println(err)
	// Output:
	// true
	// <nil>
}

// A dashboard shows who is in a group, and what they say of themselves.
func ExampleClient_Watch() {
	hub := startHub()
	defer hub.stop()
	ctx := context.Background()
	worker := hub.connect(client.Options{Group: "workers", Name: "worker-1"})
	c := hub.connect(client.Options{Group: "dashboard"})
	defer c.Close(ctx)

	changed := make(chan bool)
	w, err := c.Watch(ctx, "workers", client.WatchOptions{
		OnChange: func(_ *client.Watch, change client.PresenceChange) {
			for _, m := range change.Joined {
				fmt.Println(m.Name, "is on", m.Node)
			}
			for _, m := range change.Updated {
				fmt.Println(m.Name, "is", m.Meta["state"])
				changed <- true
			}
			for _, d := range change.Left {
				fmt.Println(d.Member.Name, "left:", d.Reason)
				changed <- true
			}
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(w.Members()), "worker")
	if err := worker.SetMeta(ctx, map[string]string{"state": "busy"}); err != nil {
		log.Fatal(err)
	}
	<-changed
	_ = worker.Close(ctx)
	<-changed
	if err := w.Close(ctx); err != nil {
		log.Fatal(err)
	}
	// Output:
	// worker-1 is on hub
	// 1 worker
	// worker-1 is busy
	// worker-1 left: NO_REASON
}

// One of all schedulers works at a time. The term goes along with what it writes, so that a store can refuse one that was
// replaced.
func ExampleClient_Hold() {
	hub := startHub()
	defer hub.stop()
	ctx := context.Background()
	first, second := hub.connect(client.Options{Group: "schedulers"}), hub.connect(client.Options{Group: "schedulers"})
	defer first.Close(ctx)
	defer second.Close(ctx)

	hold, err := first.Hold(ctx, "nightly")
	if err != nil {
		log.Fatal(err)
	}
	took := make(chan *client.Hold)
	go func() {
		next, err := second.Hold(ctx, "nightly") // waits for its turn
		if err != nil {
			log.Fatal(err)
		}
		took <- next
	}()
	// What can't be interrupted begins only while enough time is left, and else ends with the context.
	fmt.Println("first:", hold.Context().Err() == nil && hold.Left() > 0)
	term := hold.Term()
	if err := hold.Release(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println("released:", errors.Is(context.Cause(hold.Context()), client.ErrHoldReleased))
	next := <-took
	fmt.Println("second, with a higher term:", next.Term() > term)
	_ = next.Release(ctx)
	// Output:
	// first: true
	// released: true
	// second, with a higher term: true
}
