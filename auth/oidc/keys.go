package oidc

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	maxKeys    = 128
	minRSABits = 2048 // RFC 7518 section 3.3
)

// keySet is the keys of an issuer as they were at one time. It is immutable.
type keySet struct {
	keys    []jose.JSONWebKey
	skipped int // keys of the set that can't be used
	fetched time.Time
	local   bool // they have no names: each that fits is tried
}

// parseKeys reads a JSON Web Key Set (RFC 7517 section 5). It skips keys that can't be used, as the standard requires:
// those of unknown kinds, for other purposes, private, shared, or too short. A set without a usable key is an error.
func parseKeys(text []byte, now time.Time) (*keySet, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, errors.New("the answer is no JSON Web Key Set")
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("%d keys: more than %d", len(set.Keys), maxKeys)
	}
	k := &keySet{fetched: now}
	for _, text := range set.Keys {
		var key jose.JSONWebKey
		if err := json.Unmarshal(text, &key); err != nil || !usable(&key) {
			k.skipped++
			continue
		}
		k.keys = append(k.keys, key)
	}
	if len(k.keys) == 0 {
		return nil, fmt.Errorf("no key to verify signatures with, and %d others", k.skipped)
	}
	return k, nil
}

// same reports whether both are the same keys in the same order.
func (k *keySet) same(o *keySet) bool {
	return slices.EqualFunc(k.keys, o.keys, func(a, b jose.JSONWebKey) bool {
		if secret, ok := a.Key.([]byte); ok {
			other, ok := b.Key.([]byte)
			return ok && bytes.Equal(secret, other)
		}
		x, ok := a.Key.(interface{ Equal(crypto.PublicKey) bool })
		return ok && a.KeyID == b.KeyID && a.Algorithm == b.Algorithm && x.Equal(b.Key)
	})
}

// usable reports whether signatures can be verified with the key.
func usable(key *jose.JSONWebKey) bool {
	if key.Use != "" && key.Use != "sig" {
		return false
	}
	switch k := key.Key.(type) {
	case *rsa.PublicKey:
		return k.N.BitLen() >= minRSABits
	case *ecdsa.PublicKey, ed25519.PublicKey:
		return true
	}
	return false
}

// fits reports whether the key is for signatures of the algorithm.
func fits(key *jose.JSONWebKey, algorithm string) bool {
	if key.Algorithm != "" && key.Algorithm != algorithm {
		return false
	}
	switch k := key.Key.(type) {
	case *rsa.PublicKey:
		return strings.HasPrefix(algorithm, "RS") || strings.HasPrefix(algorithm, "PS")
	case *ecdsa.PublicKey:
		return strings.HasPrefix(algorithm, "ES") && curves[algorithm] == k.Curve.Params().Name
	case ed25519.PublicKey:
		return algorithm == string(jose.EdDSA)
	case []byte: // a secret of the local issuer: parseKeys takes none
		return algorithm == string(jose.HS256)
	}
	return false
}

// curves are those of the algorithms (RFC 7518 section 3.4).
var curves = map[string]string{
	string(jose.ES256): "P-256", string(jose.ES384): "P-384", string(jose.ES512): "P-521",
}
