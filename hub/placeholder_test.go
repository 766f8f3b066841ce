package hub

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/internal/ratelog"
)

// lockedLog is what a hub logs.
type lockedLog struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedLog) lines(of string) (found []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.b.String()) {
		if strings.Contains(line, of) {
			found = append(found, line)
		}
	}
	return found
}

// TestUsersOwnGroup: with one entry of the tokens file for all users, each hears the group of its own name and no other.
func TestUsersOwnGroup(t *testing.T) {
	t.Parallel()
	h, url := startHub(t, memory.NewBus().Broker(), func(o *Options) {
		o.Tokens, o.Verifier = auth.NewStore(tokenTable(t, `
- {name: backend, sha256: `+auth.Hash(testToken)+`, groups: "*", send: "*"}
- {name: user, claims: {sub: "*"}, groups: ["user.{claim:sub}"], send: ["GROUP:to.{claim:sub}"], watch: "user.{claim:sub}", hold: "lock.{claim:sub}"}
`)), &issuer{}
	})
	backend := identify(t, url, "to.42", nil)
	alice, bob := connect(t, url), connect(t, url)
	features := []string{"groups", "presence", "exclusive", "errors"}
	for p, sub := range map[*peer]string{alice: "42", bob: "43"} {
		p.send(m{"op": 1, "data": m{"token": signedToken(sub), "group": "user." + sub, "features": features}})
		if f := p.read(); f.Op != 1 {
			t.Fatalf("user %s: %+v", sub, f)
		}
	}
	// Messages of one sender arrive in order, so what should not have come would have come before.
	for _, to43 := range []string{"first", "second"} {
		backend.send(event(to43, to("GROUP", "user.43")))
		backend.send(event("nobody's", to("GROUP", "user.*")))
		backend.send(event("for 42", to("GROUP", "user.42")))
		if f := alice.read(); f.ID != "for 42" {
			t.Errorf("user 42 got %+v", f)
		}
		if f := bob.read(); f.ID != to43 {
			t.Errorf("user 43 got %+v", f)
		}
	}
	for what, c := range map[string]struct{ others, own m }{
		"join":  {m{"groups": []string{"user.43"}}, m{"groups": []string{"user.42"}}},
		"watch": {m{"watch": []string{"user.43"}}, m{"watch": []string{"user.42"}}},
		"hold":  {m{"exclusive": []string{"lock.43"}}, m{"exclusive": []string{"lock.42"}}},
	} {
		if answer, _ := alice.change(8, what, c.others); !strings.HasPrefix(refusalOf(answer), "FORBIDDEN") {
			t.Errorf("%s another user's: %v", what, answer)
		}
		if answer, _ := alice.change(8, what, c.own); answer["error"] != nil {
			t.Errorf("%s the user's own: %v", what, answer)
		}
	}
	alice.send(event("as 43", to("GROUP", "to.43")))
	for f := alice.read(); f.ID != "as 43"; f = alice.read() {
		if f.Op != 10 && f.Op != 8 {
			t.Errorf("user 42 got %+v", f)
		}
	}
	alice.send(event("as 42", to("GROUP", "to.42")))
	if f := backend.read(); f.ID != "as 42" {
		t.Errorf("the backend got %+v", f)
	}

	// New rights of the entry apply with the value that the client came with.
	h.tokens.Replace(tokenTable(t, `
- {name: backend, sha256: `+auth.Hash(testToken)+`, groups: "*", send: "*"}
- {name: user, claims: {sub: "*"}, groups: ["user.{claim:sub}", "more.{claim:sub}"], watch: "*", hold: "*"}
`))
	h.TokensChanged()
	bob.change(8, "more", m{"groups": []string{"more.43"}})
	if answer, _ := bob.change(8, "other", m{"groups": []string{"more.42"}}); answer["error"] == nil {
		t.Errorf("joined another user's group after a reload: %v", answer)
	}
}

// TestUnusableClaim: a holder whose claim is no plain part of a name gets none of the rights with it, and the log says why.
func TestUnusableClaim(t *testing.T) {
	t.Parallel()
	log := &lockedLog{}
	_, url := startHub(t, memory.NewBus().Broker(), func(o *Options) {
		o.Tokens, o.Verifier = auth.NewStore(tokenTable(t, `
- {name: user, claims: {sub: "*"}, groups: ["user.{claim:sub}", "lobby"]}
`)), &issuer{}
		o.Transport.Log = ratelog.New(slog.New(slog.NewTextHandler(log, nil)))
	})
	for _, sub := range []string{"*", "4*", "a.b", "42.x", "a\x00", strings.Repeat("x", 65)} {
		for _, group := range []string{"user." + sub, "user.42", "user.", "user.*"} {
			p := connect(t, url)
			p.send(withToken(signedToken(sub), group))
			p.wantDisconnect(sub+" to "+group, "IDENTIFY_FAILED", 4004)
		}
	}
	p := connect(t, url)
	p.send(withToken(signedToken("a.b"), "lobby"))
	if f := p.read(); f.Op != 1 {
		t.Errorf("a group without a placeholder: %+v", f)
	}
	lines := log.lines("placeholder of the tokens file not filled")
	if len(lines) < 3 || len(lines) > 24 {
		t.Errorf("%d lines for three causes", len(lines))
	}
	for _, cause := range []auth.Cause{auth.CauseSpecial, auth.CauseControl, auth.CauseTooLong} {
		if found := log.lines(`cause="` + string(cause) + `"`); len(found) == 0 || !strings.Contains(found[0], "token=user placeholder={claim:sub}") {
			t.Errorf("cause %q: %q", cause, found)
		}
	}
}
