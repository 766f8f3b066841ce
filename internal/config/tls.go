package config

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"
)

// maxPEMBytes bounds a file with certificates or a key. That of all authorities of a Linux distribution has 250 KiB.
const maxPEMBytes = 4 << 20

// certificateSoon is how long before its end a certificate is warned about.
const certificateSoon = 7 * 24 * time.Hour

// TLS is what the files of --tls-cert, --tls-key and --tls-client-ca hold.
type TLS struct {
	Certificate tls.Certificate // its Leaf is set
	ClientCAs   *x509.CertPool  // nil without --tls-client-ca

	warnings []string
}

// loadTLS reads the files of --tls-cert, --tls-key and --tls-client-ca. No error repeats a key.
func (v *validation) loadTLS(l *Loaded) {
	s := v.s
	if s.TLSCert == "" || s.TLSKey == "" {
		return
	}
	t := &TLS{}
	v.certificate(t)
	if s.TLSClientCA != "" {
		t.ClientCAs = v.readAuthorities("tls-client-ca", s.TLSClientCA, func(c *x509.Certificate) { t.check(s.TLSClientCA, c) })
	}
	if s.TLSListen == "" && !s.AdminTLS {
		t.warn(s.Place("tls-cert"), "no listener uses the certificate; set tls-listen or admin-tls")
	}
	l.TLS = t
}

// tls checks the settings, and no file.
func (v *validation) tls() {
	s := v.s
	missing := func(setting, needed string) {
		v.addf(setting, "%s is needed as well: the PEM file of a certificate's %s", needed,
			map[string]string{"tls-cert": "chain", "tls-key": "private key"}[needed])
	}
	switch {
	case s.TLSCert != "" && s.TLSKey == "":
		missing("tls-cert", "tls-key")
	case s.TLSCert == "" && s.TLSKey != "":
		missing("tls-key", "tls-cert")
	case s.TLSCert != "":
	case s.TLSListen != "":
		missing("tls-listen", "tls-cert")
	case s.AdminTLS:
		missing("admin-tls", "tls-cert")
	case s.TLSClientCA != "":
		missing("tls-client-ca", "tls-cert")
	}
}

// certificate reads the certificate and its key.
func (v *validation) certificate(t *TLS) {
	var ok bool
	if t.Certificate, ok = v.readKeyPair("tls-cert", v.s.TLSCert, "tls-key", v.s.TLSKey); ok {
		t.check(v.s.TLSCert, t.Certificate.Leaf)
	}
}

// parseCertificates returns all certificates of a file, and is stricter than x509.CertPool.AppendCertsFromPEM, which
// leaves out what it doesn't understand.
func parseCertificates(b []byte) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	for {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("block %d is %q; the file must have certificates and nothing else", len(all)+1, block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(all)+1, err)
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		return nil, errors.New("no certificate is in it; write them as PEM: -----BEGIN CERTIFICATE-----")
	}
	return all, nil
}

// check warns of a certificate that is not valid now, or not for long.
func (t *TLS) check(path string, c *x509.Certificate) {
	switch now := time.Now(); {
	case now.After(c.NotAfter):
		t.warn(path, fmt.Sprintf("the certificate of %s expired at %s", subject(c), c.NotAfter.UTC().Format(time.RFC3339)))
	case now.Before(c.NotBefore):
		t.warn(path, fmt.Sprintf("the certificate of %s is valid from %s only", subject(c), c.NotBefore.UTC().Format(time.RFC3339)))
	case now.Add(certificateSoon).After(c.NotAfter) && c.NotAfter.Sub(c.NotBefore) > 2*certificateSoon:
		t.warn(path, fmt.Sprintf("the certificate of %s expires at %s", subject(c), c.NotAfter.UTC().Format(time.RFC3339)))
	}
}

func (t *TLS) warn(where, what string) { t.warnings = append(t.warnings, where+": "+what) }

// subject names a certificate.
func subject(c *x509.Certificate) string {
	if len(c.DNSNames) > 0 {
		return fmt.Sprintf("%q", c.DNSNames[0])
	}
	return fmt.Sprintf("%q", c.Subject.String())
}
