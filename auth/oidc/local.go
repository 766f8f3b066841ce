package oidc

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// LocalAudience is the audience of a local issuer's tokens unless its settings say otherwise.
const LocalAudience = "mastersocket"

const (
	maxLocalKeys    = 2        // the one in use, and the one before or after it
	minSecretBytes  = 32       // RFC 7518 section 3.2
	maxLocalKeyFile = 16 << 10 // bytes
)

// localAlgorithms are those of a local issuer. Which of them a token may have follows from the keys in its files.
var localAlgorithms = append([]jose.SignatureAlgorithm{jose.HS256}, algorithms...)

// localSource is the files with the keys of a local issuer.
type localSource struct {
	paths []string
	last  [][]byte // what was read
}

func (s *localSource) fetch(_ context.Context, now time.Time) (*keySet, error) {
	texts, err := s.read()
	if err != nil {
		return nil, fmt.Errorf("read a key: %w", err)
	}
	s.last = texts
	k := &keySet{fetched: now, local: true}
	for i, text := range texts {
		key, err := parseLocalKey(text)
		if err != nil {
			return nil, fmt.Errorf("read a key: %s: %w", s.paths[i], err)
		}
		k.keys = append(k.keys, key)
	}
	return k, nil
}

func (s *localSource) read() (texts [][]byte, err error) {
	for _, path := range s.paths {
		text, err := readFile(path, maxLocalKeyFile)
		if err != nil {
			return nil, err
		}
		texts = append(texts, text)
	}
	return texts, nil
}

func (s *localSource) changed() bool {
	now, err := s.read()
	return err == nil && !slices.EqualFunc(now, s.last, bytes.Equal)
}

// parseLocalKey reads a key to verify with: a public key in PEM, or a secret. No error repeats it.
func parseLocalKey(text []byte) (jose.JSONWebKey, error) {
	block, rest := pem.Decode(text)
	if block == nil {
		secret, err := parseSecret(text)
		return jose.JSONWebKey{Key: secret, Algorithm: string(jose.HS256)}, err
	}
	if block.Type != "PUBLIC KEY" || len(bytes.TrimSpace(rest)) > 0 {
		return jose.JSONWebKey{}, errors.New("want one PUBLIC KEY in PEM, as openssl pkey -pubout writes it; the private key stays with the issuer")
	}
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return jose.JSONWebKey{}, errors.New("the public key can't be read")
	}
	key := jose.JSONWebKey{Key: public}
	if !usable(&key) || !slices.ContainsFunc(algorithms, func(a jose.SignatureAlgorithm) bool { return fits(&key, string(a)) }) {
		return jose.JSONWebKey{}, fmt.Errorf("the public key must be one for RSA with %d bits or more, ECDSA (P-256, P-384, P-521) or Ed25519", minRSABits)
	}
	return key, nil
}

// parseSecret reads a secret for HS256. What might be a public key in another form than PEM is refused: it is no secret.
func parseSecret(text []byte) ([]byte, error) {
	secret := bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r"))
	printable := !bytes.ContainsFunc(secret, func(r rune) bool { return r <= ' ' || r >= 0x7f })
	if len(secret) < minSecretBytes || !printable || secret[0] == '{' || bytes.Contains(secret, []byte("-----")) {
		return nil, fmt.Errorf("want a secret of %d bytes or more in one line of printable ASCII without spaces, as mastersocket token secret makes it, or a public key in PEM", minSecretBytes)
	}
	return secret, nil
}

// Sign returns a token with the claims, signed as an application's backend does it: with the secret that the text of a file
// holds, or with the private key in PEM (PKCS #8).
func Sign(key []byte, claims map[string]any) (string, error) {
	signing, err := parseSigningKey(key)
	if err != nil {
		return "", err
	}
	signer, err := jose.NewSigner(signing, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", fmt.Errorf("sign a token: %w", err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("sign a token: %w", err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("sign a token: %w", err)
	}
	return signed.CompactSerialize()
}

func parseSigningKey(text []byte) (jose.SigningKey, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		secret, err := parseSecret(text)
		return jose.SigningKey{Algorithm: jose.HS256, Key: secret}, err
	}
	if block.Type != "PRIVATE KEY" {
		return jose.SigningKey{}, errors.New("want a PRIVATE KEY in PEM, as openssl genpkey writes it: tokens are signed with that, and verified with its public key")
	}
	private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return jose.SigningKey{}, errors.New("the private key can't be read")
	}
	algorithm := jose.RS256
	switch k := private.(type) {
	case *rsa.PrivateKey:
	case ed25519.PrivateKey:
		algorithm = jose.EdDSA
	case *ecdsa.PrivateKey:
		for a, curve := range curves {
			if curve == k.Curve.Params().Name {
				algorithm = jose.SignatureAlgorithm(a)
			}
		}
	}
	signer, ok := private.(crypto.Signer)
	if !ok || !fits(&jose.JSONWebKey{Key: signer.Public()}, string(algorithm)) {
		return jose.SigningKey{}, errors.New("want a private key for RSA, ECDSA (P-256, P-384, P-521) or Ed25519")
	}
	return jose.SigningKey{Algorithm: algorithm, Key: private}, nil
}
