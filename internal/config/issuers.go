package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/auth/oidc"
	"github.com/mastersocket/mastersocket/internal/yamldoc"
)

// Bounds of a file with issuers.
const (
	maxIssuers     = 32
	maxIssuerBytes = 1024 // of a name
	maxAudiences   = 32
)

// issuerKeys are the keys of an issuer in the file.
func issuerKeys() []string { return []string{"audience", "jwks", "ca", "bearer-file", "key-file"} }

// loadIssuers reads the issuers whose tokens are verified.
func (v *validation) loadIssuers(l *Loaded) {
	if v.s.OIDCIssuer != "" {
		l.Issuers = append(l.Issuers, *v.s.oidcOptions())
	}
	if path := v.s.IssuersFile; path != "" {
		b, err := readFile(path, maxFileBytes)
		if err != nil {
			v.addf("issuers-file", "can't read %s: %v", path, err)
			return
		}
		l.Issuers = v.parseIssuers(b, path, l.Issuers)
	}
	if err := checkIssuers(l.Tokens, l.Issuers); err != "" {
		v.addf("tokens-file", "%s", err)
	}
}

// CheckIssuers tells, as an [InvalidError], what is wrong with entries of the tokens file where these issuers' tokens are
// verified.
func CheckIssuers(tokens *auth.Tokens, issuers []oidc.Options) error {
	if wrong := checkIssuers(tokens, issuers); wrong != "" {
		return &InvalidError{Problems: []Problem{{Where: "tokens-file", What: wrong}}}
	}
	return nil
}

// checkIssuers returns what is wrong, or nothing. With several issuers an entry must say which it is for: another one may
// use the same subject for someone else.
func checkIssuers(tokens *auth.Tokens, issuers []oidc.Options) string {
	open := tokens.AnyIssuer()
	if len(issuers) < 2 || len(open) == 0 {
		return ""
	}
	return fmt.Sprintf("there are %d issuers, and the entry %q does not say which one's tokens it is for; add the claim iss to its claims, such as iss: %q",
		len(issuers), open[0], issuers[len(issuers)-1].Issuer)
}

// parseIssuers reads the file with issuers that b holds, and appends them to all.
func (v *validation) parseIssuers(b []byte, path string, all []oidc.Options) []oidc.Options {
	p := issuerParser{v: v, path: path, all: all}
	before, found := len(v.problems), false
	for _, pair := range pairs(b, path, &v.problems) {
		if pair.Key.Value != "issuers" {
			p.addf(pair.At, "unknown key %s; the file has the key issuers alone", keyName(pair.Key.Value))
			continue
		}
		found = true
		p.issuers(pair.Value)
	}
	if !found && len(v.problems) == before {
		v.problems.addf(path, "the file names no issuers; write them under the key issuers, as in issuers: {local: {key-file: user.key}}")
	}
	return p.all
}

// issuerParser reads a file with issuers.
type issuerParser struct {
	v     *validation
	path  string
	all   []oidc.Options
	local string // the name of the local issuer
}

func (p *issuerParser) addf(n *yaml.Node, format string, args ...any) {
	p.v.problems.addf(at(p.path, yamldoc.Line(n)), format, args...)
}

// issuers reads the issuers by their names.
func (p *issuerParser) issuers(n *yaml.Node) {
	if n.Kind != yaml.MappingNode || len(n.Content) == 0 {
		p.addf(n, "issuers must have the names of the issuers as keys (the claim iss of their tokens), as in issuers: {local: {key-file: user.key}}")
		return
	}
	for _, pair := range yamldoc.Pairs(n, keyName, p.addf) {
		name := pair.Key.Value
		switch {
		case name == "" || len(name) > maxIssuerBytes:
			p.addf(pair.At, "the name of an issuer must have 1 to %d bytes", maxIssuerBytes)
		case len(p.all) >= maxIssuers:
			p.addf(pair.At, "there are more than %d issuers", maxIssuers)
			return
		case slices.ContainsFunc(p.all, func(o oidc.Options) bool { return o.Issuer == name }):
			p.addf(pair.At, "the issuer %s is also that of oidc-issuer; remove one of them", name)
		default:
			p.issuer(name, pair.At, pair.Value)
		}
	}
}

