package auth

import (
	"encoding/binary"
	"encoding/json"
	"strconv"
)

// claimsRule is what the claims of a token must be: all of these.
type claimsRule []claim

// claim is what one claim must be: one of the texts, or an object in which all of within match.
type claim struct {
	name   string
	values texts
	within claimsRule // of an object; empty for one of the texts
}

// ByClaims returns the grant of a token with these claims (RFC 7519 section 4): that of the first entry of the tokens file
// whose claims all match, or false if there is none. The caller has verified the token's signature, issuer, audience and
// times.
//
// The claims are as encoding/json decodes an object, numbers as float64 or [json.Number]. An entry matches if the token has
// each of its claims, and for each of them
//
//   - a text equals the claim, or with a * at the end is its beginning; a claim that is true, false or a number is compared
//     as JSON writes it, and a star has no meaning;
//   - one text of a list does so;
//   - all members of a map match within the claim, which is an object.
//
// A claim that is an array matches if one of its elements does. The empty text never matches. Claims are visited only as
// deep as the entry goes.
//
// The grant is made for this holder if the entry's rights have placeholders, such as {claim:sub}; else it is that of the
// table, and ByClaims does not allocate.
func (s *Store) ByClaims(claims map[string]any) (*Grant, bool) {
	t := s.tokens.Load()
	if t == nil {
		return nil, false
	}
	for _, g := range t.claims {
		if g.rule.(claimsRule).matches(claims) {
			return g.forHolder(func(p placeholder) value { return claimValue(claims, p) }), true
		}
	}
	return nil, false
}

// matches reports whether all required claims are among those given.
func (r claimsRule) matches(claims map[string]any) bool {
	for i := range r {
		if value, ok := claims[r[i].name]; !ok || !r[i].matches(value) {
			return false
		}
	}
	return true
}

// matches reports whether the claim is as required, or is an array with an element that is.
func (c *claim) matches(value any) bool {
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

// is reports whether a value other than an array is as required.
func (c *claim) is(value any) bool {
	if len(c.within) > 0 {
		object, ok := value.(map[string]any)
		return ok && c.within.matches(object)
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
