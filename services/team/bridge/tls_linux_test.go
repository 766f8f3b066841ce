package bridge_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"strings"
	"testing"

	"github.com/mastersocket/mastersocket/services/team/bridge"
	"github.com/mastersocket/mastersocket/services/team/rtm"
	"github.com/mastersocket/mastersocket/services/team/rtmtest"
)

// trusting makes the bridge trust an authority.
func trusting(t *testing.T, authority []byte) *tls.Config {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(authority) {
		t.Fatal("the authority has no certificate")
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
}

// Global and the teams over TLS, by either scheme: the server's certificate is checked.
func TestTLS(t *testing.T) {
	t.Parallel()
	server, authority := rtmtest.Certificate(t)
	for _, scheme := range []string{"https", "wss"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			o := fast()
			o.TLSConfig = trusting(t, authority)
			r := start(t, o, rtmtest.Options{TLS: server, Scheme: scheme})
			r.join(ids(3)...)
			for i, id := range ids(3) {
				r.send(id, fmt.Sprint(i+1, strings.Repeat(" props", 3000)))
			}
			r.sink.messages(3)
			r.rtm.DropAll()
			r.await("all back", func() bool { return r.rtm.Sockets(rtm.IntID(3)) == 2 })
			r.connected(3)
			r.counted(ids(3)...)
		})
	}
}

// A server with an untrusted certificate gets neither token nor connection.
func TestUntrusted(t *testing.T) {
	t.Parallel()
	server, _ := rtmtest.Certificate(t)
	_, another := rtmtest.Certificate(t)
	o := fast()
	o.TLSConfig = trusting(t, another)
	o.GlobalToken = func() (string, error) { return "s3cret", nil }
	r := start(t, o, rtmtest.Options{TLS: server})
	r.until("the certificate refused", func(s bridge.Status) bool { return strings.Contains(s.Global.LastError, "certificate") })
	if n := r.rtm.Globals(); n != 0 {
		t.Errorf("%d requests came through", n)
	}
}

// The bridge does not connect to a ws_url with an untrusted certificate.
func TestTeamUntrusted(t *testing.T) {
	t.Parallel()
	server, _ := rtmtest.Certificate(t)
	secure := rtmtest.Start(t, rtmtest.Options{TLS: server})
	r := start(t, fast(), rtmtest.Options{Plan: &rtmtest.Plan{Ask: func(id rtm.ID, n int) rtmtest.Answer {
		if id == victim && n <= 2 {
			return rtmtest.WithURL(id, func(string) string { return "wss://" + secure.Addr() + "/connect/team/1" })
		}
		return rtmtest.Answer{}
	}}})
	r.join(bystander)
	undisturbed(t, r, func() {
		r.rtm.Join(victim)
		r.connected(2)
	})
	if n := r.bridge.Status().Connections.Failed["handshake"]; n < 2 {
		t.Errorf("%d handshakes failed, want 2", n)
	}
}
