package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/mastersocket/mastersocket/client"
)

// A worker replies to requests.
func Example_worker() {
	ctx := context.Background()
	c, err := client.Connect(ctx, client.Options{
		URL:   "ws://127.0.0.1:42069",
		Token: os.Getenv("MASTERSOCKET_TOKEN"),
		Group: "resizers",
		Name:  "image-resizer",
		On: map[string]client.Handler{
			"image.resize": func(ctx context.Context, m *client.Message) {
				var job struct{ Width, Height int }
				if err := m.Unmarshal(&job); err != nil {
					return
				}
				if err := m.Reply(ctx, map[string]int{"pixels": job.Width * job.Height}); err != nil {
					log.Print(err)
				}
			},
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	<-c.Done() // the Client has ended by itself
	log.Fatal(c.Err())
}

// Request one reply from any of the workers, within two seconds.
func ExampleClient_Request() {
	c := connect()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	reply, err := c.Request(ctx, client.Any("resizers"), "image.resize", map[string]int{"width": 3, "height": 4})
	switch {
	case errors.Is(err, client.ErrNoReceiver):
		fmt.Println("no worker is connected")
	case err != nil:
		log.Fatal(err)
	default:
		fmt.Println(string(reply.Data))
	}
}

// Collect all replies that arrive within a second.
func ExampleClient_RequestMany() {
	c := connect()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for reply, err := range c.RequestMany(ctx, client.Group("resizers"), "status", nil, 0) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(reply.Sender, string(reply.Data))
	}
}

// One of all schedulers works at a time. The term goes along with what it writes, so that a store can refuse one that was
// replaced.
func ExampleClient_Hold() {
	c := connect()
	for {
		hold, err := c.Hold(context.Background(), "scheduler") // waits for its turn
		if err != nil {
			log.Fatal(err)
		}
		for hold.Context().Err() == nil && hold.Left() > time.Second { // what a step takes at most
			fmt.Println("step of term", hold.Term())
		}
		_ = hold.Release(context.Background())
	}
}

// Queue many messages, then wait for each outcome.
func ExampleClient_Queue() {
	c := connect()
	ctx := context.Background()
	var receipts []*client.Receipt
	for i := range 100 {
		r, err := c.Queue(ctx, client.Group("audit"), "step", i)
		if err != nil {
			log.Fatal(err)
		}
		receipts = append(receipts, r)
	}
	for _, r := range receipts {
		if _, err := r.Wait(ctx); err != nil {
			log.Print(err)
		}
	}
}

func connect() *client.Client {
	c, err := client.Connect(context.Background(), client.Options{
		URL: "ws://127.0.0.1:42069", Token: os.Getenv("MASTERSOCKET_TOKEN"), Group: "callers",
	})
	if err != nil {
		log.Fatal(err)
	}
	return c
}

// A dashboard shows who is in a group. It needs a token with the right to watch the group.
func ExampleClient_Watch() {
	ctx := context.Background()
	c, err := client.Connect(ctx, client.Options{
		URL: "ws://127.0.0.1:42069", Token: os.Getenv("MASTERSOCKET_TOKEN"), Group: "dashboard",
	})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close(ctx)
	w, err := c.Watch(ctx, "resizers", client.WatchOptions{
		OnChange: func(w *client.Watch, change client.PresenceChange) {
			for _, m := range change.Joined {
				fmt.Println(m.Name, "is on", m.Node)
			}
			for _, d := range change.Left {
				fmt.Println(d.Member.Name, "left:", d.Reason)
			}
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(w.Members()), "resizers are there")
}
