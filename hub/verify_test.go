package hub

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/internal/eventually"
)

// signedToken is a token that looks signed by an issuer, about the subject.
func signedToken(subject string) string {
	return "a." + base64.RawURLEncoding.EncodeToString([]byte(subject)) + ".c"
}

// issuer is a Verifier. What it says of a token, and when, is the test's.
type issuer struct {
	expires time.Time
	verdict func(subject string) auth.Verdict // nil: all are verified
	asked   chan string                       // the subject of each token, if not nil
	answer  chan struct{}                     // waited for before each answer, if not nil
}

func (i *issuer) Verify(ctx context.Context, token string) (auth.Identity, auth.Verdict) {
	subject, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		return auth.Identity{}, auth.Malformed
	}
	if i.asked != nil {
		i.asked <- string(subject)
	}
	if i.answer != nil {
		select {
		case <-i.answer:
		case <-ctx.Done():
			return auth.Identity{}, auth.KeysUnavailable
		}
	}
	if i.verdict != nil {
		if v := i.verdict(string(subject)); v != auth.Verified {
			return auth.Identity{}, v
		}
	}
	expires := i.expires
	if expires.IsZero() {
		expires = time.Now().Add(time.Hour)
	}
	return auth.Identity{Claims: map[string]any{"sub": string(subject)}, Subject: string(subject), Expires: expires}, auth.Verified
}

func (i *issuer) Stats() []auth.KeyStats { return []auth.KeyStats{{Keys: 1}} }

const ruleTokens = `
- {name: known, sha256: %s, groups: "*", send: "*", admin: true}
- {name: billing, claims: {sub: "billing*"}, groups: ["billing", "shop.*"], send: "*", rate: 1000}
- {name: operators, claims: {sub: operator}, admin: true}
- {name: reader, claims: {sub: reader}, groups: "*"}
- {name: mesh, certificate: {uri: "spiffe://cluster.local/ns/shop/*"}, groups: "billing", send: "*"}
- {name: named, certificate: {cn: "billing.test"}, groups: "billing"}
`

