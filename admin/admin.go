// Package admin serves operators over HTTP on a listener of its own: health, readiness, metrics, the REST API below /v1
// and the console.
//
// It holds no state of the hub: each request asks the hub. Goroutines of net/http serve the requests. A request about
// clients waits for the event loops, which answer between two pieces of their own work; no loop waits for a request.
package admin

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mastersocket/mastersocket/admin/console"
	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/internal/hosts"
	"github.com/mastersocket/mastersocket/internal/metrics"
	"github.com/mastersocket/mastersocket/internal/ratelog"
)

// Options configure a Server.
type Options struct {
	Hub    *hub.Hub
	Log    *slog.Logger
	Reload Reloader     // nil: no configuration to reload
	Teams  TeamLister   // nil: the service type team is not enabled
	Fleets FleetManager // nil: the service type fleet is not enabled
	// GatherTimeout is how long a request waits for the other instances; 0 means one second.
	GatherTimeout time.Duration
	// TLS returns the configuration for the next connection; nil serves plain HTTP. A client certificate that it verifies
	// stands for a bearer token.
	TLS            func() *tls.Config
	CertificateEnd func() time.Time     // end of the certificate in force, for the metrics; nil without TLS
	DrainTimeout   func() time.Duration // of a drain that names no time; nil means 0
	AllowedHosts   []string             // names in the Host header that are answered: see [hosts.NewPolicy]
}

// Server is the admin listener.
type Server struct {
	hub    *hub.Hub
	http   *http.Server
	addr   net.Addr
	served chan error
	drain  *drainer
	ended  chan struct{} // closed when Close begins
	ending sync.Once
}

// Limits of the HTTP server. A tail sets its own deadline for each write.
const (
	headerTimeout = 5 * time.Second
	readTimeout   = 10 * time.Second // header and body
	writeTimeout  = 15 * time.Second // from the end of the header
	idleTimeout   = 15 * time.Second
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
		hub: o.Hub, addr: l.Addr(), served: make(chan error, 1), ended: make(chan struct{}), drain: newDrainer(o.Hub, o.DrainTimeout),
	}
	registry := metrics.NewRegistry(collector{o.Hub, o.Reload, o.CertificateEnd}.collect)
	policy, err := hosts.NewPolicy(l.Addr(), o.AllowedHosts)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("admin: allowed hosts: %w", err), l.Close())
	}
	bounded := newListener(l, maxConnections, maxProbeConnections, ratelog.New(o.Log), registry)
	h, err := s.handler(o, registry)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	s.http = &http.Server{
		Handler:           bounded.inPlace(secure(named(policy, h))),
		ConnContext:       withConn,
		ConnState:         onState,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    headerBytes,
		ErrorLog:          slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
	}
	l = bounded
	if o.TLS != nil {
		l = tlsListener(l, o.TLS)
	}
	go func() { s.served <- s.http.Serve(l) }()
	return s, nil
}

// Addr returns the address that the server listens on.
func (s *Server) Addr() net.Addr { return s.addr }

// Close stops listening and waits for requests in progress until ctx ends.
func (s *Server) Close(ctx context.Context) error {
	s.ending.Do(func() { close(s.ended) })
	s.hub.SetOperator(nil)
	s.drain.close()
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

// handler returns the handler of the whole listener.
func (s *Server) handler(o Options, registry *prometheus.Registry) (http.Handler, error) {
	v1, err := newAPI(o, s.drain, s.ended, registry)
	if err != nil {
		return nil, err
	}
	probes := http.NewServeMux()
	probes.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "ok") })
	probes.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { o.ready(w) })
	probes.Handle("GET /metrics", metrics.Handler(registry))
	pages := console.Handler()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 && !isAPI(r.URL.Path) {
			w.Header().Set("Connection", "close") // the response must not wait for the rest of the body
		}
		switch path := r.URL.Path; {
		case isAPI(path):
			w.Header().Set("Cache-Control", "no-store")
			v1.ServeHTTP(w, r)
		case isProbe(path):
			if h, pattern := probes.Handler(r); pattern == "" {
				refuse(w, r, h)
				return
			}
			probes.ServeHTTP(w, r)
		default:
			pages.ServeHTTP(w, r)
		}
	}), nil
}

// named refuses requests under names that the policy does not allow. Health checks tell a page nothing, and may use any
// name.
func named(policy *hosts.Policy, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if path := r.URL.Path; path != "/healthz" && path != "/readyz" && !policy.Allows(r.Host) {
			w.Header().Set("Cache-Control", "no-store")
			writeProblem(w, http.StatusMisdirectedRequest,
				fmt.Sprintf("the listener does not answer the host %q; an operator can allow it with --allowed-hosts", r.Host))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// isAPI reports whether a path is below that of the API.
func isAPI(path string) bool { return path == "/v1" || strings.HasPrefix(path, "/v1/") }

// ready answers whether a load balancer may send clients to the hub.
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
	_, _ = fmt.Fprintln(w, line) // fails only if the connection is gone
}
