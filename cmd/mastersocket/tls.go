//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/internal/config"
	"github.com/mastersocket/mastersocket/transport"
)

// certificates are the certificate of the listeners with TLS, and the authorities of clients' certificates. Its methods may be
// called from any goroutine.
type certificates struct {
	inForce atomic.Pointer[tlsInForce]
}

// tlsInForce is a certificate with the authorities of clients, and the configuration made of them.
type tlsInForce struct {
	files  *config.TLS
	config *tls.Config
}

// take puts what was read from files in force, and reports whether it differs from before. If it does not, the
// tls.Config stays, and with it the sessions that clients can resume. Without TLS f is nil.
func (c *certificates) take(f *config.TLS) (changed bool) {
	old := c.inForce.Load()
	if f == nil || old != nil && sameTLS(old.files, f) {
		return false
	}
	c.inForce.Store(&tlsInForce{f, transport.NewTLSConfig(f.Certificate, f.ClientCAs)})
	return old != nil
}

func sameTLS(a, b *config.TLS) bool {
	return slices.EqualFunc(a.Certificate.Certificate, b.Certificate.Certificate, bytes.Equal) && samePool(a.ClientCAs, b.ClientCAs)
}

func samePool(a, b *x509.CertPool) bool {
	return a == b || a != nil && b != nil && a.Equal(b)
}

// config returns the configuration in force; nil without TLS.
func (c *certificates) config() *tls.Config {
	if t := c.inForce.Load(); t != nil {
		return t.config
	}
	return nil
}

// end returns when the certificate in force ends.
func (c *certificates) end() time.Time { return c.inForce.Load().files.Certificate.Leaf.NotAfter }

// adminTLS is config for the admin listener, nil where that is without TLS.
func (c *certificates) adminTLS(s *config.Serve) func() *tls.Config {
	if !s.AdminTLS {
		return nil
	}
	return c.config
}

// endOrNil is end, nil without TLS.
func (c *certificates) endOrNil() func() time.Time {
	if c.inForce.Load() == nil {
		return nil
	}
	return c.end
}

// listenTLS serves WebSocket clients over TLS, if that is set.
func (c *certificates) listenTLS(ctx context.Context, s *config.Serve, h *hub.Hub, log *slog.Logger) error {
	if s.TLSListen == "" {
		return nil
	}
	addr, err := h.ListenWebSocketTLS(ctx, string(s.TLSListen), c.config)
	if err != nil {
		return explainListen(s.Place("tls-listen"), s.TLSListen, err)
	}
	log.Info("listening", "listener", "tls", "addr", addr.String(), "certificate_until", c.end().UTC().Format(time.RFC3339))
	return nil
}
