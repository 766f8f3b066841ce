package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/mastersocket/mastersocket/intent"
)

// MaxTokenBytes is the greatest length of a token in bytes. Longer ones match nothing.
const MaxTokenBytes = 4096

// TokenPrefix begins every token that [Generate] makes, so that people and secret scanners recognise one.
const TokenPrefix = "ms_"

// randomBytes is the entropy of a generated token: 200 bits, which fill 40 letters of base32 exactly.
const randomBytes = 25

// errDuplicate is the error of [Combine] when two tables have the same token.
var errDuplicate = errors.New("the same token is configured twice")

// Tokens is an immutable table of tokens, known by their hashes, and of rules, and the grant of each. The zero Tokens and
// a nil one let no client in.
type Tokens struct {
	grants []*Grant       // all of them, in the order of their entries
	index  map[hash]int32 // by hashes that are known already, never by the token of a client

	hashes       []hash   // of tokens, in one piece, since every Authenticate walks all of it
	holders      []*Grant // holders[i] belongs to hashes[i]
	claims       []*Grant // by rules about claims, in the order of their entries
	certificates []*Grant // by rules about certificates, likewise
}

func newTokens(grants []*Grant) *Tokens {
	t := &Tokens{
		grants: grants,
		index:  make(map[hash]int32, len(grants)),
		hashes: make([]hash, 0, len(grants)),
	}
	for i, g := range grants {
		t.index[g.token] = int32(i)
		switch g.rule.(type) {
		case nil:
			t.hashes = append(t.hashes, g.token)
			t.holders = append(t.holders, g)
		case claimsRule:
			t.claims = append(t.claims, g)
		case *certificateRule:
			t.certificates = append(t.certificates, g)
		}
	}
	return t
}

// SharedToken returns a table with one token whose holders may do everything, the admin API included, without a limit.
// A token that [CheckToken] refuses can't be presented and lets no client in.
func SharedToken(token string) *Tokens {
	everyGroup, err := intent.ParsePattern("*")
	if err != nil {
		panic("auth: the pattern for every group: " + err.Error())
	}
	everyTarget, err := intent.ParsePermission("*")
	if err != nil {
		panic("auth: the permission for every target: " + err.Error())
	}
	return newTokens([]*Grant{{
		Name:   "shared",
		Groups: intent.Patterns{everyGroup},
		Send:   intent.Permissions{everyTarget},
		Watch:  intent.Patterns{everyGroup},
		Hold:   intent.Patterns{everyGroup},
		Admin:  AdminFull,
		token:  sha256.Sum256([]byte(token)),
	}})
}

// Combine returns a table with the tokens of all the given ones, nil ones skipped. Names may recur between them, but a
// token may not, since it would have two grants; the error then names both.
func Combine(tables ...*Tokens) (*Tokens, error) {
	var grants []*Grant
	seen := make(map[hash]string)
	for _, t := range tables {
		if t == nil {
			continue
		}
		for _, g := range t.grants {
			if other, ok := seen[g.token]; ok {
				return nil, fmt.Errorf("%w: as %q and as %q", errDuplicate, other, g.Name)
			}
			seen[g.token] = g.Name
			grants = append(grants, g)
		}
	}
	return newTokens(grants), nil
}

// Len is the number of tokens and rules in the table. An entry of a file with two hashes counts as two.
func (t *Tokens) Len() int {
	if t == nil {
		return 0
	}
	return len(t.grants)
}

// ClaimRules is the number of entries for tokens that an issuer signed.
func (t *Tokens) ClaimRules() int {
	if t == nil {
		return 0
	}
	return len(t.claims)
}

// AnyIssuer returns the names of the entries for signed tokens that don't say which issuer the token must be of: the same
// subject may be another person at another issuer.
func (t *Tokens) AnyIssuer() []string {
	if t == nil {
		return nil
	}
	var names []string
	for _, g := range t.claims {
		if !slices.ContainsFunc(g.rule.(claimsRule), func(c claim) bool { return c.name == "iss" }) {
			names = append(names, g.Name)
		}
	}
	return names
}

// CertificateRules is the number of entries for client certificates.
func (t *Tokens) CertificateRules() int {
	if t == nil {
		return 0
	}
	return len(t.certificates)
}

// Format writes how many tokens and rules the table has, whatever the verb, so that no print of it shows a hash.
func (t Tokens) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "%d tokens", len(t.grants))
}

// current returns the grant of a token known by its hash.
func (t *Tokens) current(h hash) (*Grant, bool) {
	if t == nil {
		return nil, false
	}
	i, ok := t.index[h]
	if !ok {
		return nil, false
	}
	return t.grants[i], true
}

// Generate returns a new random token: "ms_" and 40 letters and digits (200 bits), safe in URLs, shells and headers.
func Generate() string {
	var b [randomBytes]byte
	rand.Read(b[:]) // never fails: the process ends where the system has no randomness
	return TokenPrefix + strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
}

// Hash returns what a tokens file stores of a token: its SHA-256 in 64 hexadecimal digits.
func Hash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// CheckToken tells whether the token can be used as one: 1 to [MaxTokenBytes] bytes of valid UTF-8, since clients send
// it in JSON, without spaces, control characters or invisible characters (Unicode category Cf, such as a byte order mark),
// which are more likely a slip than meant. The error does not repeat the token.
func CheckToken(token string) error {
	switch {
	case token == "":
		return errors.New("the token is empty")
	case len(token) > MaxTokenBytes:
		return fmt.Errorf("the token has %d bytes, more than %d", len(token), MaxTokenBytes)
	case !utf8.ValidString(token):
		return errors.New("the token is not valid UTF-8")
	case strings.HasPrefix(token, "\ufeff"):
		return errors.New("the token begins with a byte order mark; save its file as UTF-8 without one")
	case strings.ContainsFunc(token, func(r rune) bool { return unicode.Is(unicode.Cf, r) }):
		return errors.New("the token has an invisible character in it; type it again")
	case strings.ContainsFunc(token, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }):
		return errors.New("the token has a space, a line break or a control character in it")
	}
	return nil
}
