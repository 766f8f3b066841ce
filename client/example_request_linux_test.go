package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"slices"
	"time"

	"github.com/mastersocket/mastersocket/client"
)

// A worker answers by what a function returns, and another service asks it.
func ExampleHandleFunc() {
	hub := startHub()
	defer hub.stop()
	worker := hub.connect(client.Options{
		Group: "workers",
		On: map[string]client.Handler{
			"half": client.HandleFunc(func(_ context.Context, m *client.Message) (any, error) {
				var n int
				if err := m.Unmarshal(&n); err != nil || n%2 != 0 {
					return nil, &client.RemoteError{Code: "ODD", Message: "want an even number"}
				}
				return n / 2, nil
			}),
		},
	})
	defer worker.Close(context.Background())
	c := hub.connect(client.Options{Group: "callers"})
	defer c.Close(context.Background())

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	reply, err := c.Request(ctx, client.Any("workers"), "half", 42)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(reply.Data))

	_, err = c.Request(ctx, client.Any("workers"), "half", 43)
	var failed *client.RemoteError
	if errors.As(err, &failed) {
		fmt.Println(failed.Code)
	}
	// Output:
	// 21
	// ODD
}

// A request fails as soon as no answer can come any more, and says why.
func ExampleClient_Request() {
	hub := startHub()
	defer hub.stop()
	worker := hub.connect(client.Options{
		Group: "workers", Name: "worker-1",
		On: map[string]client.Handler{
			"crash": func(_ context.Context, m *client.Message) { panic("out of memory") },
			"hang":  func(ctx context.Context, m *client.Message) {},
		},
	})
	c := hub.connect(client.Options{Group: "callers"})
	defer c.Close(context.Background())

	_, err := c.Request(context.Background(), client.Any("nobody"), "hang", nil)
	fmt.Println("no receiver:", errors.Is(err, client.ErrNoReceiver))

	_, err = c.Request(context.Background(), client.Any("workers"), "unknown", nil)
	var unanswered *client.RequestError
	if errors.As(err, &unanswered) {
		fmt.Println("passed by", unanswered.Passed)
	}

	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	_, err = c.Request(ctx, client.Any("workers"), "hang", nil)
	fmt.Println("in time:", !errors.Is(err, context.DeadlineExceeded))

	go worker.Close(context.Background())
	_, err = c.Request(context.Background(), client.Any("workers"), "hang", nil)
	fmt.Println("answered:", err == nil)
	<-worker.Done()
	// Output:
	// no receiver: true
	// passed by 1
	// in time: false
	// answered: false
}

// The handler's context ends when the caller gives up.
func ExampleMessage_Reply() {
	hub := startHub()
	defer hub.stop()
	begun, ended := make(chan bool), make(chan error)
	worker := hub.connect(client.Options{
		Group: "workers",
		On: map[string]client.Handler{
			"echo": func(ctx context.Context, m *client.Message) {
				if err := m.Reply(ctx, m.Data); err != nil {
					log.Print(err)
				}
			},
			"sleep": func(ctx context.Context, m *client.Message) {
				close(begun)
				<-ctx.Done()
				ended <- m.Reply(context.Background(), "too late")
			},
		},
	})
	defer worker.Close(context.Background())
	c := hub.connect(client.Options{Group: "callers"})
	defer c.Close(context.Background())

	reply, err := c.Request(context.Background(), client.Any("workers"), "echo", "hi")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(reply.Data))

	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-begun
		cancel()
	}()
	_, err = c.Request(ctx, client.Any("workers"), "sleep", nil)
	fmt.Println(errors.Is(err, context.Canceled), errors.Is(<-ended, client.ErrRequestOver))
	// Output:
	// "hi"
	// true true
}

// An answer in parts.
func ExampleClient_Stream() {
	hub := startHub()
	defer hub.stop()
	worker := hub.connect(client.Options{
		Group: "workers",
		On: map[string]client.Handler{
			"count": func(ctx context.Context, m *client.Message) {
				for i := range 3 {
					if err := m.ReplyMore(ctx, i); err != nil {
						return // nothing more is wanted
					}
				}
				_ = m.Reply(ctx, "done")
			},
		},
	})
	defer worker.Close(context.Background())
	c := hub.connect(client.Options{Group: "callers"})
	defer c.Close(context.Background())

	for m, err := range c.Stream(context.Background(), client.Any("workers"), "count", nil) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(string(m.Data), m.More)
	}
	// Output:
	// 0 true
	// 1 true
	// 2 true
	// "done" false
}

