package auth

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Bounds of the conditions in an entry.
const (
	maxClaimDepth     = 8    // maps within each other
	maxClaims         = 256  // in one entry, at all depths; aliases count as often as they stand
	maxConditionBytes = 1024 // of a text or a claim's name
)

// claims reads what the claims of a token must be. It is nil where something is wrong.
func (p *parser) claims(n *yaml.Node) rule {
	left := maxClaims
	r := p.claimsMap(n, 1, &left)
	if r == nil {
		return nil
	}
	return r
}

// claimsMap reads a map of claims. left is how many more the entry may have.
func (p *parser) claimsMap(n *yaml.Node, depth int, left *int) claimsRule {
	switch {
	case n.Kind != yaml.MappingNode:
		p.addf(n, `claims must be a map from the name of a claim to what it must be, such as sub: "system:serviceaccount:shop:billing"`)
		return nil
	case len(n.Content) == 0:
		p.addf(n, "claims has no claim, so every token would match; write at least one")
		return nil
	case depth > maxClaimDepth:
		p.addf(n, "claims must not be nested deeper than %d", maxClaimDepth)
		*left = -1 // the problem is reported once
		return nil
	}
	var r claimsRule
	p.fields(n, func(name string, at, value *yaml.Node) {
		*left--
		switch {
		case *left < 0:
			if *left == -1 {
				p.addf(at, "an entry must not have more than %d claims", maxClaims)
			}
		case !plainText(name):
			p.addf(at, "the name of a claim must be 1 to %d bytes of text without control characters", maxConditionBytes)
		case value.Kind == yaml.MappingNode:
			r = append(r, claim{name: name, within: p.claimsMap(value, depth+1, left)})
		default:
			r = append(r, claim{name: name, values: p.conditions("a claim", value, left)})
		}
	})
	return r
}

// certificate reads what the names in a certificate must be. It is nil where something is wrong.
func (p *parser) certificate(n *yaml.Node) rule {
	if n.Kind != yaml.MappingNode || len(n.Content) == 0 {
		p.addf(n, "certificate must be a map with one or more of uri, dns and cn, such as uri: spiffe://cluster.local/ns/shop/sa/billing")
		return nil
	}
	r := &certificateRule{}
	before, left := len(p.problems), maxClaims
	p.fields(n, func(key string, at, value *yaml.Node) {
		switch key {
		case "uri":
			r.uri = p.uris(value, &left)
		case "dns":
			r.dns = p.dns(value)
		case "cn":
			r.cn = p.conditions(key, value, &left)
		default:
			p.addf(at, "unknown key %s; a certificate has uri, dns and cn", keyName(key))
		}
	})
	if len(p.problems) > before {
		return nil
	}
	return r
}

// conditions reads one text or a list of them.
func (p *parser) conditions(key string, n *yaml.Node, left *int) texts {
	const what = `texts, such as "billing", or with a * at the end for all that begin so, such as "billing-*"`
	list := p.texts(key, n, what)
	if n.Kind == yaml.SequenceNode && len(n.Content) == 0 {
		p.addf(n, "the list is empty and would match no client; write one of %s", what)
	}
	var all texts
	for _, item := range list {
		if *left--; *left == -1 {
			p.addf(item, "an entry must not have more than %d texts", maxClaims)
		}
		if *left < 0 {
			return nil
		}
		if !plainText(item.Value) {
			p.addf(item, "%s must be 1 to %d bytes of text without control characters", key, maxConditionBytes)
			continue
		}
		all = append(all, parseText(item.Value))
	}
	return all
}

func (p *parser) uris(n *yaml.Node, left *int) texts {
	all := p.conditions("uri", n, left)
	for _, t := range all {
		if scheme, rest, ok := strings.Cut(t.value, "://"); !ok || scheme == "" || rest == "" {
			p.addf(n, "uri must begin with a scheme and a host, such as spiffe://cluster.local/ns/shop/*")
			return nil
		}
	}
	return all
}

func (p *parser) dns(n *yaml.Node) domains {
	const what = `DNS names, such as "billing.example.com", or "*.example.com" for all below it`
	if n.Kind == yaml.SequenceNode && len(n.Content) == 0 {
		p.addf(n, "the list is empty and would match no client; write one of %s", what)
	}
	var all domains
	for _, item := range p.texts("dns", n, what) {
		d, ok := parseDomain(item.Value)
		if !ok {
			p.addf(item, "dns must be one of %s", what)
			continue
		}
		all = append(all, d)
	}
	return all
}

// plainText reports whether s can stand in a condition.
func plainText(s string) bool {
	return s != "" && len(s) <= maxConditionBytes && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}