// issuer reads one issuer.
func (p *issuerParser) issuer(name string, at, n *yaml.Node) {
	if n.Kind != yaml.MappingNode {
		p.addf(at, "the issuer %s must have keys such as audience, or key-file for your own backend", name)
		return
	}
	o := oidc.Options{Issuer: name}
	before := len(p.v.problems)
	for _, pair := range yamldoc.Pairs(n, keyName, p.addf) {
		switch key := pair.Key.Value; key {
		case "audience":
			o.Audiences = p.texts(pair.Value, key, maxAudiences)
		case "key-file":
			o.LocalKeys = p.texts(pair.Value, key, 2)
			for i, path := range o.LocalKeys {
				o.LocalKeys[i] = p.beside(path)
			}
		case "jwks":
			if o.Keys = p.text(pair.Value, key); !strings.Contains(o.Keys, "://") {
				o.Keys = p.beside(o.Keys)
			}
		case "ca":
			o.CAFile = p.beside(p.text(pair.Value, key))
		case "bearer-file":
			o.BearerFile = p.beside(p.text(pair.Value, key))
		default:
			p.addf(pair.At, "unknown key %s%s; an issuer has %s", keyName(key), suggest(key, issuerKeys()), strings.Join(issuerKeys(), ", "))
		}
	}
	if len(p.v.problems) > before {
		return
	}
	p.check(at, &o)
	p.all = append(p.all, o)
}

// check checks one issuer as a whole.
func (p *issuerParser) check(at *yaml.Node, o *oidc.Options) {
	fetched := strings.Contains(o.Keys, "://") || o.Keys == "" && len(o.LocalKeys) == 0
	switch {
	case len(o.LocalKeys) > 0 && o.Keys != "":
		p.addf(at, "the issuer %s has both key-file and jwks; key-file is for your own backend, jwks for any other issuer", o.Issuer)
	case !fetched && (o.CAFile != "" || o.BearerFile != ""):
		p.addf(at, "ca and bearer-file have no meaning where the keys of %s are in a file, as nothing is fetched", o.Issuer)
	case len(o.LocalKeys) > 0 && p.local != "":
		p.addf(at, "both %s and %s have key-file; there is one local issuer, with two keys while one replaces the other", p.local, o.Issuer)
	}
	if len(o.LocalKeys) > 0 {
		p.local = o.Issuer
		if o.Audiences == nil {
			o.Audiences = []string{oidc.LocalAudience}
		}
	}
	if len(o.Audiences) == 0 {
		p.addf(at, "audience is missing: the hub would accept tokens that are for other services; "+
			"write the audience that clients have their tokens issued for, such as mastersocket")
	}
	for _, audience := range o.Audiences {
		if !isAudience(audience) {
			p.addf(at, "%q is no audience; write the claim aud of the tokens, such as mastersocket", audience)
		}
	}
	if err := oidc.CheckSource(o); err != nil {
		p.addf(at, "%v", err)
	}
}

// text reads one plain value.
func (p *issuerParser) text(n *yaml.Node, key string) string {
	if !yamldoc.IsText(n) || n.Value == "" {
		p.addf(n, "%s must be a plain value", key)
		return ""
	}
	return n.Value
}

// texts reads one plain value, or a list of at most so many.
func (p *issuerParser) texts(n *yaml.Node, key string, most int) []string {
	if n.Kind != yaml.SequenceNode {
		return []string{p.text(n, key)}
	}
	if len(n.Content) == 0 || len(n.Content) > most {
		p.addf(n, "%s must be a plain value, or a list of 1 to %d", key, most)
		return nil
	}
	var all []string
	for _, item := range n.Content {
		all = append(all, p.text(yamldoc.Resolve(item), key))
	}
	return all
}

// beside makes a path relative to the folder of the file.
func (p *issuerParser) beside(path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(p.path), path)
}
