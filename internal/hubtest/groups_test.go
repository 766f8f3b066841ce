//go:build linux

package hubtest

import (
	"fmt"
	"strings"
	"testing"

	rc "github.com/mastersocket/mastersocket/internal/rawclient"
)

// TestGroupsOverTheWire changes groups over every transport, byte by byte: good requests, refused ones, and bad input.
func TestGroupsOverTheWire(t *testing.T) {
	t.Parallel()
	plain, secure := newArena(t, "--max-groups", "40"), newTLSArena(t, "--max-groups", "40")
	for name, open := range map[string]func(t *testing.T) *rc.Conn{
		"websocket": func(t *testing.T) *rc.Conn { return plain.open(t, stranger) },
		"tcp":       plain.dialTCP,
		"tls":       func(t *testing.T) *rc.Conn { return secure.open(t, stranger) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Run("answers", func(t *testing.T) { groupAnswers(t, open(t)) })
			for _, text := range badChanges() {
				c := open(t)
				if _, err := c.Identify(Token, "g", `,"features":["groups"]`); err != nil {
					t.Fatal(err)
				}
				if err := c.Send(text); err != nil {
					t.Fatal(err)
				}
				if end, err := c.End(); err != nil || end.Said != "INVALID_PAYLOAD" || len(end.Before) > 0 {
					t.Errorf("%.100s: %v, %v", text, end, err)
				}
				c.Close()
			}
		})
	}
	plain.finish(t)
	secure.finish(t)
}

// groupAnswers sends requests that are answered, and compares the answers.
func groupAnswers(t *testing.T, c *rc.Conn) {
	t.Helper()
	if _, err := c.Identify(Token, "g", `,"features":["groups"]`); err != nil {
		t.Fatal(err)
	}
	var forty []string
	for i := range 40 {
		forty = append(forty, fmt.Sprintf(`"g%d"`, i))
	}
	for _, tt := range []struct{ send, want string }{
		{`{"op":8,"id":"s1","data":{"groups":["orders","audit","orders"]}}`, `{"op":8,"id":"s1","data":{"groups":["orders","audit"]}}`},
		{`{"data":{"gr\u006fups":["\u00e4"],"x":[{}]},"id":"s\u0032","op":8}`, `{"op":8,"id":"s\u0032","data":{"groups":["ä"]}}`},
		{`{"op":8,"id":"s3","data":{}}`, `{"op":8,"id":"s3","data":{}}`},
		{`{"op":8,"id":"s4","data":{"groups":null,"watch":null,"weight":null,"meta":null}}`, `{"op":8,"id":"s4","data":{}}`},
		{`{"op":8,"id":"s5","data":{"groups":["a"],"to":7,"meta":{"k":"v"},"weight":100}}`, `{"op":8,"id":"s5","data":{"groups":["a"]}}`},
		{`{"op":9,"id":"u1","data":{"groups":["audit","nowhere"],"weight":"x","meta":1}}`, `{"op":9,"id":"u1","data":{"groups":["audit","nowhere"]}}`},
		{`{"op":9,"id":"u2","data":{"groups":[]}}`, `{"op":9,"id":"u2","data":{"groups":[]}}`},
		{`{"op":8,"id":"e1","data":{"groups":["a","$teams"]}}`, `{"op":8,"id":"e1","data":{"error":{"code":"FORBIDDEN","group":"$teams","message":"`},
		{`{"op":8,"id":"e2","data":{"groups":[""]}}`, `{"op":8,"id":"e2","data":{"error":{"code":"FORBIDDEN","message":"`},
		{`{"op":8,"id":"e3","data":{"groups":["\u0000"]}}`, `{"op":8,"id":"e3","data":{"error":{"code":"FORBIDDEN","group":"\u0000","message":"`},
		{`{"op":8,"id":"e4","data":{"groups":[` + strings.Join(forty, ",") + `]}}`, `{"op":8,"id":"e4","data":{"error":{"code":"TOO_MANY_GROUPS","group":"g36","message":"`},
		{`{"op":9,"id":"e5","data":{"groups":["orders","g"]}}`, `{"op":9,"id":"e5","data":{"error":{"code":"PRIMARY_GROUP","group":"g","message":"`},
	} {
		e := roundTrip(t, c, "", tt.send)
		if got := string(e.Raw); got != tt.want && (!strings.HasSuffix(tt.want, `"`) || !strings.HasPrefix(got, tt.want)) {
			t.Errorf("%.100s\nwas answered with %.200s\nwant              %.200s", tt.send, got, tt.want)
		}
	}
	// What is sent behind a request in the same write is handled behind it.
	if e := roundTrip(t, c, "", `{"op":8,"id":"s6","data":{"groups":["self"]}}`); string(e.ID) != "s6" {
		t.Errorf("got %v", e)
	}
	if e := roundTrip(t, c, "", `{"op":0,"id":"m","intent":{"target":"GROUP","identifier":"self"}}`); string(e.ID) != "m" {
		t.Errorf("got %v", e)
	}
	if err := c.Quiet(); err != nil {
		t.Error(err)
	}
	c.Close()
}

// badChanges are requests that end the connection.
func badChanges() []string {
	var all []string
	for _, data := range []string{
		`null`, `[]`, `"orders"`, `7`, `true`, `{"groups":"a"}`, `{"groups":{}}`, `{"groups":[1]}`, `{"groups":[null]}`, `{"groups":[["a"]]}`,
		`{"groups":["a"],"groups":["b"]}`, `{"groups":["a"],"gr\u006fups":["b"]}`, `{"x":{"a":1,"a":2}}`, `{"watch":"a"}`, `{"watch":[{}]}`,
		`{"exclusive":{"a":{}}}`, `{"exclusive":[0]}`,
	} {
		all = append(all, `{"op":8,"id":"x","data":`+data+`}`, `{"op":9,"id":"x","data":`+data+`}`)
	}
	for _, data := range []string{
		`{"meta":[]}`, `{"meta":{"k":1}}`, `{"meta":{"k":null}}`, `{"weight":101}`, `{"weight":-1}`, `{"weight":1.0}`, `{"weight":1e1}`, `{"weight":"1"}`,
	} {
		all = append(all, `{"op":8,"id":"x","data":`+data+`}`)
	}
	return append(all, `{"op":9,"id":"x","data":{"to":7}}`, `{"op":9,"id":"x","data":{"to":"orders"}}`,
		`{"op":8,"data":{"groups":["a"]}}`, `{"op":8,"id":null,"data":{"groups":["a"]}}`, `{"op":8,"id":"x"}`, `{"op":9,"id":"x"}`)
}
