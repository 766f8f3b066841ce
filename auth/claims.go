package auth

import (
	"encoding/binary"
	"encoding/json"
	"strconv"
)

// claimsRule is what the claims of a token must be: all of these.
type claimsRule []claim

// claim is what one claim must be: one of the texts, or an object in which all of within hold.
type claim struct {
	name   string
	values texts
	within claimsRule // of an object; empty for one of the texts
}

// ByClaims returns the grant for whoever holds a token with these claims (RFC 7519 section 4): that of the first entry
// of the tokens file whose claims all hold, or false if there is none. The caller has verified the token's signature,
// issuer, audience and times.
//
// The claims are as encoding/json decodes an object, numbers as float64 or [json.Number]. An entry holds where the token
// has each of its claims and
//
//   - a text that is required is the claim, or with a * at the end its beginning; a claim that is true, false or a number
//     is compared as JSON writes it, without regard to a star;
//   - of a list of texts that is required, one is so;
//   - of a map that is required, all members hold within the claim, which is an object.
//
// A claim that is an array holds if one of its elements does. The empty text never holds. What the claims are nested
// costs nothing: only as deep as the entry is looked.
//
// It does not allocate.
func (s *Store) ByClaims(claims map[string]any) (*Grant, bool) {
	t := s.tokens.Load()
	if t == nil {
		return nil, false
	}
	for _, g := range t.claims {
		if g.rule.(claimsRule).hold(claims) {
			return g, true
		}
	}
	return nil, false
}

// hold reports whether all required claims are among those given.
func (r claimsRule) hold(claims map[string]any) bool {
	for i := range r {
		if value, ok := claims[r[i].name]; !ok || !r[i].hold(value) {
			return false
		}
	}
	return true
}

// hold reports whether the claim is as required, or is an array with an element that is.
func (c *claim) hold(value any) bool {
	list, ok := value.([]any)
	if !ok {
		return c.is(value)
	}
	for _, element := range list {
		if c.is(element) {
			return true
		}
	}
	return false
}

// is reports whether one value that is no array is as required.
func (c *claim) is(value any) bool {
	if len(c.within) > 0 {
		object, ok := value.(map[string]any)
		return ok && c.within.hold(object)
	}
	switch v := value.(type) {
	case string:
		return c.values.match(v)
	case bool:
		return c.equals(strconv.FormatBool(v))
	case json.Number:
		return c.equals(string(v))
	case float64:
		var room [32]byte
		return c.equals(string(strconv.AppendFloat(room[:0], v, 'f', -1, 64)))
	}
	return false
}

// equals reports whether one of the texts is s as a whole.
func (c *claim) equals(s string) bool {
	for _, t := range c.values {
		if !t.prefix && t.value == s {
			return true
		}
	}
	return false
}

// appendIdentity implements rule.
func (r claimsRule) appendIdentity(b []byte) []byte {
	b = append(b, "claims"...)
	return r.appendClaims(b)
}

func (r claimsRule) appendClaims(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(r)))
	for i := range r {
		b = appendText(b, r[i].name)
		b = r[i].values.appendIdentity(b)
		b = r[i].within.appendClaims(b)
	}
	return b
}
