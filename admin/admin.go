// Package admin serves operators over HTTP, on a listener of its own: health, readiness and metrics.
//
// It asks the hub and keeps nothing. Requests are served by goroutines of net/http; none of them waits for a loop.
package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/mastersocket/mastersocket/hub"
)

// Options configure a Server.
type Options struct {
	Hub *hub.Hub
	Log *slog.Logger
}

// Server is the admin listener.
type Server struct {
	http   *http.Server
	addr   net.Addr
	served chan error
}

// Limits of the HTTP server.
const (
	headerTimeout = 5 * time.Second
	requestTime   = 30 * time.Second
	idleTime      = 2 * time.Minute
	headerBytes   = 16 << 10
)

// Listen serves on addr ("host:port") until Close.
func Listen(ctx context.Context, addr string, o Options) (*Server, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("admin: listen on %s: %w", addr, err)
	}
	s := &Server{
		addr:   l.Addr(),
		served: make(chan error, 1),
		http: &http.Server{
			Handler:           handler(o),
			ReadHeaderTimeout: headerTimeout,
			ReadTimeout:       requestTime,
			WriteTimeout:      requestTime,
			IdleTimeout:       idleTime,
			MaxHeaderBytes:    headerBytes,
			ErrorLog:          slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
		},
	}
	go func() { s.served <- s.http.Serve(l) }()
	return s, nil
}

// Addr returns the address that the server listens on.
func (s *Server) Addr() net.Addr { return s.addr }

// Close stops listening and waits for requests in progress until ctx ends.
func (s *Server) Close(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	if e := <-s.served; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	if err != nil {
		return fmt.Errorf("admin: close: %w", err)
	}
	return nil
}

func handler(o Options) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		newCollector(o.Hub),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { o.ready(w) })
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
	return mux
}

// ready says whether the hub may be sent traffic.
func (o Options) ready(w http.ResponseWriter) {
	if err := o.Hub.Ready(); err != nil {
		answer(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	answer(w, http.StatusOK, "ready")
}

func answer(w http.ResponseWriter, status int, line string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = fmt.Fprintln(w, line) // whoever asked has gone away
}
