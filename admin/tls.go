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

// tlsListener puts TLS before a listener. config says what is in force.
func tlsListener(l net.Listener, config func() *tls.Config) net.Listener {
	return tls.NewListener(l, &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			// crypto/tls takes the keys of tickets from the outer configuration, so that a session would outlive a
			// change of the authorities of clients. Operators are few, and resume nothing.
			c := config().Clone()
			c.SessionTicketsDisabled = true
			return c, nil
		},
	})
}

// certified returns what the certificate that the client showed allows, if it showed one that was verified when the
// connection began, is still valid, and stands in the tokens file. There may be one where somebody else's page makes a
// browser send the request: guard.origins refuses those that change anything, and no other page may read answers.
func (g *guard) certified(r *http.Request) (hub.Credential, bool) {
	return g.api.hub.AuthenticateCertificate(peerCertificate(r))
}

func peerCertificate(r *http.Request) *x509.Certificate {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return nil
	}
	return r.TLS.PeerCertificates[0]
}

// collectTLS turns the counts of TLS into metrics.
func (c collector) collectTLS(s *transport.TLSStats, w metrics.Writer) {
	w.Gauge(descTLSEnd, float64(c.end().Unix()))
	w.Counter(descTLSDone, s.Done-s.Resumed, "done")
	w.Counter(descTLSDone, s.Resumed, "resumed")
	for why, n := range s.Failed {
		w.Counter(descTLSDone, n, why)
	}
}
