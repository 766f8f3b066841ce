//go:build linux

package clustertest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/internal/figure"
	"github.com/mastersocket/mastersocket/internal/freeport"
	"github.com/mastersocket/mastersocket/internal/hubtest"
	"github.com/mastersocket/mastersocket/internal/redistest"
)

// TestTLS connects two instances over rediss:// with a certificate in the system's trust store, and shows that an
// instance without trust does not connect.
func TestTLS(t *testing.T) {
	t.Parallel()
	cert, key := certificate(t)
	port := strconv.Itoa(freeport.Take(t))
	redis := redistest.Start(t, "--tls-port", port, "--tls-cert-file", cert, "--tls-key-file", key,
		"--tls-ca-cert-file", cert, "--tls-auth-clients", "no")
	url := "rediss://127.0.0.1:" + port
	c := startCluster(t, 2, clusterOptions{url: func(int) string { return url }, env: []string{"SSL_CERT_FILE=" + cert}, redis: redis})
	exchange(t, c, "rediss://, certificate of a private authority in SSL_CERT_FILE")

	unverified := startCluster(t, 2, clusterOptions{url: func(int) string { return url + "?skip_verify=true" }, flags: []string{"--redis-prefix", "other"}})
	exchange(t, unverified, "rediss://…?skip_verify=true")

	distrustful := hubtest.Start(t, hubtest.Options{Redis: url})
	if ready, text := readiness(distrustful); ready || !strings.Contains(text, "certificate") {
		t.Errorf("an instance that does not trust the certificate: ready %v, %q", ready, text)
	}
}

// certificate makes a self-signed certificate for 127.0.0.1, and returns the paths of it and its key.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "redis for tests"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "PRIVATE KEY", encoded)
}

// exchange runs a short load over all instances of c and expects every message to arrive.
func exchange(t *testing.T, c *cluster, how string) {
	t.Helper()
	l := startLoad(t, c.urls(), loadOptions{senders: 4, receivers: 4, groups: 2})
	l.runFor(time.Second)
	l.awaitDelivery()
	r := l.finish(c)
	wantAll(t, r)
	figure.Printf(t, "%s: %d deliveries", how, r.Arrivals)
}
