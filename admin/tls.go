package admin

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"

	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/internal/metrics"
	"github.com/mastersocket/mastersocket/transport"
)

// tlsListener wraps a listener in TLS. config returns the configuration for the next connection.
func tlsListener(l net.Listener, config func() *tls.Config) net.Listener {
	return tls.NewListener(l, &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			// crypto/tls takes the ticket keys from the outer configuration: a resumed session would survive a change of
			// the client authorities.
			c := config().Clone()
			c.SessionTicketsDisabled = true
			return c, nil
		},
	})
}

// certified returns the credential of the client's certificate, if the connection verified one, it is still valid, and
// the tokens file has an entry for it. A browser shows it for pages of other sites, too: the guard refuses those before.
func (g *guard) certified(r *http.Request) (hub.Credential, bool) {
	return g.api.hub.AuthenticateCertificate(peerCertificate(r))
}

func peerCertificate(r *http.Request) *x509.Certificate {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return nil
	}
	return r.TLS.PeerCertificates[0]
}

// collectTLS turns the counts of TLS handshakes into metrics.
func (c collector) collectTLS(s *transport.TLSStats, w metrics.Writer) {
	w.Gauge(descTLSEnd, float64(c.end().Unix()))
	w.Counter(descTLSDone, s.Done-s.Resumed, "done")
	w.Counter(descTLSDone, s.Resumed, "resumed")
	for why, n := range s.Failed {
		w.Counter(descTLSDone, n, why)
	}
}