// threeWorkers connects workers that answer "who" with their names; the third one passes.
func threeWorkers(hub *exampleHub) (stop func()) {
	var all []*client.Client
	for _, name := range []string{"a", "b", "c"} {
		all = append(all, hub.connect(client.Options{
			Group: "workers", Name: name,
			On: map[string]client.Handler{
				"who": func(ctx context.Context, m *client.Message) {
					if name == "c" {
						m.Pass()
						return
					}
					_ = m.Reply(ctx, name)
				},
			},
		}))
	}
	return func() {
		for _, c := range all {
			_ = c.Close(context.Background())
		}
	}
}

// All answers of a group, and what became of the rest.
func ExampleClient_RequestAll() {
	hub := startHub()
	defer hub.stop()
	defer threeWorkers(hub)()
	c := hub.connect(client.Options{Group: "callers"})
	defer c.Close(context.Background())

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	replies, s, err := c.RequestAll(ctx, client.Group("workers"), "who", nil)
	if err != nil {
		log.Fatal(err)
	}
	var names []string
	for _, m := range replies {
		names = append(names, string(m.Data))
	}
	slices.Sort(names)
	fmt.Println(names, s.Receivers, "receivers,", s.Passed, "passed")
	// Output: ["a" "b"] 3 receivers, 1 passed
}

// The first two answers of a group.
func ExampleClient_RequestMany() {
	hub := startHub()
	defer hub.stop()
	defer threeWorkers(hub)()
	c := hub.connect(client.Options{Group: "callers"})
	defer c.Close(context.Background())

	n := 0
	for _, err := range c.RequestMany(context.Background(), client.Group("workers"), "who", nil, 2) {
		if err != nil {
			log.Fatal(err)
		}
		n++
	}
	fmt.Println(n)
	// Output: 2
}

// Another worker gets the request if the first one passes.
func ExampleWithRetry() {
	hub := startHub()
	defer hub.stop()
	var workers []*client.Client
	for _, busy := range []bool{true, false} {
		workers = append(workers, hub.connect(client.Options{
			Group: "workers",
			On: map[string]client.Handler{
				"work": func(ctx context.Context, m *client.Message) {
					if busy {
						m.Pass()
						return
					}
					_ = m.Reply(ctx, "done")
				},
			},
		}))
	}
	defer workers[0].Close(context.Background())
	defer workers[1].Close(context.Background())
	c := hub.connect(client.Options{Group: "callers"})
	defer c.Close(context.Background())

	for range 10 {
		reply, err := c.Request(context.Background(), client.Any("workers"), "work", nil, client.WithRetry())
		if err != nil {
			log.Fatal(err)
		}
		if string(reply.Data) != `"done"` {
			fmt.Println(string(reply.Data))
		}
	}
	fmt.Println("all done")
	// Output: all done
}

// Requests with the same key go to the same worker, such as the one with that user's cart in memory.
func ExampleWithKey() {
	hub := startHub()
	defer hub.stop()
	var workers []*client.Client
	for range 3 {
		workers = append(workers, hub.connect(client.Options{
			Group: "workers",
			On:    map[string]client.Handler{"cart": func(ctx context.Context, m *client.Message) { _ = m.Reply(ctx, nil) }},
		}))
	}
	defer func() {
		for _, w := range workers {
			_ = w.Close(context.Background())
		}
	}()
	c := hub.connect(client.Options{Group: "callers"})
	defer c.Close(context.Background())

	answered := map[string]bool{}
	for range 10 {
		reply, err := c.Request(context.Background(), client.Any("workers"), "cart", nil, client.WithKey("user-7"))
		if err != nil {
			log.Fatal(err)
		}
		answered[reply.Sender] = true
	}
	fmt.Println(len(answered), "worker")
	// Output: 1 worker
}
