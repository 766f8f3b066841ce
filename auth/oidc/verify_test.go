package oidc

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/internal/oidctest"
)

func encode(parts ...string) string {
	for i := range parts {
		parts[i] = base64.RawURLEncoding.EncodeToString([]byte(parts[i]))
	}
	return strings.Join(parts, ".")
}

func payload(t testing.TB, claims map[string]any) []byte {
	t.Helper()
	b, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestVerify(t *testing.T) {
	t.Parallel()
	i := oidctest.Start(t)
	v, _ := verifier(t, optionsFor(i), testTimes())
	now := time.Now().Unix()
	for name, c := range map[string]struct {
		claims map[string]any
		want   auth.Verdict
	}{
		"usual":               {nil, auth.Verified},
		"audience as text":    {map[string]any{"aud": "other"}, auth.Verified},
		"several audiences":   {map[string]any{"aud": []string{"a", "b", "mastersocket"}}, auth.Verified},
		"no audience":         {map[string]any{"aud": nil}, auth.WrongAudience},
		"other audience":      {map[string]any{"aud": "mastersocket2"}, auth.WrongAudience},
		"audience is a list":  {map[string]any{"aud": []any{[]string{"mastersocket"}}}, auth.WrongAudience},
		"audience is a map":   {map[string]any{"aud": map[string]any{"mastersocket": "mastersocket"}}, auth.WrongAudience},
		"empty audiences":     {map[string]any{"aud": []string{}}, auth.WrongAudience},
		"other issuer":        {map[string]any{"iss": "https://other.example"}, auth.WrongIssuer},
		"issuer with a slash": {map[string]any{"iss": i.URL + "/"}, auth.WrongIssuer},
		"no issuer":           {map[string]any{"iss": nil}, auth.WrongIssuer},
		"issuers":             {map[string]any{"iss": []string{i.URL}}, auth.WrongIssuer},
		"expired":             {map[string]any{"exp": now - 1}, auth.Expired},
		"expired long ago":    {map[string]any{"exp": 1}, auth.Expired},
		"no expiry":           {map[string]any{"exp": nil}, auth.Malformed},
		"expiry 0":            {map[string]any{"exp": 0}, auth.Malformed},
		"negative expiry":     {map[string]any{"exp": -5}, auth.Malformed},
		"expiry as text":      {map[string]any{"exp": fmt.Sprint(now + 60)}, auth.Malformed},
		"expiry as date":      {map[string]any{"exp": "2099-01-01T00:00:00Z"}, auth.Malformed},
		"fraction":            {map[string]any{"exp": float64(now) + 600.5}, auth.Verified},
		"far away":            {map[string]any{"exp": 1e18}, auth.Verified},
		"beyond all times":    {map[string]any{"exp": 1e300}, auth.Malformed},
		"not yet":             {map[string]any{"nbf": now + 120}, auth.NotYetValid},
		"clock ahead":         {map[string]any{"nbf": now + 30, "iat": now + 30}, auth.Verified},
		"nbf as text":         {map[string]any{"nbf": "soon"}, auth.Malformed},
		"no nbf":              {map[string]any{"nbf": nil, "iat": nil}, auth.Verified},
		"no subject":          {map[string]any{"sub": nil}, auth.Verified},
		"deep":                {map[string]any{"x": deep(30)}, auth.Verified},
		"too deep":            {map[string]any{"x": deep(40)}, auth.Malformed},
		"huge":                {map[string]any{"x": strings.Repeat("x", auth.MaxSignedBytes)}, auth.Malformed},
		"large":               {map[string]any{"x": strings.Repeat("x", 5000)}, auth.Verified},
	} {
		expect(t, v, name, i.Token("someone", c.claims), c.want)
	}
}

func deep(n int) any {
	var x any = "x"
	for range n {
		x = []any{x}
	}
	return x
}

// TestKubernetes has a token as the API server of a cluster makes it, whose issuer is known under a name that is no

// address of it.

func TestKubernetes(t *testing.T) {
	t.Parallel()
	i := oidctest.Start(t)
	i.Publish(i.NewKey(jose.RS256))
	o := optionsFor(i)
	o.Issuer, o.Keys = "https://kubernetes.default.svc.cluster.local", i.KeysURL()
	v, _ := verifier(t, o, testTimes())
	bound := map[string]any{
		"namespace":      "shop",
		"node":           map[string]any{"name": "node-1", "uid": "0ca3d5c1-6c34-4c1d-8f3c-9c5cb1f0fa59"},
		"pod":            map[string]any{"name": "billing-6d4cf56db6-x7x8z", "uid": "e87dbbd6-3d7e-45db-aafb-72b24627dff5"},
		"serviceaccount": map[string]any{"name": "billing", "uid": "14ee3fa4-a7e2-420f-9f9a-dbc4507c3798"},
		"warnafter":      time.Now().Unix() + 3607,
	}
	token := i.Token("system:serviceaccount:shop:billing", map[string]any{
		"iss": o.Issuer, "aud": []string{"mastersocket"}, "jti": "aed34954-b33a-4142-b1ec-389d6bbb4936", "kubernetes.io": bound,
	})
	t.Logf("such a token has %d bytes", len(token))
	identity := expect(t, v, "service account", token, auth.Verified)
	if identity.Subject != "system:serviceaccount:shop:billing" {
		t.Errorf("subject %q", identity.Subject)
	}
	tokens, err := auth.ParseTokens([]byte(`
tokens:
- name: other
  claims: {sub: "system:serviceaccount:ops:*"}
  groups: "*"
- name: billing
  claims:
    sub: "system:serviceaccount:shop:*"
    aud: mastersocket
    kubernetes.io: {namespace: shop, serviceaccount: {name: billing}}
  groups: "*"
`))
	if err != nil {
		t.Fatal(err)
	}
	if g, ok := auth.NewStore(tokens).ByClaims(identity.Claims); !ok || g.Name != "billing" {
		t.Errorf("ByClaims = %v, %v", g, ok)
	}
}

// TestForged has what attackers do to tokens.

func TestIdentity(t *testing.T) {
	t.Parallel()
	i := oidctest.Start(t)
	v, _ := verifier(t, optionsFor(i), testTimes())
	exp := time.Now().Add(time.Hour).Truncate(time.Second)
	identity := expect(t, v, "token", i.Token("someone", map[string]any{"exp": exp.Unix(), "n": 9007199254740993, "b": true}), auth.Verified)
	if !identity.Expires.Equal(exp) {
		t.Errorf("expires %v, want %v", identity.Expires, exp)
	}
	got := map[string]any{"n": identity.Claims["n"], "b": identity.Claims["b"], "sub": identity.Claims["sub"]}
	if diff := cmp.Diff(map[string]any{"n": json.Number("9007199254740993"), "b": true, "sub": "someone"}, got); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}
	if identity = expect(t, v, "far", i.Token("", map[string]any{"exp": 1e18}), auth.Verified); identity.Expires.Unix() != lastTime {
		t.Errorf("expires %v", identity.Expires)
	}
}

