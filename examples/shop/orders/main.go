// Command orders is an order service of the example, as orders.py and orders.mjs: it has a worker price an order, and tells
// the dashboards. This one also serves the dashboard's page.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"time"

	"github.com/mastersocket/mastersocket/client"
)

// order is what a customer sends with order.place, and item what a worker is asked to price.
type order struct {
	Customer string `json:"customer"`
	Items    []item `json:"items"`
}

type item struct {
	Name  string `json:"name"`
	Count int    `json:"count"`
}

// priced is what a worker answers.
type priced struct {
	Total  float64 `json:"total"`
	Worker string  `json:"worker"` // that priced it
}

// placed is what the customer gets, and the dashboards show.
type placed struct {
	Number   string `json:"number"`
	Customer string `json:"customer"`
	priced
}

// service is the order service.
type service struct {
	hub    *client.Client
	name   string
	number atomic.Int64
}

// place answers order.place. If the worker dies, another one gets the request.
func (s *service) place(ctx context.Context, m *client.Message) (any, error) {
	var o order
	if err := m.Unmarshal(&o); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	reply, err := s.hub.Request(ctx, client.Any("workers"), "order.price", o.Items, client.WithRetry())
	if err != nil {
		return nil, err
	}
	result := placed{Number: fmt.Sprintf("%s-%d", s.name, s.number.Add(1)), Customer: o.Customer}
	if err := reply.Unmarshal(&result.priced); err != nil {
		return nil, err
	}
	return result, s.hub.Send(ctx, client.Group("dashboard"), "order.placed", result)
}

func run(ctx context.Context, hubURL, name, page, sdk, listen string) error {
	hub, err := client.Connect(ctx, client.Options{URL: hubURL, Token: os.Getenv("SHOP_TOKEN"), Group: "orders", Name: name})
	if err != nil {
		return err
	}
	defer func() {
		end, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = hub.Close(end) // the process ends in any case
	}()
	s := &service{hub: hub, name: name}
	answer := client.HandleFunc(s.place)
	// Handlers run one at a time, so each order has a goroutine of its own.
	hub.On("order.place", func(ctx context.Context, m *client.Message) { go answer(ctx, m) })

	files := http.NewServeMux()
	files.Handle("/", http.FileServer(http.Dir(page)))
	files.Handle("/sdk/", http.StripPrefix("/sdk/", http.FileServer(http.Dir(sdk))))
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return fmt.Errorf("serve the dashboard: %w", err)
	}
	fmt.Printf("%s takes orders; the dashboard is at http://%s/\n", name, l.Addr())
	server := &http.Server{Handler: files, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func main() {
	page := flag.String("page", "examples/shop/dashboard", "the folder of the dashboard's page")
	sdk := flag.String("sdk", "sdk/typescript/dist", "the folder of the built TypeScript SDK")
	listen := flag.String("listen", "127.0.0.1:8080", "the address of the dashboard")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, flag.Arg(0), flag.Arg(1), *page, *sdk, *listen); err != nil {
		slog.Error("orders", "error", err)
		os.Exit(1)
	}
}
