package oidc

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/oidctest"
)

const (
	localIssuer = "local"

	secretA = "0123456789abcdef0123456789abcdef"
	secretB = "fedcba9876543210fedcba9876543210"
)

// localClaims are those of a token that an application's backend makes.
func localClaims(subject string) map[string]any {
	return map[string]any{"iss": localIssuer, "aud": LocalAudience, "sub": subject, "exp": time.Now().Unix() + 600}
}

// sign signs with the key, as the command does.
func sign(t testing.TB, key []byte, claims map[string]any) string {
	t.Helper()
	token, err := Sign(key, claims)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// write writes a key to a file.
func write(t testing.TB, key []byte) string {
	t.Helper()
	path := temp(t, "key")
	if err := os.WriteFile(path, key, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func localOptions(paths ...string) Options {
	return Options{Issuer: localIssuer, Audiences: []string{LocalAudience}, LocalKeys: paths}
}

// keyPair returns a private and a public key in PEM.
func keyPair(t testing.TB, private crypto.Signer) (priv, pub []byte) {
	t.Helper()
	a, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	b, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: a}), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: b})
}

// signers are a key of each kind.
func signers(t testing.TB) map[string]crypto.Signer {
	t.Helper()
	all := make(map[string]crypto.Signer)
	for name, curve := range map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()} {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = key
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r, err := rsa.GenerateKey(rand.Reader, minRSABits)
	if err != nil {
		t.Fatal(err)
	}
	all["Ed25519"], all["RSA"] = ed, r
	return all
}

func TestLocalIssuer(t *testing.T) {
	t.Parallel()
	v, _ := verifier(t, localOptions(write(t, []byte(secretA+"\n"))), testTimes())
	token := func(other map[string]any) string {
		claims := localClaims("42")
		for k, val := range other {
			claims[k] = val
		}
		return sign(t, []byte(secretA), claims)
	}
	if i := expect(t, v, "usual", token(nil), auth.Verified); i.Subject != "42" {
		t.Errorf("the subject is %q", i.Subject)
	}
	expect(t, v, "other audience", token(map[string]any{"aud": "other"}), auth.WrongAudience)
	expect(t, v, "other issuer", token(map[string]any{"iss": "https://a.example"}), auth.WrongIssuer)
	expect(t, v, "expired", token(map[string]any{"exp": time.Now().Unix() - 1}), auth.Expired)
	expect(t, v, "no end", token(map[string]any{"exp": nil}), auth.Malformed)
	expect(t, v, "other secret", sign(t, []byte(secretB), localClaims("42")), auth.WrongSignature)
	expect(t, v, "a name for the key", named(t, jose.HS256, []byte(secretA), "any", localClaims("42")), auth.Verified)
	for _, a := range []jose.SignatureAlgorithm{jose.HS384, jose.HS512} {
		expect(t, v, string(a), named(t, a, []byte(secretA+secretA), "", localClaims("42")), auth.WrongAlgorithm)
	}
	expect(t, v, "none", encode(`{"alg":"none"}`, string(payload(t, localClaims("42"))))+".AA", auth.WrongAlgorithm)
	for name, key := range signers(t) {
		private, _ := keyPair(t, key)
		expect(t, v, "a key of "+name, sign(t, private, localClaims("42")), auth.WrongAlgorithm)
	}
}

