package team

import (
	"net/http"
	"testing"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/services/team/teamtest"
)

// rtmMayJoin returns the tokens of a service and of a client named rtm that may join the groups.
func rtmMayJoin(t *testing.T, groups string) *auth.Tokens {
	t.Helper()
	tokens, err := auth.ParseTokens([]byte("tokens:\n" +
		"- {name: service, sha256: " + auth.Hash(token) + ", groups: ['*'], send: ['*']}\n" +
		"- {name: rtm, sha256: " + auth.Hash("rtm") + ", groups: " + groups + "}\n"))
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

// The rights of a token are checked when a ticket is redeemed, not only by the sweep over open connections.
func TestATicketIsWorthWhatItsTokenIs(t *testing.T) {
	t.Parallel()
	i := start(t, settings{tokens: rtmMayJoin(t, "[teams]")})
	i.service().join("a")
	i.knows("a")
	g := teamtest.Global(t, i.base, "rtm")
	for _, tokens := range []*auth.Tokens{rtmMayJoin(t, "[others]"), auth.SharedToken(token)} {
		ticket := g.Ask(`"a"`)
		i.tokens.Replace(tokens)
		if r := teamtest.Refused(t, ticket, nil); r.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s, want 401", r.Status)
		}
	}
}

// A token's connections end when it may no longer join the group of teams.
func TestRightsThatAreTakenAway(t *testing.T) {
	t.Parallel()
	i := start(t, settings{tokens: rtmMayJoin(t, "[teams]")})
	i.service().join("a")
	i.knows("a")
	g := teamtest.Global(t, i.base, "rtm")
	c := g.Team(`"a"`)
	i.tokens.Replace(rtmMayJoin(t, "[teams, others]"))
	i.hub.TokensChanged()
	c.Quiet()
	g.Quiet()
	i.tokens.Replace(rtmMayJoin(t, "[others]"))
	i.hub.TokensChanged()
	for _, conn := range []*teamtest.Conn{g, c} {
		if last, code, reason := conn.Ended(); code != 4003 || reason != "UNAUTHORIZED" {
			t.Errorf("%s, %d %s", last, code, reason)
		}
	}
}
