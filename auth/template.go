package auth

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/mastersocket/mastersocket/intent"
)

// Bounds of placeholders and of what stands in their place.
const (
	maxValueBytes     = 64  // of a claim or name of a certificate that becomes a part of a group's name
	maxClaimPathBytes = 256 // of the name of a claim in a placeholder
)

// What begins a placeholder.
const (
	claimPrefix       = "{claim:"
	certificatePrefix = "{cert:"
)

// placeholder stands in a right of an entry for what the holder's own token or certificate says.
type placeholder struct {
	claim bool   // of a token's claims; else of a certificate's names
	name  string // of the claim, with dots between the names of nested ones; cn or san
}

func (p placeholder) String() string {
	if p.claim {
		return claimPrefix + p.name + "}"
	}
	return certificatePrefix + p.name + "}"
}

// right is one of a grant's lists.
type right uint8

const (
	rightGroups right = iota
	rightSend
	rightWatch
	rightHold
	rightRecover
)

// template is a pattern with placeholders in one of an entry's rights.
type template struct {
	right  right
	target intent.Target // of a permission to send
	parts  []part
	tail   string // behind the last placeholder: empty, or a dot and more
}

// part is a literal text and the placeholder behind it.
type part struct {
	before string
	value  placeholder
}

// hasPlaceholder reports whether the text is to be read by parseTemplate.
func hasPlaceholder(s string) bool {
	return strings.Contains(s, claimPrefix) || strings.Contains(s, certificatePrefix)
}

// parseTemplate reads a pattern of group names with placeholders. Only a dot or the pattern's end may follow a placeholder:
// a value could otherwise go on into what is beside it, as 1 does into 12 in front of a star.
func parseTemplate(s string) (template, error) {
	var t template
	for rest := s; ; {
		at := strings.Index(rest, claimPrefix)
		if cert := strings.Index(rest, certificatePrefix); at < 0 || cert >= 0 && cert < at {
			at = cert
		}
		if at < 0 {
			t.tail = rest
			break
		}
		p, after, err := parsePlaceholder(rest[at:])
		if err != nil {
			return template{}, err
		}
		if after != "" && after[0] != '.' {
			return template{}, fmt.Errorf("only a dot, or the end, may follow %v", p)
		}
		t.parts = append(t.parts, part{rest[:at], p})
		rest = after
	}
	if _, err := intent.ParsePattern(t.text(func(placeholder) string { return "x" })); err != nil {
		return template{}, err
	}
	return t, nil
}

// parsePlaceholder reads the placeholder that s begins with, and returns what is behind it.
func parsePlaceholder(s string) (p placeholder, after string, err error) {
	inside, after, ok := strings.Cut(s, "}")
	if !ok {
		return placeholder{}, "", errors.New("a placeholder has no } at its end")
	}
	if name, ok := strings.CutPrefix(inside, certificatePrefix); ok {
		if name != "cn" && name != "san" {
			return placeholder{}, "", errors.New("a certificate has {cert:cn} and {cert:san}")
		}
		return placeholder{name: name}, after, nil
	}
	name := strings.TrimPrefix(inside, claimPrefix)
	depth := 0
	for level := range strings.SplitSeq(name, ".") {
		if depth++; level == "" || depth > maxClaimDepth {
			return placeholder{}, "", fmt.Errorf("the name in a placeholder must be that of a claim, or up to %d with dots between them, as in {claim:user.id}", maxClaimDepth)
		}
	}
	if len(name) > maxClaimPathBytes || strings.ContainsAny(name, "{") || strings.ContainsFunc(name, unicode.IsControl) {
		return placeholder{}, "", fmt.Errorf("the name in a placeholder must have at most %d bytes, without { and control characters", maxClaimPathBytes)
	}
	return placeholder{claim: true, name: name}, after, nil
}

// text returns the template with values in the place of its placeholders.
func (t *template) text(value func(placeholder) string) string {
	var b strings.Builder
	for _, p := range t.parts {
		b.WriteString(p.before)
		b.WriteString(value(p.value))
	}
	b.WriteString(t.tail)
	return b.String()
}

// equal reports whether both are written alike.
func (t template) equal(o template) bool {
	return t.right == o.right && t.target == o.target && t.tail == o.tail && slices.Equal(t.parts, o.parts)
}

// Cause is why a value can't be a part of a group's name. The causes are a fixed set.
type Cause string

// The causes.
const (
	CauseMissing   Cause = "missing"
	CauseNoText    Cause = "not a text"
	CauseAmbiguous Cause = "more than one"
	CauseEmpty     Cause = "empty"
	CauseTooLong   Cause = "longer than 64 bytes"
	CauseUTF8      Cause = "not valid UTF-8"
	CauseControl   Cause = "has a control character"
	CauseSpecial   Cause = "has a dot or a star"
	CauseName      Cause = "makes no group's name"
)

// Unusable is a placeholder of an entry that a holder's token or certificate has no usable value for. What it stands in
// matches nothing.
type Unusable struct {
	Placeholder string
	Cause       Cause
}

// value is what one holder has for a placeholder.
type value struct {
	of    placeholder
	text  string
	cause Cause // why text can't be used; empty if it can
}

// derived is what a grant has that was made for one holder of an entry with placeholders.
type derived struct {
	entry    *Grant
	values   []value
	unusable []Unusable
}

