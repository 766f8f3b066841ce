package oidc

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/internal/oidctest"
)

func TestForged(t *testing.T) {
	t.Parallel()
	i := oidctest.Start(t)
	rs, es := i.NewKey(jose.RS256), i.NewKey(jose.ES256)
	i.Publish(rs, es)
	v, _ := verifier(t, optionsFor(i), testTimes())
	good := i.Token("someone", nil)
	header, rest, _ := strings.Cut(good, ".")
	body, signature, _ := strings.Cut(rest, ".")
	claims := string(payload(t, i.Claims("someone", nil)))
	stranger := oidctest.Start(t)
	theirs := stranger.NewKey(jose.ES256)
	theirs.ID = es.ID

	public, err := x509.MarshalPKIXPublicKey(rs.Private.Public())
	if err != nil {
		t.Fatal(err)
	}
	asSecret := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})
	shared := func(secret []byte) string {
		text := encode(`{"alg":"HS256","typ":"JWT","kid":"`+rs.ID+`"}`, claims)
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(text))
		return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
	}
	embedded, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: theirs.Private}, &jose.SignerOptions{EmbedJWK: true})
	if err != nil {
		t.Fatal(err)
	}
	withKey, err := embedded.Sign([]byte(claims))
	if err != nil {
		t.Fatal(err)
	}
	ownKey, err := withKey.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	flipped := []byte(signature)
	flipped[10] ^= 1
	if flipped[10] == '.' || !auth.LooksSigned("a.a."+string(flipped)) {
		flipped[10] = 'A'
	}
	twice := strings.Replace(claims, `"sub":"someone"`, `"sub":"someone","sub":"admin"`, 1)
	nested := strings.Replace(claims, `{`, `{"x":{"a":1,"a":2},`, 1)

	for name, c := range map[string]struct {
		token string
		want  auth.Verdict
	}{
		"untouched":               {good, auth.Verified},
		"other claims":            {header + "." + encode(strings.Replace(claims, "someone", "admin", 1)) + "." + signature, auth.WrongSignature},
		"flipped bit":             {header + "." + body + "." + string(flipped), auth.WrongSignature},
		"half a signature":        {good[:len(good)-40], auth.WrongSignature},
		"other key, same name":    {theirs.Sign([]byte(claims), true), auth.WrongSignature},
		"other key, no name":      {theirs.Sign([]byte(claims), false), auth.UnknownKey},
		"own key in the header":   {ownKey, auth.UnknownKey},
		"unknown name":            {stranger.NewKey(jose.EdDSA).Sign([]byte(claims), true), auth.UnknownKey},
		"right key, no name":      {es.Sign([]byte(claims), false), auth.Verified},
		"right RSA key, no name":  {rs.Sign([]byte(claims), false), auth.Verified},
		"named as the other kind": {(&oidctest.Key{ID: rs.ID, Algorithm: jose.ES256, Private: es.Private}).Sign([]byte(claims), true), auth.UnknownKey},
		"none":                    {encode(`{"alg":"none"}`, claims) + ".AA", auth.WrongAlgorithm},
		"none, unsigned":          {encode(`{"alg":"none"}`, claims) + ".", auth.Malformed},
		"None":                    {encode(`{"alg":"nOnE","kid":"`+es.ID+`"}`, claims) + ".AA", auth.WrongAlgorithm},
		"no algorithm":            {encode(`{"kid":"`+es.ID+`"}`, claims) + ".AA", auth.Malformed},
		"two algorithms":          {encode(`{"alg":"none","alg":"ES256"}`, claims) + "." + signature, auth.Malformed},
		"public key as secret":    {shared(asSecret), auth.WrongAlgorithm},
		"public key in DER":       {shared(public), auth.WrongAlgorithm},
		"other algorithm":         {(&oidctest.Key{ID: rs.ID, Algorithm: jose.RS512, Private: rs.Private}).Sign([]byte(claims), true), auth.UnknownKey},
		"critical extension":      {encode(`{"alg":"ES256","kid":"`+es.ID+`","crit":["x"],"x":1}`) + "." + body + "." + signature, auth.WrongSignature},
		"header is no object":     {encode(`["alg"]`, claims) + ".AA", auth.Malformed},
		"header is nothing":       {encode("", claims, "AA"), auth.Malformed},
		"deep header":             {encode(`{"alg":"ES256","x":`+strings.Repeat("[", 3000)+strings.Repeat("]", 3000)+`}`, "{}", "AA"), auth.UnknownKey},
		"subject twice":           {es.Sign([]byte(twice), true), auth.Malformed},
		"twice, deeper":           {es.Sign([]byte(nested), true), auth.Malformed},
		"names in capitals":       {es.Sign([]byte(strings.ReplaceAll(claims, `"exp"`, `"EXP"`)), true), auth.Malformed},
		"second in capitals":      {es.Sign([]byte(strings.Replace(claims, `{`, `{"AUD":"mastersocket","Aud":"x",`, 1)), true), auth.Verified},
		"not UTF-8":               {es.Sign([]byte(strings.Replace(claims, "someone", "some\xffone", 1)), true), auth.Malformed},
		"claims and more":         {es.Sign([]byte(claims+"{}"), true), auth.Malformed},
		"claims are a list":       {es.Sign([]byte("["+claims+"]"), true), auth.Malformed},
		"claims are null":         {es.Sign([]byte("null"), true), auth.Malformed},
		"no claims":               {es.Sign([]byte("{}"), true), auth.Malformed},
		"no JSON":                 {es.Sign([]byte("someone"), true), auth.Malformed},
		"five parts":              {good + ".a.b", auth.Malformed},
		"two parts":               {header + "." + body, auth.Malformed},
		"line break":              {header + "." + body + "\n." + signature, auth.Malformed},
		"padding":                 {header + "." + body + "=." + signature, auth.Malformed},
		"standard base64":         {header + "." + body + "+/." + signature, auth.Malformed},
		"JSON serialization":      {`{"payload":"` + body + `","signatures":[]}`, auth.Malformed},
		"too long":                {strings.Repeat("a", auth.MaxSignedBytes) + ".a.a", auth.Malformed},
		"nothing":                 {"", auth.Malformed},
	} {
		expect(t, v, name, c.token, c.want)
	}
}

