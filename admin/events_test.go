package admin

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// TestEventsTakeWhatClientsMaySend sends the same members through both doors: POST /v1/events accepts exactly the messages
// that the hub accepts from a client.
func TestEventsTakeWhatClientsMaySend(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, nil)
	const to = `"intent":{"target":"GROUP","identifier":"g"}`
	for _, members := range []string{
		to, to + `,"data":1e400`, to + `,"data":-1E-400`, to + `,"data":` + strings.Repeat("9", 309), to + `,"more":[1e999,{"a":1e400}]`,
		to + `,"data":0.1e+1`, to + `,"data":01`, to + `,"data":1.`, to + `,"data":+1`, to + `,"data":.5`, to + `,"data":1e`, to + `,"data":NaN`,
		to + `,"data":null`, to + `,"data":"\ud834\udd1e"`, to + `,"data":"\ud834"`, to + ",\"data\":\"\x01\"", to + ",\"data\":\"\xc3\x28\"",
		to + `,"data":[` + strings.Repeat("[", 60) + strings.Repeat("]", 60) + `]`, to + `,"data":` + strings.Repeat("[", 200) + strings.Repeat("]", 200),
		to + `,"id":""`, to + `,"id":"` + strings.Repeat("é", 32) + `"`, to + `,"id":"` + strings.Repeat("é", 33) + `"`, to + `,"id":null`, to + `,"id":7`,
		to + `,"event":""`, to + `,"event":null`, to + `,"event":"` + strings.Repeat("é", 64) + `"`, to + `,"event":"` + strings.Repeat("é", 128) + `"`,
		to + `,"event":"` + strings.Repeat("x", 128) + `"`, to + `,"event":"` + strings.Repeat("x", 129) + `"`, to + `,"":1`, to + `,"a":1,"a":2`,
		`"intent":{"target":"GROUP","identifier":"g","more":1}`, `"intent":{"target":"GROUP","identifier":"g","identifier":"h"}`,
		`"intent":{"identifier":"g","target":"GROUP"}`, `"intent":{"target":"group","identifier":"g"}`, `"intent":{"target":"GLOBAL","identifier":"g"}`,
		`"intent":{"target":"GLOBAL","identifier":null}`, `"intent":{"target":"ANY","identifier":""}`, `"intent":{"target":"GLOBAL","identifier":""}`,
		`"intent":[]`, `"data":1`, to + `,"op":0`, to + `,"sender":"x"`, to + ` , "data" :` + "\t\r\n" + ` 1 `, to + ",\v\"data\":1", to + `,`, to + `}{`,
	} {
		p := c.connect(0, "g", nil)
		accepted := p.accepts([]byte(`{"op":0,` + members + `}`))
		r := c.do(0, "POST", "/v1/events", `{`+members+`}`, nil)
		if posted := r.status == 200; posted != accepted {
			t.Errorf("%.120q: a client may send it: %t; POST /v1/events: %d %s", members, accepted, r.status, r.body)
		}
		_ = p.conn.CloseNow()
	}
	for _, body := range []string{"\v{" + to + "}", "\u0085{" + to + "}", "\ufeff{" + to + "}", "{" + to + "}\u00a0"} {
		if r := c.do(0, "POST", "/v1/events", body, nil); r.status != 400 && r.status != 422 {
			t.Errorf("%.20q: %d", body, r.status)
		}
	}
}

// accepts sends a message to the client's own group or to all, and reports whether it comes back rather than a DISCONNECT.
func (p *peer) accepts(message []byte) bool {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := p.conn.Write(ctx, websocket.MessageText, message); err != nil {
		p.t.Fatal(err)
	}
	_, answer, err := p.conn.Read(ctx) // for invalid UTF-8 there is a close frame alone
	if ctx.Err() != nil {
		p.t.Fatalf("%.120q: no answer", message)
	}
	return err == nil && !strings.HasPrefix(string(answer), `{"op":2`)
}
