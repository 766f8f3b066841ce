package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/mastersocket/mastersocket/client"
	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/internal/hubtest"
	"github.com/mastersocket/mastersocket/internal/oidctest"
	"github.com/mastersocket/mastersocket/internal/tlstest"
)

// identityYAML is a tokens file for what an issuer says, as that of a Kubernetes cluster.
const identityYAML = `
tokens:
  - name: operators
    claims: {groups: "hub-admins"}
    admin: true
  - name: billing
    claims:
      sub: "system:serviceaccount:shop:billing"
      kubernetes.io: {namespace: shop}
    groups: ["billing", "billing.*"]
    send: "*"
`

// shop is what a cluster says of a pod in the namespace shop.
var shop = map[string]any{"kubernetes.io": map[string]any{"namespace": "shop"}}

const billingSubject = "system:serviceaccount:shop:billing"

// startIdentityHub starts a hub that verifies the issuer's tokens.
func startIdentityHub(t *testing.T, i *oidctest.Issuer, tokens string, flags ...string) *hubtest.Server {
	t.Helper()
	return hubtest.Start(t, hubtest.Options{Token: "none", Flags: append([]string{
		"--tokens-file=" + tokens, "--oidc-issuer=" + i.URL, "--oidc-audience=" + oidctest.Audience, "--oidc-ca=" + i.CAFile,
	}, flags...)})
}

// withoutToken runs commands that are given a token each.
func withoutToken(t *testing.T, s *hubtest.Server) tools {
	return tools{t, []string{"MASTERSOCKET_URL=" + s.URL(), "MASTERSOCKET_TOKEN="}}
}

// signed is an SDK client with a token from a function.
func signed(t *testing.T, s *hubtest.Server, group string, token func() string) *client.Client {
	t.Helper()
	return dialHub(t, withoutToken(t, s), client.Options{
		Group: group, TokenSource: func(context.Context) (string, error) { return token(), nil },
	})
}

// TestIdentity: the issuer is away when the hub starts, comes back, and goes again; clients and operators have tokens of it.
func TestIdentity(t *testing.T) {
	t.Parallel()
	i := oidctest.Start(t)
	i.Answer(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "away", http.StatusBadGateway) })
	tokens := filepath.Join(t.TempDir(), "tokens.yaml")
	writeFile(t, tokens, identityYAML)
	s := startIdentityHub(t, i, tokens)
	s.WaitLog(0, patience, func(l hubtest.Line) bool { return strings.Contains(l["msg"], "their holders are told to try again") })
	operators := operator{t, "http://" + s.AdminAddr, i.Token("alice", map[string]any{"groups": []string{"staff", "hub-admins"}})}
	if got := operators.do(http.MethodGet, "/v1/clients", "", nil); got != http.StatusServiceUnavailable {
		t.Errorf("an operator is answered %d while there are no keys", got)
	}
	attempts := 0
	c := signed(t, s, "billing", func() string {
		if attempts++; attempts == 2 { // the client was told to try again
			i.Answer(nil)
		}
		return i.Token(billingSubject, shop)
	})
	var page struct{ Clients []hub.Client }
	if got := operators.do(http.MethodGet, "/v1/clients", "", &page); got != http.StatusOK || len(page.Clients) != 1 ||
		page.Clients[0].Token != "billing" || page.Clients[0].Subject != billingSubject || page.Clients[0].ID.String() != c.Identity().ID {
		t.Errorf("%d: operators see %+v", got, page.Clients)
	}
	if n, err := strconv.ParseFloat(operators.metric(`mastersocket_identity_verifications_total{result="verified"}`), 64); err != nil || n < 2 {
		t.Errorf("%v tokens are counted as verified: %v", n, err)
	}
	if age, err := strconv.ParseFloat(operators.metric(`mastersocket_identity_keys_age_seconds{issuer="`+i.URL+`"}`), 64); err != nil || age > 60 {
		t.Errorf("the keys are %v s old: %v", age, err)
	}

	// What is known serves while the issuer is away, also for new tokens.
	i.Answer(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "away", http.StatusBadGateway) })
	signed(t, s, "billing.eu", func() string { return i.Token(billingSubject, shop) })

	x := withoutToken(t, s)
	for name, token := range map[string]string{
		"no_grant":        i.Token("system:serviceaccount:other:billing", shop),
		"wrong_audience":  i.Token(billingSubject, map[string]any{"aud": "other"}),
		"expired":         i.Token(billingSubject, map[string]any{"exp": time.Now().Unix() - 5}),
		"wrong_signature": i.Token(billingSubject, shop)[:300] + "AAAA" + i.Token(billingSubject, shop)[304:],
	} {
		file := filepath.Join(t.TempDir(), "token")
		writeFile(t, file, token+"\n")
		x.start("", "pub", "--token-file", file, "--group", "billing", "--to", "GLOBAL", "--event", "e").want(1, "", "IDENTIFY_FAILED")
		s.WaitLog(0, patience, func(l hubtest.Line) bool {
			return l["msg"] == "signed token refused" && l["cause"] == name
		})
	}
	other := operators
	other.token = i.Token(billingSubject, shop)
	if got := other.do(http.MethodGet, "/v1/clients", "", nil); got != http.StatusForbidden {
		t.Errorf("a client's token is answered %d by the admin API", got)
	}
	other.token = i.Token("alice", map[string]any{"groups": "hub-admins", "aud": "other"})
	if got := other.do(http.MethodGet, "/v1/clients", "", nil); got != http.StatusUnauthorized {
		t.Errorf("a token for another audience is answered %d by the admin API", got)
	}

	// Without its entry no client stays.
	writeFile(t, tokens, strings.Replace(identityYAML, "namespace: shop", "namespace: mall", 1))
	s.Signal(syscall.SIGHUP)
	s.WaitLog(0, patience, func(l hubtest.Line) bool {
		return l["msg"] == "client disconnected" && l["cause"] == "UNAUTHORIZED"
	})
	for _, line := range s.Log() {
		if strings.Contains(line, ".eyJ") || strings.Contains(line, "eyJhbGci") {
			t.Errorf("a token is in the log: %s", line)
		}
	}
}

