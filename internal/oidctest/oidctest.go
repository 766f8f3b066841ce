// Package oidctest is an issuer of signed tokens for tests: a real HTTPS server on this machine with discovery and keys,
// which can be rotated, slowed down, broken and switched off.
package oidctest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Audience is the audience of the tokens of [Issuer.Claims].
const Audience = "mastersocket"

// Issuer is a running issuer. Its methods may be called from any goroutine.
type Issuer struct {
	URL    string // the claim iss, and where it answers
	CAFile string // certificates that vouch for it

	server *httptest.Server
	t      testing.TB

	mu       sync.Mutex
	keys     []*Key // published
	made     int
	answer   http.HandlerFunc // in place of its own; nil for none
	requests []*http.Request
}

// Start runs an issuer with one key for ES256. It ends with the test.
func Start(t testing.TB) *Issuer {
	t.Helper()
	i := &Issuer{t: t}
	i.server = httptest.NewUnstartedServer(http.HandlerFunc(i.serve))
	i.server.Config.ErrorLog = log.New(io.Discard, "", 0) // of clients that don't trust it
	i.server.StartTLS()
	t.Cleanup(i.server.Close)
	i.URL = i.server.URL
	i.CAFile = filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.server.Certificate().Raw})
	if err := os.WriteFile(i.CAFile, block, 0o600); err != nil {
		t.Fatal(err)
	}
	i.Publish(i.NewKey(jose.ES256))
	return i
}

// KeysURL is where the keys are.
func (i *Issuer) KeysURL() string { return i.URL + "/keys" }

// serve answers a request.
func (i *Issuer) serve(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	i.requests = append(i.requests, r.Clone(r.Context()))
	answer := i.answer
	i.mu.Unlock()
	if answer != nil {
		answer(w, r)
		return
	}
	i.Serve(w, r)
}

// Serve is the issuer's own answer.
func (i *Issuer) Serve(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		_ = json.NewEncoder(w).Encode(map[string]any{"issuer": i.URL, "jwks_uri": i.KeysURL()})
	case "/keys":
		_, _ = w.Write(i.JWKS())
	default:
		http.NotFound(w, r)
	}
}

// JWKS returns the published keys.
func (i *Issuer) JWKS() []byte {
	i.mu.Lock()
	defer i.mu.Unlock()
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, k := range i.keys {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.Private.Public(), KeyID: k.ID, Algorithm: string(k.Algorithm), Use: "sig"})
	}
	b, err := json.Marshal(set)
	if err != nil {
		panic(err)
	}
	return b
}

// Answer has f answer all requests from now on; nil stands for the issuer itself.
func (i *Issuer) Answer(f http.HandlerFunc) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.answer = f
}

// Requests returns those that came for the path so far.
func (i *Issuer) Requests(path string) (all []*http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, r := range i.requests {
		if r.URL.Path == path {
			all = append(all, r)
		}
	}
	return all
}

// Key is a key of an issuer, published or not.
type Key struct {
	ID        string
	Algorithm jose.SignatureAlgorithm
	Private   crypto.Signer
}

// usualRSA is the one RSA key of all tests, as making one takes long.
var usualRSA = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// NewKey makes a key that is not published.
func (i *Issuer) NewKey(a jose.SignatureAlgorithm) *Key {
	i.mu.Lock()
	i.made++
	k := &Key{ID: "key-" + strconv.Itoa(i.made), Algorithm: a}
	i.mu.Unlock()
	curves := map[jose.SignatureAlgorithm]elliptic.Curve{jose.ES256: elliptic.P256(), jose.ES384: elliptic.P384(), jose.ES512: elliptic.P521()}
	var err error
	switch curve := curves[a]; {
	case curve != nil:
		k.Private, err = ecdsa.GenerateKey(curve, rand.Reader)
	case a == jose.EdDSA:
		_, k.Private, err = ed25519.GenerateKey(rand.Reader)
	default:
		k.Private = usualRSA()
	}
	if err != nil {
		i.t.Fatal(err)
	}
	return k
}

// Publish makes these the issuer's keys. Tokens are signed with the last.
func (i *Issuer) Publish(keys ...*Key) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = keys
}

// Claims returns those of a usual token of the subject, with others added or put in place of these; nil takes one away.
func (i *Issuer) Claims(subject string, other map[string]any) map[string]any {
	now := time.Now().Unix()
	claims := map[string]any{
		"iss": i.URL, "aud": []string{Audience}, "sub": subject, "iat": now, "nbf": now, "exp": now + 600,
	}
	maps.Copy(claims, other)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	return claims
}

// Token signs a usual token of the subject with the newest published key.
func (i *Issuer) Token(subject string, other map[string]any) string {
	i.mu.Lock()
	k := i.keys[len(i.keys)-1]
	i.mu.Unlock()
	payload, err := json.Marshal(i.Claims(subject, other))
	if err != nil {
		panic(err)
	}
	return k.Sign(payload, true)
}

// Sign signs a payload, with or without the key's id in the header.
func (k *Key) Sign(payload []byte, named bool) string {
	key := jose.JSONWebKey{Key: k.Private}
	if named {
		key.KeyID = k.ID
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: k.Algorithm, Key: key}, nil)
	if err != nil {
		panic(err)
	}
	signature, err := signer.Sign(payload)
	if err != nil {
		panic(err)
	}
	token, err := signature.CompactSerialize()
	if err != nil {
		panic(err)
	}
	return token
}
