package admin

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/mastersocket/mastersocket/auth"
)

// TestReadRole looks at everything with a token that may only look, and tries every operation that changes something.
func TestReadRole(t *testing.T) {
	t.Parallel()
	const readToken = "read-token"
	c := startCluster(t, 1, nil)
	c.store.Replace(parseTokens(t, usualTokens()+fmt.Sprintf("  - {name: reader, sha256: %s, groups: [g], send: [\"*\"], admin: read}\n", auth.Hash(readToken))))
	p := c.connect(0, "g", nil)
	as := func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+readToken) }

	for _, path := range []string{"/v1/clients", "/v1/groups", "/v1/nodes", "/v1/log", "/v1/top", "/v1/clients/" + p.id, "/v1/groups/g"} {
		if r := c.do(0, "GET", path, "", as); r.status != 200 || r.header.Get("Mastersocket-Role") != "read" {
			t.Errorf("GET %s: %d, role %q", path, r.status, r.header.Get("Mastersocket-Role"))
		}
		if r := c.call(0, "GET", path, ""); r.header.Get("Mastersocket-Role") != "" {
			t.Errorf("GET %s by root: role %q", path, r.header.Get("Mastersocket-Role"))
		}
	}
	for _, op := range [][3]string{
		{"DELETE", "/v1/clients/" + p.id, ""},
		{"PUT", "/v1/clients/" + p.id + "/groups/h", ""},
		{"DELETE", "/v1/clients/" + p.id + "/groups/g", ""},
		{"POST", "/v1/events", `{"event":"e","intent":{"target":"GLOBAL"}}`},
		{"DELETE", "/v1/groups/g/history", ""},
		{"POST", "/v1/reload", ""},
		{"POST", "/v1/drain", ""},
		{"POST", "/v1/rebalance", ""},
	} {
		if r := c.do(0, op[0], op[1], op[2], as); r.status != 403 {
			t.Errorf("%s %s: %d, want 403", op[0], op[1], r.status)
		}
	}
	c.openTail(0, "group=g", readToken).cancel()
	if r := c.call(0, "GET", "/v1/clients/"+p.id, ""); r.status != 200 {
		t.Errorf("the client is gone: %d", r.status)
	}

	// A token that loses the right to change things keeps looking.
	c.store.Replace(parseTokens(t, fmt.Sprintf("tokens: [{name: root, sha256: %s, admin: read}]", auth.Hash(rootToken))))
	if r := c.call(0, "DELETE", "/v1/clients/"+p.id, ""); r.status != 403 {
		t.Errorf("kick by a token that may only look now: %d", r.status)
	}
}