// tokenTable is a table of tokens with these entries; of the usual ones for none.
func tokenTable(t testing.TB, entries string) *auth.Tokens {
	t.Helper()
	if entries == "" {
		entries = fmt.Sprintf(ruleTokens, auth.Hash(testToken))
	}
	tokens, err := auth.ParseTokens([]byte("tokens:\n" + entries))
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

// verified lets the hub verify tokens by i.
func verified(t testing.TB, i *issuer) func(*Options) {
	return func(o *Options) {
		o.Tokens, o.Verifier = auth.NewStore(tokenTable(t, "")), i
		o.Transport.SweepInterval = 10 * time.Millisecond
	}
}

func withToken(token, group string) m { return m{"op": 1, "data": m{"token": token, "group": group}} }

func TestSignedToken(t *testing.T) {
	t.Parallel()
	i := &issuer{asked: make(chan string, 1), answer: make(chan struct{})}
	h, url := startHub(t, memory.NewBus().Broker(), verified(t, i))
	p := connect(t, url)
	p.send(withToken(signedToken("billing-1"), "billing"))
	p.send(event("behind", to("GROUP", "billing"))) // not lost, and not before the answer
	if got := <-i.asked; got != "billing-1" {
		t.Errorf("asked about %q", got)
	}
	known := identify(t, url, "g", nil) // without a wait
	known.send(event("e", to("GROUP", "g")))
	if f := known.read(); f.ID != "e" {
		t.Fatalf("got %+v", f)
	}
	i.answer <- struct{}{}
	if f := p.read(); f.Op != 1 {
		t.Fatalf("got %+v, want the answer to IDENTIFY", f)
	}
	if f := p.read(); f.ID != "behind" {
		t.Fatalf("got %+v, want the event that was sent behind IDENTIFY", f)
	}
	page, err := h.Clients(t.Context(), Filter{Group: "billing"}, "", 10)
	if err != nil || len(page.Clients) != 1 || page.Clients[0].Token != "billing" || page.Clients[0].Subject != "billing-1" {
		t.Errorf("operators see %+v, %v", page.Clients, err)
	}
	if s := h.Stats().Verifier; s == nil || s.Verdicts[auth.Verified] != 1 || len(s.Keys) != 1 || s.Keys[0].Keys != 1 || s.Running != 0 {
		t.Errorf("counted %+v", s)
	}
}

func TestSignedTokenRefused(t *testing.T) {
	t.Parallel()
	verdicts := map[string]auth.Verdict{}
	for v := range auth.Verdict(auth.NumVerdicts) {
		verdicts[v.String()] = v
	}
	i := &issuer{verdict: func(subject string) auth.Verdict { return verdicts[subject] }}
	h, url := startHub(t, memory.NewBus().Broker(), verified(t, i))
	for name, v := range verdicts {
		if v == auth.Verified {
			continue
		}
		p := connect(t, url)
		p.send(withToken(signedToken(name), "billing"))
		if v.Temporary() {
			p.wantDisconnect(name, "TRY_AGAIN_LATER", 1001)
			continue
		}
		p.wantDisconnect(name, "IDENTIFY_FAILED", 4004)
	}
	for name, c := range map[string]struct{ subject, group string }{
		"no entry for it": {"somebody", "billing"},
		"other group":     {"billing-1", "shop"},
		"no group at all": {"operator", "billing"},
		"no group name":   {"reader", "$x"},
	} {
		p := connect(t, url)
		p.send(withToken(signedToken(c.subject), c.group))
		p.wantDisconnect(name, "IDENTIFY_FAILED", 4004)
	}
	s := h.Stats()
	if s.Verifier.Verdicts[auth.NoGrant] != 2 || s.Verifier.Verdicts[auth.Expired] != 1 || s.Clients != 0 {
		t.Errorf("counted %+v, %d clients", s.Verifier, s.Clients)
	}
	eventually.True(t, "strangers to be gone", func() bool { return h.Stats().Strangers == 0 })
}

// TestOtherTokensAreNotVerified: what is no signed token, or is wrong in other ways, is refused as ever.
func TestOtherTokensAreNotVerified(t *testing.T) {
	t.Parallel()
	i := &issuer{asked: make(chan string, 100)}
	h, url := startHub(t, memory.NewBus().Broker(), verified(t, i))
	for name, data := range map[string]m{
		"wrong":       {"token": "wrong", "group": "g"},
		"empty":       {"token": "", "group": "g"},
		"missing":     {"group": "g"},
		"two parts":   {"token": "a.b", "group": "g"},
		"four parts":  {"token": "a.b.c.d", "group": "g"},
		"empty part":  {"token": "a..c", "group": "g"},
		"other text":  {"token": "a.b!.c", "group": "g"},
		"too long":    {"token": "a.b." + strings.Repeat("c", auth.MaxSignedBytes), "group": "g"},
		"no group":    {"token": signedToken("billing-1")},
		"bad group":   {"token": signedToken("billing-1"), "group": "$x"},
		"empty group": {"token": signedToken("billing-1"), "group": ""},
	} {
		p := connect(t, url)
		p.send(m{"op": 1, "data": data})
		p.wantDisconnect(name, "IDENTIFY_FAILED", 4004)
	}
	h.tokens.Replace(tokenTable(t, `- {name: a, groups: "*", sha256: `+auth.Hash("a.b.c")+`}`))
	p := connect(t, url)
	p.send(withToken("a.b.c", "g"))
	if f := p.read(); f.Op != 1 {
		t.Errorf("a known token that looks signed: %+v", f)
	}
	if len(i.asked) != 0 {
		t.Errorf("asked about %q", <-i.asked)
	}
	without, url := startHub(t, memory.NewBus().Broker(), nil)
	p = connect(t, url)
	p.send(withToken(signedToken("billing-1"), "billing"))
	p.wantDisconnect("without a verifier", "IDENTIFY_FAILED", 4004)
	if without.Stats().Verifier != nil {
		t.Error("a hub without a verifier counts what it found")
	}
}

// TestWhileTokenIsVerified has what may happen meanwhile.
func TestWhileTokenIsVerified(t *testing.T) {
	t.Parallel()
	begin := func(t *testing.T, change func(*Options)) (*Hub, *issuer, *peer) {
		i := &issuer{asked: make(chan string, 10), answer: make(chan struct{}, 10)}
		h, url := startHub(t, memory.NewBus().Broker(), func(o *Options) {
			verified(t, i)(o)
			if change != nil {
				change(o)
			}
		})
		p := connect(t, url)
		p.send(withToken(signedToken("billing-1"), "billing"))
		<-i.asked
		return h, i, p
	}
	finished := func(t *testing.T, h *Hub) {
		eventually.True(t, "the verification to end", func() bool { return h.verifications.running.Load() == 0 })
		eventually.True(t, "strangers to be gone", func() bool { return h.Stats().Strangers == 0 })
	}
	t.Run("the client leaves", func(t *testing.T) {
		t.Parallel()
		h, i, p := begin(t, nil)
		_ = p.conn.CloseNow() // which is seen when the connection is read from again
		i.answer <- struct{}{}
		finished(t, h)
		eventually.True(t, "the client to be gone", func() bool { return h.Stats().Clients == 0 })
	})
	t.Run("the tokens change", func(t *testing.T) {
		t.Parallel()
		h, i, p := begin(t, func(o *Options) { o.Transport.Loops = 1 })
		other := tokenTable(t, `- {name: a, groups: "*", claims: {sub: "*"}}`)
		release := onLoop(h.shards[0], func() {})
		i.answer <- struct{}{}
		eventually.True(t, "the verification to end", func() bool { return h.verifications.running.Load() == 0 })
		h.tokens.Replace(other)
		h.TokensChanged()
		release()
		p.wantDisconnect("its entry is gone", "TRY_AGAIN_LATER", 1001)
	})
	t.Run("the hub drains", func(t *testing.T) {
		t.Parallel()
		h, i, p := begin(t, nil)
		done := make(chan error, 1)
		go func() { done <- h.Drain(t.Context(), 0) }()
		p.wantDisconnect("draining", "SERVER_RESTART", 1001)
		if err := <-done; err != nil {
			t.Error(err)
		}
		i.answer <- struct{}{}
		finished(t, h)
	})
	t.Run("the time for IDENTIFY passes", func(t *testing.T) {
		t.Parallel()
		h, _, p := begin(t, func(o *Options) { o.IdentifyTimeout = 100 * time.Millisecond })
		p.wantDisconnectOneOf(t, "TRY_AGAIN_LATER", "IDENTIFY_TIMEOUT")
		finished(t, h)
	})
	t.Run("the hub is closed", func(t *testing.T) {
		t.Parallel()
		begin(t, nil) // its end waits for the goroutine
	})
	t.Run("a second IDENTIFY", func(t *testing.T) {
		t.Parallel()
		_, i, p := begin(t, nil)
		p.send(withToken(signedToken("reader"), "billing"))
		i.answer <- struct{}{}
		if f := p.read(); f.Op != 1 {
			t.Fatalf("got %+v", f)
		}
		p.wantDisconnect("second IDENTIFY", "ALREADY_IDENTIFIED", 4005)
	})
	t.Run("too many", func(t *testing.T) {
		t.Parallel()
		h, i, p := begin(t, nil)
		h.verifications.running.Add(maxVerifying - 1)
		if _, err := h.Authenticate(t.Context(), netip.Addr{}, signedToken("operator")); !errors.Is(err, ErrNotKnown) {
			t.Errorf("Authenticate: %v", err)
		}
		i.answer <- struct{}{}
		if f := p.read(); f.Op != 1 {
			t.Fatalf("got %+v", f)
		}
		eventually.True(t, "the verification to end", func() bool { return h.verifications.running.Load() == maxVerifying-1 })
		h.verifications.running.Add(1 - maxVerifying)
		if n := h.Stats().Verifier.Verdicts[auth.Overloaded]; n != 1 {
			t.Errorf("counted %d", n)
		}
	})
	t.Run("too many IDENTIFYs", func(t *testing.T) {
		t.Parallel()
		i := &issuer{}
		h, url := startHub(t, memory.NewBus().Broker(), verified(t, i))
		h.verifications.running.Add(maxVerifying)
		p := connect(t, url)
		p.send(withToken(signedToken("billing-1"), "billing"))
		p.wantDisconnect("too many", "TRY_AGAIN_LATER", 1001)
		identify(t, url, "g", nil) // is not verified
	})
}

// wantDisconnectOneOf is wantDisconnect for what depends on the order.
func (p *peer) wantDisconnectOneOf(t *testing.T, reasons ...any) {
	t.Helper()
	f := p.read()
	for _, r := range reasons {
		if f.Op == 2 && f.Data == r {
			return
		}
	}
	t.Errorf("got %+v, want DISCONNECT for one of %v", f, reasons)
}

func TestSignedTokenWaitsForTheSubscriptionToo(t *testing.T) {
	t.Parallel()
	slow := &slowBroker{Broker: memory.NewBus().Broker(), asked: make(chan func(error), 1)}
	_, url := startHub(t, slow, verified(t, &issuer{}))
	p := connect(t, url)
	p.send(withToken(signedToken("billing-1"), "billing"))
	p.send(event("behind", to("GROUP", "billing")))
	(<-slow.asked)(nil)
	if f := p.read(); f.Op != 1 {
		t.Fatalf("got %+v, want the answer to IDENTIFY", f)
	}
	if f := p.read(); f.ID != "behind" {
		t.Fatalf("got %+v, want the event that was sent behind IDENTIFY", f)
	}
}

// TestRulesChange: clients by rules follow what the rules give, and leave with them.
func TestRulesChange(t *testing.T) {
	t.Parallel()
	h, url := startHub(t, memory.NewBus().Broker(), verified(t, &issuer{}))
	billing, reader := connect(t, url), connect(t, url)
	for p, subject := range map[*peer]string{billing: "billing-1", reader: "reader"} {
		p.send(withToken(signedToken(subject), "billing"))
		if f := p.read(); f.Op != 1 {
			t.Fatalf("got %+v", f)
		}
	}
	h.tokens.Replace(tokenTable(t, `
- {name: before, claims: {sub: "billing-1"}, groups: "none"}
- {name: billing, claims: {sub: "billing*"}, groups: "billing"}
`))
	h.TokensChanged()
	reader.wantDisconnect("its entry is gone", "UNAUTHORIZED", 4003)
	if got := billing.pong(); len(got) != 0 {
		t.Errorf("got %+v", got)
	}
	billing.send(event("not any more", to("GROUP", "billing")))
	billing.wantDisconnect("its entry gives less", "UNAUTHORIZED", 4003)
}
