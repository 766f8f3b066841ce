package oidc

import (
	"bytes"
	stdjson "encoding/json"
	"errors"
	"io"
	"math"
	"slices"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/mastersocket/mastersocket/auth"
)

// maxClaimsDepth is how deep claims may be nested. No issuer nests them deeper.
const maxClaimsDepth = 32

// errClaims is the error for malformed claims. It repeats nothing of them.
var errClaims = errors.New("malformed claims")

// checkClaims checks issuer, audience and times of claims whose signature is good.
func (v *Verifier) checkClaims(payload []byte) (auth.Identity, auth.Verdict) {
	claims, err := decodeClaims(payload)
	if err != nil {
		return auth.Identity{}, auth.Malformed
	}
	issuer, _ := claims["iss"].(string)
	expires, ok := timeOf(claims["exp"])
	if !ok {
		return auth.Identity{}, auth.Malformed
	}
	notBefore, ok := time.Time{}, true
	if claims["nbf"] != nil {
		notBefore, ok = timeOf(claims["nbf"])
	}
	now := v.times.now()
	switch {
	case !ok:
		return auth.Identity{}, auth.Malformed
	case issuer != v.opts.Issuer:
		return auth.Identity{}, auth.WrongIssuer
	case !v.isAudience(claims["aud"]):
		return auth.Identity{}, auth.WrongAudience
	case !now.Before(expires):
		return auth.Identity{}, auth.Expired
	case now.Add(leeway).Before(notBefore):
		return auth.Identity{}, auth.NotYetValid
	}
	subject, _ := claims["sub"].(string)
	return auth.Identity{Claims: claims, Subject: subject, Expires: expires}, auth.Verified
}

// isAudience reports whether the claim aud, a text or a list of them, has one of the audiences.
func (v *Verifier) isAudience(claim any) bool {
	if list, ok := claim.([]any); ok {
		return slices.ContainsFunc(list, v.isOneAudience)
	}
	return v.isOneAudience(claim)
}

func (v *Verifier) isOneAudience(claim any) bool {
	name, ok := claim.(string)
	return ok && slices.Contains(v.opts.Audiences, name)
}

// lastTime is the latest time that timeOf returns; a later one counts as this.
const lastTime = math.MaxUint32

// timeOf reads a NumericDate (RFC 7519 section 2): seconds since 1970. A fraction is cut off.
func timeOf(claim any) (time.Time, bool) {
	number, ok := claim.(stdjson.Number)
	if !ok {
		return time.Time{}, false
	}
	seconds, err := number.Float64()
	if err != nil || seconds <= 0 {
		return time.Time{}, false
	}
	return time.Unix(int64(min(seconds, lastTime)), 0), true
}

// decodeClaims decodes a JSON object. It refuses repeated names, at any depth: of two members with one name, one reader
// takes the first and another the last.
func decodeClaims(payload []byte) (map[string]any, error) {
	if err := checkForm(payload); err != nil {
		return nil, err
	}
	d := stdjson.NewDecoder(bytes.NewReader(payload))
	d.UseNumber() // numbers are compared as they are written
	var claims map[string]any
	if err := d.Decode(&claims); err != nil {
		return nil, errClaims
	}
	return claims, nil
}

// checkForm reports, as an error, why the text is not a JSON object that decodeClaims accepts.
func checkForm(text []byte) error {
	d := jsontext.NewDecoder(bytes.NewReader(text)) // refuses repeated names, and what is not UTF-8
	if d.PeekKind() != '{' {
		return errClaims
	}
	for {
		_, err := d.ReadToken()
		switch {
		case errors.Is(err, io.EOF) && d.StackDepth() == 0:
			return nil
		case err != nil, d.StackDepth() > maxClaimsDepth:
			return errClaims
		}
	}
}
