package auth

import (
	"crypto/x509"
	"encoding/binary"
	"strings"
)

// certificateRule is what the names in a certificate must be: one of each kind that has any.
type certificateRule struct {
	uri, cn texts
	dns     domains
}

// ByCertificate returns the grant of a client certificate: that of the first entry of the tokens file whose names are in
// it, or false if there is none. The caller has verified that a trusted authority signed the certificate for clients, and
// that the client holds its key.
//
// Where the entry has uri, one of the certificate's URIs (RFC 5280 section 4.2.1.6, as SPIFFE uses them) must match one of
// its texts; where it has dns, one of the DNS names; where it has cn, the subject's common name. A * at the end of a uri
// or cn matches any rest; *. before a dns matches one or more labels. Nothing else is checked, times included.
//
// The grant is made for this holder if the entry's rights have placeholders: {cert:cn} or {cert:san}.
func (s *Store) ByCertificate(c *x509.Certificate) (*Grant, bool) {
	t := s.tokens.Load()
	if t == nil || c == nil {
		return nil, false
	}
	for _, g := range t.certificates {
		if g.rule.(*certificateRule).matches(c) {
			return g.forHolder(func(p placeholder) value { return certificateValue(c, p) }), true
		}
	}
	return nil, false
}

// matches reports whether the certificate has the names.
func (r *certificateRule) matches(c *x509.Certificate) bool {
	return (r.uri == nil || r.matchesURI(c)) && (r.dns == nil || r.matchesDNS(c)) && (r.cn == nil || r.cn.match(c.Subject.CommonName))
}

func (r *certificateRule) matchesURI(c *x509.Certificate) bool {
	for _, u := range c.URIs {
		if r.uri.match(u.String()) {
			return true
		}
	}
	return false
}

func (r *certificateRule) matchesDNS(c *x509.Certificate) bool {
	for _, name := range c.DNSNames {
		if r.dns.match(name) {
			return true
		}
	}
	return false
}

// appendIdentity implements rule.
func (r *certificateRule) appendIdentity(b []byte) []byte {
	b = append(b, "certificate"...)
	b = r.uri.appendIdentity(b)
	b = binary.AppendUvarint(b, uint64(len(r.dns)))
	for _, d := range r.dns {
		b = appendText(b, d.String())
	}
	return r.cn.appendIdentity(b)
}

// domain is a DNS name, or all names below it.
type domain struct {
	below bool
	name  string // in lower case, without a dot at the end
}

// parseDomain reads a DNS name, with *. before it for the names below it. ok is false if s is no DNS name.
func parseDomain(s string) (d domain, ok bool) {
	d.name, d.below = strings.CutPrefix(strings.ToLower(s), "*.")
	for label := range strings.SplitSeq(d.name, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return domain{}, false
		}
	}
	return d, len(d.name) <= 253
}

// match reports whether the name is d, or below it where d says so, in any case.
func (d domain) match(name string) bool {
	if !d.below {
		return strings.EqualFold(name, d.name)
	}
	labels := len(name) - len(d.name) - 1
	return labels > 0 && name[labels] == '.' && strings.EqualFold(name[labels+1:], d.name)
}

func (d domain) String() string {
	if d.below {
		return "*." + d.name
	}
	return d.name
}

// domains is a union of domains.
type domains []domain

func (ds domains) match(name string) bool {
	for _, d := range ds {
		if d.match(name) {
			return true
		}
	}
	return false
}
