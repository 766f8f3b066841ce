package client_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/mastersocket/mastersocket/client"
)

// A program that keeps its place in a group with history goes on there when it starts again.
func ExamplePositionsFile() {
	h := startHub() // it keeps 1,000 messages of each group orders.*
	defer h.stop()
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	handled := make(chan struct{})
	program := func() *client.Client {
		return h.connect(client.Options{
			Group:     "orders.eu",
			Positions: client.PositionsFile(filepath.Join(dir, "positions.json")),
			OnMessage: func(_ context.Context, m *client.Message) {
				fmt.Println(m.Offset, string(m.Data))
				handled <- struct{}{}
			},
			OnGap: func(g client.Gap) { log.Printf("messages of %s are missing: %s", g.Group, g.Reason) },
		})
	}
	shop := h.connect(client.Options{Group: "shop"})
	defer shop.Close(ctx)
	order := func(what string) {
		if _, err := shop.SendAcked(ctx, client.Group("orders.eu"), "order", what); err != nil {
			log.Fatal(err)
		}
	}

	first := program()
	order("tea")
	<-handled
	if err := first.Close(ctx); err != nil {
		log.Fatal(err)
	}
	order("coffee") // while the program does not run
	second := program()
	<-handled
	if err := second.Close(ctx); err != nil {
		log.Fatal(err)
	}

	// Output:
	// 1 "tea"
	// 2 "coffee"
}