// named signs with an algorithm and a name for the key in the header.
func named(t testing.TB, a jose.SignatureAlgorithm, key any, id string, claims map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: a, Key: jose.JSONWebKey{Key: key, KeyID: id}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(payload(t, claims))
	if err != nil {
		t.Fatal(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestLocalPublicKeys: tokens signed with a private key are verified with the public one, which is no secret.
func TestLocalPublicKeys(t *testing.T) {
	t.Parallel()
	for name, key := range signers(t) {
		private, public := keyPair(t, key)
		path := write(t, public)
		v, _ := verifier(t, localOptions(path), testTimes())
		expect(t, v, name, sign(t, private, localClaims("42")), auth.Verified)
		der, _ := pem.Decode(public)
		for how, secret := range map[string][]byte{"PEM": public, "PEM without its end": public[:len(public)-1], "DER": der.Bytes} {
			forged := named(t, jose.HS256, secret, "", localClaims("42"))
			expect(t, v, name+" as a secret, in "+how, forged, auth.WrongAlgorithm)
		}
	}
}

// TestKeysRotate: two keys count at a time, and the files are read again.
func TestKeysRotate(t *testing.T) {
	t.Parallel()
	one, two := write(t, []byte(secretA)), write(t, []byte(secretB))
	ed := signers(t)["Ed25519"]
	private, public := keyPair(t, ed)
	v, log := verifier(t, localOptions(one, two), testTimes())
	old, next := sign(t, []byte(secretA), localClaims("42")), sign(t, []byte(secretB), localClaims("42"))
	expect(t, v, "the first key", old, auth.Verified)
	expect(t, v, "the second key", next, auth.Verified)
	place(t, one, public)
	expect(t, v, "the second key after the first was replaced", next, auth.Verified)
	newest := sign(t, private, localClaims("42"))
	eventually.True(t, "the new key to be read", func() bool {
		_, verdict := verify(t, v, newest)
		return verdict == auth.Verified
	})
	expect(t, v, "the key that was replaced", old, auth.WrongSignature)
	forged := named(t, jose.HS256, public, "", localClaims("42"))
	expect(t, v, "the public key as a secret beside a secret", forged, auth.WrongSignature)

	place(t, two, []byte("short"))
	eventually.True(t, "a word about the unusable file", func() bool { return strings.Contains(log.String(), "want a secret of 32 bytes") })
	expect(t, v, "the last known keys", next, auth.Verified)
	if strings.Contains(log.String(), secretB) || strings.Contains(log.String(), "short\"") {
		t.Error("the log repeats a key")
	}
	place(t, two, []byte(secretA))
	if changed, err := v.Refresh(context.Background()); err != nil || !changed {
		t.Errorf("Refresh = %v, %v", changed, err)
	}
	expect(t, v, "a key that is back", old, auth.Verified)
}

// TestEachIssuerByItsOwnKeys signs with the key of each issuer in the name of each other, whatever the header says.
func TestEachIssuerByItsOwnKeys(t *testing.T) {
	t.Parallel()
	pairs := signers(t)
	rsaIssuer, ecIssuer := oidctest.Start(t), oidctest.Start(t)
	rsaKey, ecKey := rsaIssuer.NewKey(jose.RS256), ecIssuer.NewKey(jose.ES256)
	rsaIssuer.Publish(rsaKey)
	ecIssuer.Publish(ecKey)
	_, edPublic := keyPair(t, pairs["Ed25519"])
	for _, local := range []struct {
		name string
		file []byte // what the hub has
		key  any    // what the backend has
		alg  jose.SignatureAlgorithm
	}{
		{"secret", []byte(secretA), []byte(secretA), jose.HS256},
		{"public key", edPublic, pairs["Ed25519"], jose.EdDSA},
	} {
		options := []Options{optionsFor(rsaIssuer), optionsFor(ecIssuer), localOptions(write(t, local.file))}
		for i := range options {
			options[i].Audiences, options[i].Log = []string{LocalAudience}, slog.New(slog.DiscardHandler)
		}
		all, err := startAll(testTimes(), options)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(all.Close)
		type holder struct {
			issuer string
			alg    jose.SignatureAlgorithm
			key    any
			id     string
		}
		holders := []holder{
			{rsaIssuer.URL, jose.RS256, rsaKey.Private, rsaKey.ID}, {ecIssuer.URL, jose.ES256, ecKey.Private, ecKey.ID}, {localIssuer, local.alg, local.key, ""},
		}
		want := func(what, token string, good bool) {
			t.Helper()
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			identity, verdict := all.Verify(ctx, token)
			if (verdict == auth.Verified) != good || good != (identity.Claims != nil) {
				t.Errorf("local %s: %s: %v", local.name, what, verdict)
			}
			if verdict == auth.KeysUnavailable || verdict == auth.Overloaded {
				t.Errorf("local %s: %s: no verdict on the token, but %v", local.name, what, verdict)
			}
		}
		for _, says := range holders {
			claims := localClaims("42")
			claims["iss"] = says.issuer
			for _, signs := range holders {
				for _, id := range []string{"", rsaKey.ID, ecKey.ID} {
					token := named(t, signs.alg, signs.key, id, claims)
					good := says.issuer == signs.issuer && (says.issuer == localIssuer || id == "" || id == signs.id)
					want(signs.issuer+" in the name of "+says.issuer+" with the key's name "+id, token, good)
				}
			}
			// Public keys are known to all: as secrets for HS256 they count for no issuer.
			_, rsaPEM := keyPair(t, rsaKey.Private)
			_, ecPEM := keyPair(t, ecKey.Private)
			for what, public := range map[string][]byte{"RSA": rsaPEM, "EC": ecPEM, "Ed25519": edPublic, "JWKS": rsaIssuer.JWKS()} {
				want("HS256 with the public key "+what+" in the name of "+says.issuer, named(t, jose.HS256, public, "", claims), false)
				if block, _ := pem.Decode(public); block != nil {
					want("HS256 with the public key "+what+" in DER in the name of "+says.issuer, named(t, jose.HS256, block.Bytes, "", claims), false)
				}
			}
		}
		for what, claims := range map[string]map[string]any{
			"no issuer": {"iss": nil}, "an unknown issuer": {"iss": "other"}, "a list": {"iss": []string{localIssuer}}, "an object": {"iss": map[string]any{"iss": localIssuer}},
			"another case": {"iss": "Local"}, "a space": {"iss": "local "},
		} {
			all := localClaims("42")
			all["iss"] = claims["iss"]
			want(what, named(t, local.alg, local.key, "", all), false)
		}
		twice := strings.Replace(string(payload(t, localClaims("42"))), `{`, `{"iss":"`+rsaIssuer.URL+`",`, 1)
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: local.alg, Key: local.key}, nil)
		if err != nil {
			t.Fatal(err)
		}
		signed, err := signer.Sign([]byte(twice))
		if err != nil {
			t.Fatal(err)
		}
		text, _ := signed.CompactSerialize()
		want("two issuers", text, false)
		if s := all.Stats(); len(s) != 3 || s[2].Issuer != localIssuer || s[2].Keys != 1 {
			t.Errorf("stats %+v", s)
		}
	}
}

func TestIssuersNamedTwice(t *testing.T) {
	t.Parallel()
	o := localOptions(write(t, []byte(secretA)))
	o.Log = slog.New(slog.DiscardHandler)
	if all, err := New(o, o); err == nil {
		all.Close()
		t.Error("one issuer with two settings is taken")
	}
}

func TestParseLocalKey(t *testing.T) {
	t.Parallel()
	ed := signers(t)["Ed25519"]
	private, public := keyPair(t, ed)
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	_, shortPublic := keyPair(t, short)
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, odd := keyPair(t, p224)
	der, _ := pem.Decode(public)
	jwk, err := json.Marshal(jose.JSONWebKey{Key: ed.Public()})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{
		"empty": nil, "short secret": []byte(secretA[1:]), "two lines": []byte(secretA + "\n" + secretA), "spaces": []byte("ssh-rsa " + secretA),
		"other bytes": []byte(secretA + "\x80"), "public key in DER": der.Bytes, "public key as JWK": jwk, "half of a PEM": public[:60],
		"PEM without its lines": []byte(strings.ReplaceAll(string(public), "\n", "")),
		"private key":           private, "two public keys": append(append([]byte{}, public...), public...), "certificate": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der.Bytes}),
		"short RSA": shortPublic, "odd curve": odd, "no key in PEM": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("x")}),
	} {
		if key, err := parseLocalKey(text); err == nil {
			t.Errorf("%s: taken as %T", name, key.Key)
		} else if len(text) > 10 && strings.Contains(err.Error(), string(text[:10])) {
			t.Errorf("%s: the error repeats the key: %v", name, err)
		}
	}
	for name, text := range map[string][]byte{"empty": nil, "public key": public, "short secret": []byte("x")} {
		if token, err := Sign(text, localClaims("42")); err == nil {
			t.Errorf("%s: signed %s", name, token)
		}
	}
}

// FuzzIssuerOf: the issuer that a token is handed to is the one that the claims name when they are decoded.
func FuzzIssuerOf(f *testing.F) {
	for _, seed := range []string{`{"iss":"a"}`, `{"iss":"a","iss":"b"}`, `{"x":{"iss":"b"},"iss":"a"}`, `{"\u0069ss":"a"}`, `{"iss":["a"]}`, `{"ISS":"b"}`, `null`, `{"iss":"a"}{}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		issuer, ok := issuerOf(encode("{}", string(text), "x"))
		claims, err := decodeClaims(text)
		decoded, is := claims["iss"].(string)
		if len(text) > 0 && len(text) < 4000 && ok != (err == nil && is) || ok && issuer != decoded {
			t.Errorf("%q: %q, %v; decoded %q, %v, %v", text, issuer, ok, decoded, is, err)
		}
	})
}
