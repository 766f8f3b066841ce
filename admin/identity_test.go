package admin

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/auth/oidc"
	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/internal/oidctest"
)

// signedTokens has the entries for signed tokens and a certificate; they follow those of usualTokens.
const signedTokens = `
  - {name: operators, claims: {groups: hub-admins}, groups: ["*"], send: ["*"], admin: true}
  - {name: watchers, claims: {groups: watchers}, groups: [], send: [], admin: true}
  - {name: services, claims: {sub: "service:*"}, groups: ["*"], send: ["*"]}
  - {name: certified, certificate: {cn: "root.test"}, send: ["*"], admin: true}
`

// verifyTokens makes the first instance verify the issuer's tokens and adds their entries to the cluster's tokens.
func verifyTokens(t testing.TB, i *oidctest.Issuer) func(int, *hub.Options, *Options) {
	t.Helper()
	v, err := oidc.New(oidc.Options{
		Issuer: i.URL, Audiences: []string{oidctest.Audience}, CAFile: i.CAFile, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close) // after the hub
	tokens := parseTokens(t, usualTokens()+signedTokens)
	return func(_ int, h *hub.Options, _ *Options) {
		h.Verifier = v
		h.Tokens.Replace(tokens)
	}
}

// inGroup returns the claims of a member of the group.
func inGroup(group string) obj { return obj{"groups": []string{"staff", group}} }

// as replaces the token of a request.
func as(token string) func(*http.Request) { return header("Authorization", "Bearer "+token) }

// TestSignedTokensOfOperators tries every operation with signed tokens of every kind. Body or parameters of an operation
// that would change too much are invalid: that answer proves that the token was accepted.
func TestSignedTokensOfOperators(t *testing.T) {
	t.Parallel()
	i, stranger := oidctest.Start(t), oidctest.Start(t)
	c := startCluster(t, 1, verifyTokens(t, i))
	now := time.Now()
	const none = "00000000-0000-8000-8000-000000000000"
	operations := []struct {
		method, path, body string
		in                 int // what an operator is answered
	}{
		{"GET", "/v1/openapi.json", "", 200},
		{"GET", "/v1/nodes", "", 200},
		{"GET", "/v1/clients", "", 200},
		{"GET", "/v1/clients/" + none, "", 404},
		{"DELETE", "/v1/clients/" + none, "", 404},
		{"GET", "/v1/groups", "", 200},
		{"GET", "/v1/groups/none", "", 404},
		{"GET", "/v1/tail", "", 422},
		{"POST", "/v1/events", `{"intent":{"target":"GLOBAL"}}`, 200},
		{"POST", "/v1/drain", `{"over":"never"}`, 422},
		{"POST", "/v1/rebalance", `{"over":"never"}`, 422},
		{"POST", "/v1/reload", "", 404},
	}
	for _, tt := range []struct {
		name, token string
		publish     int // what POST /v1/events answers
		other       int // what all others answer; 0: as to an operator
	}{
		{"an operator", i.Token("alice", inGroup("hub-admins")), 200, 0},
		{"a token without send permissions", i.Token("bob", inGroup("watchers")), 403, 0},
		{"a service", i.Token("service:billing", nil), 403, 403},
		{"a token that matches two entries", i.Token("service:billing", inGroup("hub-admins")), 200, 0},
		{"a token without an entry", i.Token("carol", inGroup("interns")), 401, 401},
		{"an expired token", i.Token("alice", obj{"groups": "hub-admins", "exp": now.Unix() - 1, "iat": now.Unix() - 60, "nbf": now.Unix() - 60}), 401, 401},
		{"a token that is not yet valid", i.Token("alice", obj{"groups": "hub-admins", "nbf": now.Unix() + 3600}), 401, 401},
		{"a token for another audience", i.Token("alice", obj{"groups": "hub-admins", "aud": "other"}), 401, 401},
		{"an operator by another issuer's word", stranger.Token("alice", obj{"groups": "hub-admins", "iss": i.URL}), 401, 401},
		{"a token without an expiry", i.Token("alice", obj{"groups": "hub-admins", "exp": nil}), 401, 401},
	} {
		for _, o := range operations {
			want := o.in
			switch {
			case o.path == "/v1/events":
				want = tt.publish
			case tt.other != 0:
				want = tt.other
			}
			r := c.do(0, o.method, o.path, o.body, as(tt.token))
			if r.status != want {
				t.Errorf("%s: %s %s: %d, want %d: %.200s", tt.name, o.method, o.path, r.status, want, r.body)
			}
			if challenge := r.header.Get("WWW-Authenticate"); (r.status == 401) != strings.HasSuffix(challenge, `"mastersocket"`) {
				t.Errorf("%s: %s %s: %d with the challenge %q", tt.name, o.method, o.path, r.status, challenge)
			}
		}
	}
	log := c.log.String()
	for _, cause := range []string{"no_grant", "expired", "not_yet_valid", "wrong_audience"} {
		if !strings.Contains(log, `msg="signed token refused" cause=`+cause+" from=127.0.0.1:") {
			t.Errorf("the log does not say that a token was refused as %s", cause)
		}
	}
	if strings.Contains(log, ".eyJ") {
		t.Error("a token is in the log")
	}
}

// TestSubjects: the subject of a token is in lists and in the audit log, whatever characters it has.
func TestSubjects(t *testing.T) {
	t.Parallel()
	i := oidctest.Start(t)
	c := startCluster(t, 2, verifyTokens(t, i))
	p := c.connect(0, "g", obj{"token": i.Token("service:billing", nil)})
	c.connect(0, "g", nil)
	var page ClientList
	c.get(1, "/v1/clients?group=g&limit=2", &page)
	seen := map[string]string{}
	for _, client := range page.Clients {
		seen[client.Token] = client.Subject
	}
	if len(seen) != 2 || seen["services"] != "service:billing" || seen["root"] != "" {
		t.Errorf("operators see the subjects %q", seen)
	}
	var one hub.Client
	if c.get(1, "/v1/clients/"+p.id, &one); one.Subject != "service:billing" || one.Token != "services" {
		t.Errorf("got %+v", one)
	}
	const forged = "eve\nlevel=INFO msg=admin operation=nothing"
	for _, subject := range []string{"alice", forged} {
		if r := c.do(0, "POST", "/v1/events", `{"intent":{"target":"GLOBAL"}}`, as(i.Token(subject, inGroup("hub-admins")))); r.status != 200 {
			t.Fatalf("%q: %d", subject, r.status)
		}
	}
	c.do(0, "DELETE", "/v1/clients/"+p.id, "", as(i.Token("bob", inGroup("watchers"))))
	if r := c.do(0, "POST", "/v1/events", `{"intent":{"target":"GLOBAL"}}`, as(i.Token("bob", inGroup("watchers")))); r.status != 403 {
		t.Errorf("a token without send permissions: %d", r.status)
	}
	if r := c.do(0, "GET", "/v1/nodes", "", as(i.Token("service:billing", nil))); r.status != 403 {
		t.Errorf("a service: %d", r.status)
	}
	c.call(0, "POST", "/v1/events", `{"intent":{"target":"GLOBAL"}}`)
	lines := auditLines(c.log.String())
	for n, want := range []string{
		"operation=publish path=/v1/events token=operators from=… result=done status=200 subject=alice intent=GLOBAL",
		"operation=publish path=/v1/events token=operators from=… result=done status=200 subject=" + fmt.Sprintf("%q", forged) + " intent=GLOBAL",
		"operation=kick path=/v1/clients/" + p.id + " token=watchers from=… result=done status=204 subject=bob",
		"operation=publish path=/v1/events token=watchers from=… result=refused status=403 subject=bob",
		"operation=publish path=/v1/events token=root from=… result=done status=200 intent=GLOBAL",
	} {
		if n >= len(lines) || !strings.HasPrefix(lines[n], want) {
			t.Errorf("line %d of the audit log is not %s, in %q", n, want, lines)
		}
	}
	if want := `cause="not an admin token" from=127.0.0.1`; !strings.Contains(c.log.String(), want) ||
		!strings.Contains(c.log.String(), "token=services subject=service:billing") {
		t.Errorf("the log lacks the refused subject: %s", c.log.String())
	}
	for range 2 {
		p.read() // an event
	}
	p.wantEnd("KICKED", 4010)
}

// auditLines returns the lines of the audit log without their ends and ports.
func auditLines(log string) (lines []string) {
	for line := range strings.Lines(log) {
		if _, rest, ok := strings.Cut(line, " msg=admin "); ok {
			before, after, _ := strings.Cut(strings.TrimSpace(rest), "from=")
			_, after, _ = strings.Cut(after, " ")
			lines = append(lines, before+"from=… "+after)
		}
	}
	return lines
}

// TestIssuerAway: while the issuer can't be reached, its tokens get 503 with Retry-After, and other tokens are served.
func TestIssuerAway(t *testing.T) {
	t.Parallel()
	i := oidctest.Start(t)
	i.Answer(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "away", http.StatusBadGateway) })
	c := startCluster(t, 1, verifyTokens(t, i))
	alice, bob := as(i.Token("alice", inGroup("hub-admins"))), as(i.Token("service:billing", nil))
	for _, path := range []string{"/v1/nodes", "/v1/tail?group=g", "/v1/nothing"} {
		r := c.do(0, "GET", path, "", alice)
		if r.status != 503 || r.header.Get("Retry-After") == "" || r.header.Get("WWW-Authenticate") != "" {
			t.Errorf("GET %s while there are no keys: %d %v", path, r.status, r.header)
		}
	}
	if r := c.do(0, "POST", "/v1/events", `{"intent":{"target":"GLOBAL"}}`, alice); r.status != 503 {
		t.Errorf("POST /v1/events while there are no keys: %d", r.status)
	}
	if strings.Contains(c.log.String(), "msg=admin ") {
		t.Error("what was not done is in the audit log")
	}
	if !strings.Contains(c.log.String(), `msg="signed token refused" cause=keys_unavailable`) {
		t.Error("the log does not say why")
	}
	want(t, c.urls[0]+"/readyz", 200, "ready")
	c.get(0, "/v1/nodes", &NodeList{})
	c.do(0, "GET", "/v1/nodes", "", as("x.y.z")) // looks like one, is none

	i.Answer(nil)
	deadline := time.Now().Add(time.Minute)
	for c.do(0, "GET", "/v1/nodes", "", alice).status != 200 { // each waits for the keys, or a second
		if time.Now().After(deadline) {
			t.Fatal("the keys are never fetched")
		}
	}
	if r := c.do(0, "GET", "/v1/nodes", "", bob); r.status != 403 {
		t.Errorf("a service: %d", r.status)
	}

	// Known keys serve while the issuer is away again; a token with an unknown key gets 503.
	i.Answer(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "away", http.StatusBadGateway) })
	if r := c.do(0, "GET", "/v1/nodes", "", as(i.Token("dave", inGroup("watchers")))); r.status != 200 {
		t.Errorf("a new token with a known key: %d", r.status)
	}
	claims, err := json.Marshal(i.Claims("alice", inGroup("hub-admins")))
	if err != nil {
		t.Fatal(err)
	}
	if r := c.do(0, "GET", "/v1/nodes", "", as(i.NewKey("ES256").Sign(claims, true))); r.status != 503 {
		t.Errorf("a token with a key that is not known: %d", r.status)
	}
	var stats auth.KeyStats
	if s := c.hubs[0].Stats().Verifier; s != nil {
		stats = s.Keys[0]
	}
	if stats.Keys != 1 || stats.Failed == 0 {
		t.Errorf("counts of the keys: %+v", stats)
	}
}