// TestTokenFileIsRenewed: a client's token ends while it is connected, and a fresh one lies where the old one was, as the
// kubelet puts it. The client goes on without noticing.
func TestTokenFileIsRenewed(t *testing.T) {
	t.Parallel()
	i := oidctest.Start(t)
	i.Publish(i.NewKey(jose.RS256))
	dir := t.TempDir()
	tokens := filepath.Join(dir, "tokens.yaml")
	writeFile(t, tokens, identityYAML)
	s := startIdentityHub(t, i, tokens, "--message-timeout=1s") // deadlines are checked more often then
	mounted := &configMap{t: t, dir: filepath.Join(dir, "token")}
	if err := os.Mkdir(mounted.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	const life = time.Minute // DRAIN comes 6 s before the end, and the client moves within the first 3 s of those
	end := time.Now().Add(life)
	project := func(exp time.Time) {
		claims := map[string]any{"exp": exp.Unix(), "kubernetes.io": shop["kubernetes.io"]}
		mounted.put(map[string]string{"token": i.Token(billingSubject, claims)})
	}
	project(end)

	connected, lost := make(chan client.Identity, 8), make(chan error, 8)
	got := make(chan string, 10_000) // more than are sent: a handler that waits holds up the client
	c := dialHub(t, withoutToken(t, s), client.Options{
		Group: "billing",
		TokenSource: func(context.Context) (string, error) {
			b, err := os.ReadFile(filepath.Join(mounted.dir, "token"))
			return string(b), err
		},
		OnConnect:    func(id client.Identity) { connected <- id },
		OnDisconnect: func(err error) { lost <- err },
		On: map[string]client.Handler{"n": func(_ context.Context, m *client.Message) {
			got <- string(m.Data)
		}},
	})
	first := <-connected
	project(time.Now().Add(time.Hour)) // as after four fifths of its life

	ctx, cancel := context.WithTimeout(t.Context(), life+patience)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var second client.Identity
	sent := 0
	for second.ID == "" || time.Now().Before(end.Add(time.Second)) {
		if _, err := c.SendAcked(ctx, client.Group("billing"), "n", sent); err != nil {
			t.Fatalf("message %d: %v", sent, err)
		}
		sent++
		select {
		case second = <-connected:
		case err := <-lost:
			t.Fatalf("the client noticed: %v", err)
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal(ctx.Err())
		}
	}
	if second.ID == first.ID || c.Identity().ID != second.ID {
		t.Errorf("the client was %s, is %s", first.ID, second.ID)
	}
	for n := range sent {
		select {
		case m := <-got:
			if m != fmt.Sprint(n) {
				t.Fatalf("got %s, want %d", m, n)
			}
		case <-ctx.Done():
			t.Fatalf("message %d did not come", n)
		}
	}
	t.Logf("%d messages, %v before the token's end and after", sent, life)
}

// TestIdentityByCertificate: a client without a token, over TLS.
func TestIdentityByCertificate(t *testing.T) {
	t.Parallel()
	ca, dir := tlstest.NewAuthority(t), t.TempDir()
	tlstest.Write(t, dir, ca.Issue(t, tlstest.Template{}))
	file := tlstest.WriteFile(t, dir, "ca.crt", ca.PEM())
	tokens := filepath.Join(dir, "tokens.yaml")
	writeFile(t, tokens, `tokens: [{name: mesh, certificate: {uri: "spiffe://cluster.local/ns/shop/*"}, groups: "*", send: "*"}]`)
	s := hubtest.Start(t, hubtest.Options{Token: "none", TLS: true, Flags: append(tlsFlagsOf(dir), "--tokens-file="+tokens)})
	x := tools{t, []string{"MASTERSOCKET_URL=wss://" + s.TLSAddr}}
	for uri, want := range map[string]string{"spiffe://cluster.local/ns/shop/sa/billing": "NO_RECEIVER", "spiffe://cluster.local/ns/other/sa/a": "IDENTIFY_FAILED"} {
		cert, key := tlstest.Write(t, t.TempDir(), ca.Issue(t, tlstest.Template{Name: "x.test", URIs: []string{uri}}))
		x.start("", "pub", "--ca", file, "--cert", cert, "--key", key, "--to", "GROUP:nobody", "--event", "e").want(1, "", want)
	}
}

func TestIdentityConfiguration(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	x := tools{t, nil}
	file := filepath.Join(dir, "hub.yaml")
	writeFile(t, file, "oidc-issuer: http://issuer.example\noidc-audience: mastersocket\n")
	x.start("", "config", "check", file).want(2, "", file+":1: oidc-issuer: the issuer must begin with https")
	x.start("", "serve", "--oidc-audience=a").want(2, "", "--oidc-audience: it has no meaning without oidc-issuer")
	tokens := filepath.Join(dir, "tokens.yaml")
	writeFile(t, tokens, strings.Replace(identityYAML, "namespace: shop", "namespace: []", 1))
	x.start("", "config", "check", tokens).want(2, "", tokens+":9: the list is empty")
	writeFile(t, tokens, identityYAML)
	x.start("", "config", "check", tokens).want(0, tokens+": no errors\n", "")
}

// TestReloadFetchesKeys: SIGHUP and POST /v1/reload ask the issuer for its keys.
func TestReloadFetchesKeys(t *testing.T) {
	t.Parallel()
	i := oidctest.Start(t)
	keys := []*oidctest.Key{i.NewKey(jose.ES256)}
	i.Publish(keys...)
	tokens := filepath.Join(t.TempDir(), "tokens.yaml")
	writeFile(t, tokens, identityYAML)
	s := startIdentityHub(t, i, tokens)
	operators := operator{t, "http://" + s.AdminAddr, ""}
	for _, ask := range []func(){
		func() { s.Signal(syscall.SIGHUP) },
		func() {
			if got := operators.do(http.MethodPost, "/v1/reload", "", nil); got != http.StatusOK {
				t.Errorf("reload is answered with %d", got)
			}
		},
	} {
		operators.token = i.Token("alice", map[string]any{"groups": "hub-admins"})
		signed(t, s, "billing", func() string { return i.Token(billingSubject, shop) })
		keys = append(keys, i.NewKey(jose.ES256))
		i.Publish(keys...)
		mark := s.LogMark()
		ask()
		s.WaitLog(mark, patience, func(l hubtest.Line) bool {
			return l["msg"] == "configuration reloaded" && strings.Contains(l["changed"], "oidc-keys")
		})
	}
}
