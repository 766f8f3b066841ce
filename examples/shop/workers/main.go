// Command workers is a worker of the example, as worker.py and worker.mjs: it prices orders. Each order goes to one of all
// workers.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"

	"github.com/mastersocket/mastersocket/client"
)

var prices = map[string]float64{"tea": 3.5, "mug": 12, "kettle": 49}

// price answers order.price. Its error is sent to the requester.
func price(name string) func(context.Context, *client.Message) (any, error) {
	return func(_ context.Context, m *client.Message) (any, error) {
		var items []struct {
			Name  string
			Count int
		}
		if err := m.Unmarshal(&items); err != nil {
			return nil, err
		}
		total := 0.0
		for _, item := range items {
			each, ok := prices[item.Name]
			if !ok {
				return nil, &client.RemoteError{Code: "NO_PRICE", Message: item.Name}
			}
			total += each * float64(item.Count)
		}
		return map[string]any{"total": total, "worker": name}, nil
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	url, name := os.Args[1], os.Args[2]
	hub, err := client.Connect(ctx, client.Options{
		URL: url, Token: os.Getenv("SHOP_TOKEN"), Group: "workers", Name: name,
		On: map[string]client.Handler{"order.price": client.HandleFunc(price(name))},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(name, "prices orders")
	<-ctx.Done()
	_ = hub.Close(context.Background()) // the process ends in any case
}