// TestIssuerSilent: requests that wait for a silent issuer get 503 within verifyTimeout and do not delay others.
func TestIssuerSilent(t *testing.T) {
	t.Parallel()
	i := oidctest.Start(t)
	asked, end := make(chan struct{}, 100), make(chan struct{})
	defer close(end)
	i.Answer(func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		select {
		case <-end:
		case <-r.Context().Done():
		}
	})
	c := startCluster(t, 1, verifyTokens(t, i))
	<-asked
	const waiters = maxInFlight + 1 // they must not take the places of others
	answers := make(chan reply, waiters)
	begin := time.Now()
	for range waiters {
		go func() { answers <- c.do(0, "GET", "/v1/nodes", "", as(i.Token("alice", inGroup("hub-admins")))) }()
	}
	for c.hubs[0].Stats().Verifier.Running < waiters && len(answers) == 0 {
		c.get(0, "/v1/nodes", &NodeList{})
	}
	for range waiters {
		if r := <-answers; r.status != 503 || r.header.Get("Retry-After") == "" {
			t.Errorf("answered %d", r.status)
		}
	}
	if took := time.Since(begin); took < verifyTimeout/2 {
		t.Errorf("answered after %v, without waiting for the issuer", took)
	}
	if n := c.hubs[0].Stats().Verifier.Running; n != 0 {
		t.Errorf("%d verifications are still in progress", n)
	}
}
