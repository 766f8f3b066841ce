package auth

import (
	"strings"
	"time"
)

// MaxSignedBytes is the greatest length in bytes of a token that an issuer signed. Such tokens are longer than others: one of
// a Kubernetes ServiceAccount has about 1,000 bytes, one of a provider that lists all groups of a person several
// thousand.
const MaxSignedBytes = 8192

// LooksSigned reports whether the token has the form of one that an issuer signed, a JWT in compact serialization (RFC
// 7515 section 7.1): three texts in base64url, none empty, with dots between them, of MaxSignedBytes at most.
func LooksSigned(token string) bool {
	if len(token) > MaxSignedBytes || strings.Count(token, ".") != 2 {
		return false
	}
	for part := range strings.SplitSeq(token, ".") {
		if part == "" {
			return false
		}
		for i := range len(part) {
			if !base64url[part[i]] {
				return false
			}
		}
	}
	return true
}

// base64url has the letters of RFC 4648 section 5.
var base64url = func() (letters [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") {
		letters[c] = true
	}
	return letters
}()

// Identity is what an issuer says about the holder of a token that it signed.
type Identity struct {
	// Claims are those of the token, as [Store.ByClaims] takes them. They must not be changed.
	Claims map[string]any
	// Subject is the claim sub, empty where there is none.
	Subject string
	// Expires is when the token ends. It is never zero.
	Expires time.Time
}

// Verdict is the result of verifying a token that looks signed.
type Verdict uint8

// The verdicts.
const (
	Verified        Verdict = iota
	Malformed               // it is no JWT, or repeats a name
	WrongAlgorithm          // its algorithm is not accepted, or there is none
	UnknownKey              // the issuer has no such key
	WrongSignature          // its signature is not the key's
	WrongIssuer             // another issuer made it
	WrongAudience           // it is for another audience
	Expired                 // it is not valid any more
	NotYetValid             // it is not valid yet
	NoGrant                 // it is valid, but no entry of the tokens file is for its claims
	KeysUnavailable         // the issuer's keys are not known at the moment
	Overloaded              // too many tokens waited to be verified
	NumVerdicts     = iota
)

var verdictNames = [NumVerdicts]string{
	"verified", "malformed", "wrong_algorithm", "unknown_key", "wrong_signature", "wrong_issuer", "wrong_audience",
	"expired", "not_yet_valid", "no_grant", "keys_unavailable", "overloaded",
}

// String returns the verdict's name in metrics and logs.
func (v Verdict) String() string { return verdictNames[v] }

// Temporary reports whether the same token may get another verdict soon.
func (v Verdict) Temporary() bool { return v == KeysUnavailable || v == Overloaded }

// KeyStats tell what is known of an issuer's keys.
type KeyStats struct {
	Issuer  string    // its name
	Keys    int       // that can be used
	Fetched time.Time // when they were fetched last; zero for never
	Since   time.Time // when fetching them was tried first
	Failed  uint64    // attempts to fetch them that failed
	Fetches uint64    // attempts that succeeded
}

// Age returns how old the keys are at that time, or how long they have been sought if there never were any.
func (s KeyStats) Age(now time.Time) time.Duration {
	if s.Fetched.IsZero() {
		return now.Sub(s.Since)
	}
	return now.Sub(s.Fetched)
}