// Unusable returns the placeholders of the grant's entry that stand for nothing, in a grant of [Store.ByClaims] or
// [Store.ByCertificate].
func (g *Grant) Unusable() []Unusable {
	if g.derived == nil {
		return nil
	}
	return g.derived.unusable
}

// forHolder returns the grant for a holder whose values look returns: g itself where it has no placeholders.
func (g *Grant) forHolder(look func(placeholder) value) *Grant {
	if len(g.templates) == 0 {
		return g
	}
	var values []value
	for i := range g.templates {
		for _, p := range g.templates[i].parts {
			if !slices.ContainsFunc(values, func(v value) bool { return v.of == p.value }) {
				values = append(values, look(p.value))
			}
		}
	}
	return g.derive(values)
}

// fromEarlier returns the grant for the holder of an earlier one, or false if that has no value for a placeholder of g.
func (g *Grant) fromEarlier(old *Grant) (*Grant, bool) {
	switch {
	case old == g, old.derived != nil && old.derived.entry == g:
		return old, true
	case len(g.templates) == 0:
		return g, true
	case old.derived == nil:
		return nil, false
	}
	known := true
	made := g.forHolder(func(p placeholder) value {
		i := slices.IndexFunc(old.derived.values, func(v value) bool { return v.of == p })
		if i < 0 {
			known = false
			return value{of: p, cause: CauseMissing}
		}
		return old.derived.values[i]
	})
	if !known {
		return nil, false
	}
	return made, true
}

// derive returns the entry's grant with the values in the place of its placeholders. What has an unusable value is left
// out: a permission with the zero Pattern would allow every group.
func (g *Grant) derive(values []value) *Grant {
	d := &derived{entry: g, values: values}
	for _, v := range values {
		if v.cause != "" {
			d.unusable = append(d.unusable, Unusable{v.of.String(), v.cause})
		}
	}
	made := *g
	made.templates, made.derived = nil, d
	made.Groups, made.Send = slices.Clone(g.Groups), slices.Clone(g.Send)
	made.Watch, made.Hold, made.Recover = slices.Clone(g.Watch), slices.Clone(g.Hold), slices.Clone(g.Recover)
	for i := range g.templates {
		t := &g.templates[i]
		usable := true
		text := t.text(func(p placeholder) string {
			v := &values[slices.IndexFunc(values, func(v value) bool { return v.of == p })]
			usable = usable && v.cause == ""
			return v.text
		})
		if !usable {
			continue
		}
		pattern, err := intent.ParsePattern(text)
		if err != nil { // too long as a whole, or reserved
			d.unusable = append(d.unusable, Unusable{t.parts[0].value.String(), CauseName})
			continue
		}
		made.add(t, pattern)
	}
	return &made
}

// add adds the pattern that a template has become.
func (g *Grant) add(t *template, pattern intent.Pattern) {
	switch t.right {
	case rightGroups:
		g.Groups = append(g.Groups, pattern)
	case rightSend:
		g.Send = append(g.Send, intent.Permission{Target: t.target, Pattern: pattern})
	case rightWatch:
		g.Watch = append(g.Watch, pattern)
	case rightHold:
		g.Hold = append(g.Hold, pattern)
	case rightRecover:
		g.Recover = append(g.Recover, pattern)
	}
}

// checkValue returns why the text can't be a segment of a group's name; empty if it can.
func checkValue(s string) Cause {
	switch {
	case s == "":
		return CauseEmpty
	case len(s) > maxValueBytes:
		return CauseTooLong
	case !utf8.ValidString(s):
		return CauseUTF8
	case strings.ContainsFunc(s, unicode.IsControl):
		return CauseControl
	case strings.ContainsAny(s, ".*"):
		return CauseSpecial
	}
	return ""
}

// claimValue returns the value of a placeholder among a token's claims.
func claimValue(claims map[string]any, p placeholder) value {
	v := value{of: p}
	var found []any
	collectClaims(claims, p.name, &found)
	text, isText := "", false
	if len(found) == 1 {
		text, isText = found[0].(string)
	}
	switch {
	case len(found) == 0:
		v.cause = CauseMissing
	case len(found) > 1:
		v.cause = CauseAmbiguous
	case !isText:
		v.cause = CauseNoText
	default:
		v.text, v.cause = text, checkValue(text)
	}
	return v
}

// collectClaims appends what the path leads to. Since names of claims may have dots of their own, it may be read in several
// ways: kubernetes.io.namespace is the claim namespace within kubernetes.io.
func collectClaims(object map[string]any, path string, found *[]any) {
	if v, ok := object[path]; ok {
		*found = append(*found, v)
	}
	for i := range len(path) {
		if path[i] != '.' {
			continue
		}
		if within, ok := object[path[:i]].(map[string]any); ok {
			collectClaims(within, path[i+1:], found)
		}
	}
}

// certificateValue returns the value of a placeholder among the names in a certificate. san is its only DNS name or URI.
func certificateValue(c *x509.Certificate, p placeholder) value {
	v := value{of: p}
	names := slices.Clone(c.DNSNames)
	for _, u := range c.URIs {
		names = append(names, u.String())
	}
	if p.name == "cn" {
		names = []string{c.Subject.CommonName}
	}
	switch len(names) {
	case 0:
		v.cause = CauseMissing
	case 1:
		v.text, v.cause = names[0], checkValue(names[0])
	default:
		v.cause = CauseAmbiguous
	}
	return v
}
