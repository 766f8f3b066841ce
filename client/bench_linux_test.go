package client_test

import (
	"context"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/client"
	"github.com/mastersocket/mastersocket/internal/hubtest"
)

// The benchmarks run against the built hub in its own process.

var benchData = map[string]any{"order": 1234567, "items": []string{"a", "b", "c"}, "note": "the quick brown fox jumps over the lazy dog"}

func dialBench(b *testing.B, s *hubtest.Server, o client.Options) *client.Client {
	b.Helper()
	o.URL, o.Token = s.URL(), s.Token
	ctx, cancel := within(30 * time.Second)
	defer cancel()
	c, err := client.Connect(ctx, o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { closeClient(b, c) })
	return c
}

// One goroutine sends and waits for each write.
func BenchmarkSend(b *testing.B) {
	s := hubtest.Start(b, hubtest.Options{})
	dialBench(b, s, client.Options{Group: "sink"})
	c := dialBench(b, s, client.Options{Group: "g", NoAcks: true})
	b.ReportAllocs()
	for b.Loop() {
		if err := c.Send(context.Background(), client.Group("sink"), "order.created", benchData); err != nil {
			b.Fatal(err)
		}
	}
}

// One goroutine has many acknowledged messages on their way.
func BenchmarkQueue(b *testing.B) {
	s := hubtest.Start(b, hubtest.Options{})
	dialBench(b, s, client.Options{Group: "sink"})
	c := dialBench(b, s, client.Options{Group: "g"})
	receipts := make(chan *client.Receipt, 1000)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for r := range receipts {
			if _, err := r.Wait(context.Background()); err != nil {
				b.Error(err)
			}
		}
	}()
	b.ReportAllocs()
	for b.Loop() {
		r, err := c.Queue(context.Background(), client.Group("sink"), "order.created", benchData)
		if err != nil {
			b.Fatal(err)
		}
		receipts <- r
	}
	close(receipts)
	<-done
}

// One client requests, the other one replies.
func BenchmarkRequest(b *testing.B) {
	s := hubtest.Start(b, hubtest.Options{})
	o := worker(0)
	dialBench(b, s, o)
	c := dialBench(b, s, client.Options{Group: "g"})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Request(context.Background(), client.Any("workers"), "work", 1); err != nil {
			b.Fatal(err)
		}
	}
}