func TestAlgorithms(t *testing.T) {
	t.Parallel()
	i := oidctest.Start(t)
	var keys []*oidctest.Key
	for _, a := range algorithms {
		keys = append(keys, i.NewKey(a))
	}
	i.Publish(keys...)
	v, _ := verifier(t, optionsFor(i), testTimes())
	claims := payload(t, i.Claims("someone", nil))
	for _, k := range keys {
		expect(t, v, string(k.Algorithm), k.Sign(claims, true), auth.Verified)
		expect(t, v, string(k.Algorithm)+" without a name", k.Sign(claims, false), auth.Verified)
	}
	if n := len(i.Requests("/keys")); n != 1 {
		t.Errorf("%d requests for keys, want 1", n)
	}
}

func TestManyKeysWithoutNames(t *testing.T) {
	t.Parallel()
	i := oidctest.Start(t)
	var keys []*oidctest.Key
	for range maxTries + 2 {
		keys = append(keys, i.NewKey(jose.ES256))
	}
	i.Publish(keys...)
	v, _ := verifier(t, optionsFor(i), testTimes())
	claims := payload(t, i.Claims("someone", nil))
	expect(t, v, "last that is tried", keys[maxTries-1].Sign(claims, false), auth.Verified)
	expect(t, v, "first that is not", keys[maxTries].Sign(claims, false), auth.UnknownKey)
	expect(t, v, "last by name", keys[maxTries+1].Sign(claims, true), auth.Verified)
}

func TestParseKeys(t *testing.T) {
	t.Parallel()
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	i := oidctest.Start(t)
	es := i.NewKey(jose.ES256)
	jwk := func(k jose.JSONWebKey) string {
		b, err := json.Marshal(k)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	good := jwk(jose.JSONWebKey{Key: es.Private.Public(), KeyID: "good"})
	for name, bad := range map[string]string{
		"short":       jwk(jose.JSONWebKey{Key: &short.PublicKey, KeyID: "short"}),
		"private":     jwk(jose.JSONWebKey{Key: es.Private, KeyID: "private"}),
		"shared":      `{"kty":"oct","k":"AAAA"}`,
		"encryption":  jwk(jose.JSONWebKey{Key: es.Private.Public(), Use: "enc"}),
		"other curve": `{"kty":"EC","crv":"secp256k1","x":"AA","y":"AA"}`,
		"off curve":   `{"kty":"EC","crv":"P-256","x":"` + strings.Repeat("A", 43) + `","y":"` + strings.Repeat("A", 43) + `"}`,
		"unknown":     `{"kty":"new"}`,
		"text":        `"key"`,
		"null":        `null`,
	} {
		k, err := parseKeys([]byte(`{"keys":[`+bad+`,`+good+`]}`), time.Now())
		if err != nil || len(k.keys) != 1 || k.keys[0].KeyID != "good" || k.skipped != 1 {
			t.Errorf("%s: %v, %v", name, k, err)
		}
		if k, err := parseKeys([]byte(`{"keys":[`+bad+`]}`), time.Now()); err == nil {
			t.Errorf("%s alone: %v", name, k)
		}
	}
	for name, text := range map[string]string{
		"empty": "", "none": `{"keys":[]}`, "no keys": `{}`, "html": "<html>", "list": "[" + good + "]",
		"many": `{"keys":[` + strings.Repeat(good+",", maxKeys) + good + `]}`,
	} {
		if k, err := parseKeys([]byte(text), time.Now()); err == nil {
			t.Errorf("%s: %v", name, k)
		}
	}
}
