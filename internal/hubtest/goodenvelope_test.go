//go:build linux

package hubtest

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	rc "github.com/mastersocket/mastersocket/internal/rawclient"
)

// TestGoodEnvelopes sends unusual valid messages to the sender itself: they arrive byte for byte, over both transports.
func TestGoodEnvelopes(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	for name, open := range map[string]func() *rc.Conn{
		"websocket": func() *rc.Conn { return a.open(t, stranger) },
		"tcp":       func() *rc.Conn { return a.dialTCP(t) },
	} {
		t.Run(name, func(t *testing.T) {
			c := open()
			id, err := c.Identify(Token, "g", "")
			if err != nil {
				t.Fatal(err)
			}
			for _, data := range goodData() {
				goodData1(t, c, id, data)
			}
			goodFields(t, c, id)
			goodGroups(t, c)
			c.Close()
		})
	}
	a.finish(t)
}

func goodData() []string {
	return []string{
		`null`, `true`, `false`, `0`, `-0`, `1.0`, `1e999`, `-1E-400`, `123456789012345678901234567890`, `0.1000`, `""`, `"a"`, `[]`, `{}`, `[ ]`, `{ }`,
		`{"a":1,"a":2}`, `{"a":{"b":1,"b":1}}`, `{ "a" : [ 1 , 2 ] }`, "[\n\t1,\r\n 2 ]", `"\u0000\u001f\u007f"`, "\"\x7f\"", `"\/\b\f\n\r\t\"\\"`, `"\u00e4ä\ud83d\ude00😀"`, `"\uD83D\uDE00"`,
		"\"\u2028\u2029\ufeff\ufffd\uffff\"", `"<script>&amp;"`, `{"op":1,"sender":"x","intent":{"target":"GLOBAL"}}`, `{"__proto__":1}`,
		nested(maxDepth-1, "arrays"), nested(maxDepth-1, "objects"), nested(maxDepth-1, "both"), `"` + strings.Repeat("x", 30000) + `"`, `[` + strings.Repeat("1,", 10000) + `1]`,
	}
}

// direct is an EVENT to the client with that id, with more members.
func direct(id, more string) string {
	return fmt.Sprintf(`{"op":0,%s,"intent":{"target":"DIRECT","identifier":%q}}`, more, id)
}

// roundTrip sends text and returns the message that comes back.
func roundTrip(t *testing.T, c *rc.Conn, id, text string) rc.Envelope {
	t.Helper()
	if err := c.Send(text); err != nil {
		t.Fatal(err)
	}
	e, err := c.Receive()
	if err != nil {
		t.Fatalf("%.200q: %v", text, err)
	}
	if id != "" && e.Sender != id {
		t.Errorf("%.200q: the sender is %q, want %q", text, e.Sender, id)
	}
	return e
}

func goodData1(t *testing.T, c *rc.Conn, id, data string) {
	t.Helper()
	// The value's name comes last, first and escaped.
	for _, text := range []string{
		direct(id, `"data":`+data),
		fmt.Sprintf(`{"intent":{"identifier":%q,"target":"DIRECT"},"op":0,"data": %s }`, id, data),
		fmt.Sprintf(`{"d\u0061ta":%s,"\u006fp":0,"intent":{"t\u0061rget":"DIRECT","identifier":%q}}`, data, id),
	} {
		if e := roundTrip(t, c, id, text); string(e.Data) != data || e.ID == "" || !e.Is(rc.OpEvent) {
			t.Errorf("sent data %.200q, got %v", data, e)
		}
	}
}

// goodFields sends fields at their limits, unknown fields, and null where it is allowed.
func goodFields(t *testing.T, c *rc.Conn, id string) {
	t.Helper()
	for _, s := range []string{"a", strings.Repeat("i", 64), strings.Repeat("ä", 32), `with "quotes" \ and / more`} {
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if e := roundTrip(t, c, id, direct(id, `"id":`+string(b))); e.ID != s {
			t.Errorf("sent id %q, got %v", s, e)
		}
	}
	for _, s := range []string{"", "a", strings.Repeat("e", 128), strings.Repeat("ä", 64), "$reserved", "\x7f"} {
		if e := roundTrip(t, c, id, direct(id, `"event":"`+s+`"`)); e.Event != s {
			t.Errorf("sent event %q, got %v", s, e)
		}
	}
	first := roundTrip(t, c, id, direct(id, `"data":1`))
	if again := roundTrip(t, c, id, direct(id, `"id":null`)); first.ID == "" || again.ID == "" || first.ID == again.ID || len(first.ID) != 36 {
		t.Errorf("the hub's ids are %q and %q, want two UUIDs", first.ID, again.ID)
	}
	const unknown = `"x":{"a":1,"a":[ 1.0 ]},"ID ":3,"trace\u0070arent":"\u0041"`
	if e := roundTrip(t, c, id, direct(id, `"data":1,`+unknown)); !strings.Contains(string(e.Raw), unknown) {
		t.Errorf("unknown fields %s are not forwarded as they were sent: %v", unknown, e)
	}
	reply := strings.Replace(direct(id, `"id":"q"`), `"op":0`, `"op":5`, 1)
	if e := roundTrip(t, c, id, reply); !e.Is(rc.OpReply) || e.ID != "q" {
		t.Errorf("sent a REPLY, got %v", e)
	}
	upper := strings.Replace(direct(id, `"data":1`), id, strings.ToUpper(id), 1)
	if e := roundTrip(t, c, id, upper); !e.Is(rc.OpEvent) {
		t.Errorf("sent to the id in capitals, got %v", e)
	}
	for _, text := range []string{`{"op":3}`, ` {"op":3} `, "\t\r\n{ \"op\" : 3 }\n", `{"op":3,"id":"x","event":"y","data":{},"intent":null,"z":[]}`} {
		if e := roundTrip(t, c, "", text); !e.Is(rc.OpPONG) {
			t.Errorf("%q: got %v", text, e)
		}
	}
}

// goodGroups joins groups with unusual names, and sends to each.
func goodGroups(t *testing.T, c *rc.Conn) {
	t.Helper()
	if err := c.Send(`{"op":4}`); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		`{"op":0,"event":"x","intent":{"target":"GROUP","identifier":"no-members"}}`,
		`{"op":0,"event":"x","intent":{"target":"ANY","identifier":"` + strings.Repeat("g", 128) + `"}}`,
		`{"op":0,"event":"x","intent":{"target":"GROUP","identifier":"g$ü 😀"}}`,
		`{"op":0,"event":"x","intent":{"target":"DIRECT","identifier":"6f0c1b1e-53a4-8b7d-9c2e-0123456789ab"}}`,
	} {
		if err := c.Send(text); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Quiet(); err != nil {
		t.Error(err)
	}
}
