// Command orders is the order service of the example: it takes orders, has a worker price them, and tells the dashboard.
// It also serves the dashboard's page.
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

// placed is what the customer gets, and the dashboard shows.
type placed struct {
	Number   int64   `json:"number"`
	Customer string  `json:"customer"`
	Total    float64 `json:"total"`
	Worker   string  `json:"worker"` // that priced it
	Error    string  `json:"error,omitempty"`
}

// service is the order service.
type service struct {
	hub    *client.Client
	number atomic.Int64
}

// place handles order.place. The price comes from one of the workers; handlers run one at a time, so it waits in a goroutine.
func (s *service) place(ctx context.Context, m *client.Message) {
	go func() {
		result := s.price(ctx, m)
		if err := m.Reply(ctx, result); err != nil {
			slog.Warn("the customer did not get the answer", "order", result.Number, "error", err)
		}
		if err := s.hub.Send(ctx, client.Group("dashboard"), "order.placed", result); err != nil {
			slog.Warn("the dashboard was not told", "order", result.Number, "error", err)
		}
	}()
}

func (s *service) price(ctx context.Context, m *client.Message) placed {
	var o order
	if err := m.Unmarshal(&o); err != nil || o.Customer == "" || len(o.Items) == 0 {
		return placed{Error: "want a customer and items"}
	}
	result := placed{Number: s.number.Add(1), Customer: o.Customer}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	reply, err := s.hub.Request(ctx, client.Any("workers"), "order.price", o.Items)
	if err != nil {
		result.Error = err.Error()
		return result
	}
	var priced struct {
		Total  float64 `json:"total"`
		Worker string  `json:"worker"`
		Error  string  `json:"error"`
	}
	if err := reply.Unmarshal(&priced); err != nil {
		result.Error = err.Error()
		return result
	}
	result.Total, result.Worker, result.Error = priced.Total, priced.Worker, priced.Error
	return result
}

func run(ctx context.Context, hubURL, token, page, sdk, listen string) error {
	s := &service{}
	// Handlers in Options could be called before Connect has returned, when s.hub is not set.
	hub, err := client.Connect(ctx, client.Options{URL: hubURL, Token: token, Group: "orders", Name: "orders"})
	if err != nil {
		return err
	}
	defer func() {
		end, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = hub.Close(end) // the process ends in any case
	}()
	s.hub = hub
	hub.On("order.place", s.place)

	files := http.NewServeMux()
	files.Handle("/", http.FileServer(http.Dir(page)))
	files.Handle("/sdk/", http.StripPrefix("/sdk/", http.FileServer(http.Dir(sdk))))
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return fmt.Errorf("serve the dashboard: %w", err)
	}
	slog.Info("orders are taken; the dashboard is served", "page", "http://"+l.Addr().String()+"/")
	server := &http.Server{Handler: files, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func main() {
	hubURL := flag.String("hub", "ws://127.0.0.1:42069", "the hub")
	page := flag.String("page", "examples/shop/dashboard", "the folder of the dashboard's page")
	sdk := flag.String("sdk", "sdk/typescript/dist", "the folder of the built TypeScript SDK")
	listen := flag.String("listen", "127.0.0.1:8080", "the address of the dashboard")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *hubURL, os.Getenv("SHOP_TOKEN"), *page, *sdk, *listen); err != nil {
		slog.Error("orders", "error", err)
		os.Exit(1)
	}
}
