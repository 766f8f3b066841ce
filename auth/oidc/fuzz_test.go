package oidc

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/internal/oidctest"
)

func FuzzVerify(f *testing.F) {
	i := oidctest.Start(f)
	v, _ := verifier(f, optionsFor(i), func() times { t := testTimes(); t.spacing = time.Hour; return t }())
	good := i.Token("someone", nil)
	expect(f, v, "good", good, auth.Verified)
	f.Add("a.b.c")
	f.Add(encode(`{"alg":"ES256","kid":"key-1"}`, `{"iss":"a"}`, "AA"))
	f.Add(encode(`{"alg":"none"}`, `{}`, "AA"))
	f.Add(encode(`{"alg":"HS256","jwk":{"kty":"oct"}}`, `{}`, "AA"))
	f.Add(good[:len(good)-1])
	f.Fuzz(func(t *testing.T, token string) {
		if token == good {
			return
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if identity, verdict := v.Verify(ctx, token); verdict == auth.Verified || identity.Claims != nil {
			t.Errorf("%q is taken: %v", token, identity)
		}
	})
}

func FuzzClaims(f *testing.F) {
	f.Add([]byte(`{"iss":"a","exp":1e9,"aud":["a"],"nbf":0,"sub":"x"}`))
	f.Add([]byte(`{"iss":"a","exp":99999999999999999999999,"aud":"a","a":{"a":[[[{}]]]}}`))
	f.Add([]byte(`{"a":1,"a":2}`))
	v := &Verifier{opts: Options{Issuer: "a", Audiences: []string{"a"}}, times: usualTimes()}
	f.Fuzz(func(t *testing.T, text []byte) {
		identity, verdict := v.checkClaims(text)
		if verdict != auth.Verified {
			return
		}
		if identity.Claims["iss"] != "a" || !identity.Expires.After(time.Now()) || identity.Expires.Unix() > lastTime {
			t.Errorf("%q is taken: %v", text, identity)
		}
		var again map[string]any
		if err := json.Unmarshal(text, &again); err != nil || len(again) != len(identity.Claims) {
			t.Errorf("%q: %v, %v", text, again, err)
		}
	})
}