// TestExpires: a token is good until its exp, to the second.

func TestExpires(t *testing.T) {
	t.Parallel()
	i := oidctest.Start(t)
	tm := testTimes()
	var later atomic.Int64
	began := time.Now().Truncate(time.Second)
	tm.now = func() time.Time { return began.Add(time.Duration(later.Load())) }
	v, _ := verifier(t, optionsFor(i), tm)
	token := i.Token("someone", map[string]any{"nbf": began.Add(2 * time.Minute).Unix(), "exp": began.Add(3 * time.Minute).Unix()})
	for _, c := range []struct {
		at   time.Duration
		want auth.Verdict
	}{
		{0, auth.NotYetValid},
		{time.Minute - 1, auth.NotYetValid},
		{time.Minute, auth.Verified},
		{3*time.Minute - 1, auth.Verified},
		{3 * time.Minute, auth.Expired},
	} {
		later.Store(int64(c.at))
		expect(t, v, c.at.String(), token, c.want)
	}
}

// TestVerifyTakesNoLongerThanItsContext, whatever it waits for.

// TestBogusTokensDoNotHoldUpOthers: thousands of forged tokens of all kinds at once, while the issuer does not answer, and

// good ones among them.

// TestVerifyStaysInItsBudget is a hundred times what it takes on a slow machine: 50 to 150 µs.

// cached returns a verifier that has its keys, and a token like those of Kubernetes.

// FuzzVerify has tokens that strangers write. None may be taken, or do harm.

// FuzzClaims has claims as an issuer might sign them.
