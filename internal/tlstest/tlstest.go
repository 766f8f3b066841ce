// Package tlstest makes certificates for tests: authorities, and what they issue for 127.0.0.1, ::1 and localhost.
package tlstest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

// Authority issues certificates. Several goroutines may use it.
type Authority struct {
	Certificate *x509.Certificate
	key         crypto.Signer
	serial      atomic.Int64
}

// Template says what a certificate is to be like.
type Template struct {
	Name     string        // the subject's common name, and a DNS name
	URIs     []string      // further names
	Expires  time.Duration // from now; 0 means an hour, and less that it has expired
	RSA      bool          // a key of RSA-2048 rather than ECDSA P-256
	Lifetime time.Duration // before it expires; 0 means a day
}

// NewAuthority makes an authority.
func NewAuthority(t testing.TB) *Authority {
	t.Helper()
	a := &Authority{key: newKey(t, false)}
	a.serial.Store(1)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority of a test"},
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(48 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.Certificate = a.issue(t, template, template, a.key.Public())
	return a
}

func (a *Authority) issue(t testing.TB, template, parent *x509.Certificate, public crypto.PublicKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, a.key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newKey(t testing.TB, useRSA bool) crypto.Signer {
	t.Helper()
	var key crypto.Signer
	var err error
	if useRSA {
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	} else {
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// Issue makes a certificate that servers and clients may use, and its key.
func (a *Authority) Issue(t testing.TB, want Template) tls.Certificate {
	t.Helper()
	key := newKey(t, want.RSA)
	if want.Expires == 0 {
		want.Expires = time.Hour
	}
	if want.Lifetime == 0 {
		want.Lifetime = 24 * time.Hour
	}
	end := time.Now().Add(want.Expires)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(a.serial.Add(1)), Subject: pkix.Name{CommonName: want.Name},
		NotBefore: end.Add(-want.Lifetime), NotAfter: end, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		DNSNames:    []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	if want.Name != "" {
		template.DNSNames = append(template.DNSNames, want.Name)
	}
	for _, text := range want.URIs {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		template.URIs = append(template.URIs, u)
	}
	leaf := a.issue(t, template, a.Certificate, key.Public())
	return tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
}

// Pool returns the authority as what others trust.
func (a *Authority) Pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.Certificate)
	return p
}

// PEM returns the authority's certificate as text.
func (a *Authority) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Certificate.Raw})
}

// PEM returns the texts of a certificate and its key.
func PEM(t testing.TB, c tls.Certificate) (certificate, key []byte) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range c.Certificate {
		certificate = append(certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: b})...)
	}
	return certificate, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// Write puts a certificate and its key into files in the folder, tls.crt and tls.key, and returns their paths.
func Write(t testing.TB, folder string, c tls.Certificate) (certificate, key string) {
	t.Helper()
	cert, private := PEM(t, c)
	return WriteFile(t, folder, "tls.crt", cert), WriteFile(t, folder, "tls.key", private)
}

// WriteFile writes a file that only its owner can read, and returns its path.
func WriteFile(t testing.TB, folder, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(folder, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
