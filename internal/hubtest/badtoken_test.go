//go:build linux

package hubtest

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	rc "github.com/mastersocket/mastersocket/internal/rawclient"
)

// limitedToken may join and send only to the groups billing.*.
const limitedToken = "a-token-that-may-do-little"

// startLimited runs a hub with Token, which has all rights, and limitedToken.
func startLimited(t *testing.T) *Server {
	t.Helper()
	file := filepath.Join(t.TempDir(), "tokens.yaml")
	text := fmt.Sprintf("tokens:\n"+
		"  - {name: all, sha256: %x, groups: ['*'], send: ['*']}\n"+
		"  - {name: limited, sha256: %x, groups: ['billing.*'], send: ['GROUP:billing.*']}\n",
		sha256.Sum256([]byte(Token)), sha256.Sum256([]byte(limitedToken)))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Start(t, Options{Token: "none", Flags: []string{"--tokens-file", file}})
}

// TestForbidden tries what the token does not allow, with and without the feature errors.
func TestForbidden(t *testing.T) {
	t.Parallel()
	s := startLimited(t)
	bystander := dialRaw(t, s.HubAddr)
	if err := bystander.Upgrade("/"); err != nil {
		t.Fatal(err)
	}
	id, err := bystander.Identify(Token, "g", `,"groups":["billing","billing.a","billing.b"]`)
	if err != nil {
		t.Fatal(err)
	}
	connect := func(t *testing.T, more string) *rc.Conn {
		c := dialRaw(t, s.HubAddr)
		if err := c.Upgrade("/"); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Identify(limitedToken, "billing.a", more); err != nil {
			t.Fatal(err)
		}
		return c
	}
	for _, data := range []string{`"group":"g"`, `"group":"billing"`, `"group":"Billing.a"`, `"group":"billing.a","groups":["g"]`, `"group":"*"`} {
		c := dialRaw(t, s.HubAddr)
		if err := c.Upgrade("/"); err != nil {
			t.Fatal(err)
		}
		send(t, c, rc.Text(`{"op":1,"data":{"token":"`+limitedToken+`",`+data+`}}`).Bytes())
		expectEnd(t, c, identifyFailed)
	}
	for _, intent := range []string{
		`{"target":"GLOBAL"}`, `{"target":"GROUP","identifier":"g"}`, `{"target":"GROUP","identifier":"billing"}`, `{"target":"ANY"}`,
		`{"target":"ANY","identifier":"billing.b"}`, `{"target":"DIRECT","identifier":"` + id + `"}`,
	} {
		text := `{"op":0,"id":"q","event":"x","intent":` + intent + `}`
		c := connect(t, "")
		send(t, c, rc.Frames(rc.Text(text), rc.Text(`{"op":0,"event":"x","intent":{"target":"GROUP","identifier":"billing.b"}}`)))
		expectEnd(t, c, unauthorized)

		c = connect(t, `,"features":["errors"]`)
		e := roundTrip(t, c, "", text)
		if !e.Is(rc.OpError) || e.ID != "q" || !strings.Contains(string(e.Data), `"code":"FORBIDDEN"`) {
			t.Errorf("%s: got %v, want ERROR FORBIDDEN", intent, e)
		}
		if err := c.Quiet(); err != nil {
			t.Errorf("%s: %v", intent, err)
		}
		c.Close()
	}
	if err := bystander.Quiet(); err != nil {
		t.Errorf("the bystander: %v", err)
	}
	c := connect(t, "")
	send(t, c, rc.Text(`{"op":0,"event":"x","intent":{"target":"GROUP","identifier":"billing.b"}}`).Bytes())
	if e, err := bystander.Receive(); err != nil || !e.Is(rc.OpEvent) {
		t.Errorf("what the token may send: %v, %v", e, err)
	}
}

// TestIdentifySameTime expects IDENTIFY to fail in the same time for every cause, as far as a client can measure.
func TestIdentifySameTime(t *testing.T) {
	s := startLimited(t)
	failing := map[string]string{
		"wrong token": `{"token":"attacker","group":"g"}`, "empty token": `{"token":"","group":"g"}`, "no token": `{"group":"g"}`,
		"no group name": `{"token":"` + Token + `","group":"$x"}`, "no group": `{"token":"` + Token + `"}`,
		"group that it may not join": `{"token":"` + limitedToken + `","group":"g"}`,
	}
	best := make(map[string]time.Duration)
	for range 40 {
		for name, data := range failing {
			// The minimum of many is free of the scheduler's noise.
			if took := timeIdentify(t, s, data); best[name] == 0 || took < best[name] {
				best[name] = took
			}
		}
	}
	shortest, longest := time.Hour, time.Duration(0)
	for _, d := range best {
		shortest, longest = min(shortest, d), max(longest, d)
	}
	t.Logf("%v", best)
	if longest-shortest > 2*time.Millisecond {
		t.Errorf("the answers take between %v and %v", shortest, longest)
	}
}

// timeIdentify returns how long the answer to an IDENTIFY that fails takes.
func timeIdentify(t *testing.T, s *Server, data string) time.Duration {
	t.Helper()
	c := dialRaw(t, s.HubAddr)
	defer c.Close()
	if err := c.Upgrade("/"); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if err := c.Send(`{"op":1,"data":` + data + `}`); err != nil {
		t.Fatal(err)
	}
	if e, err := c.Receive(); err != nil || !e.Is(rc.OpDisconnect) {
		t.Fatalf("%s: %v, %v", data, e, err)
	}
	return time.Since(begin)
}
