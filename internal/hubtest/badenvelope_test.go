//go:build linux

package hubtest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	rc "github.com/mastersocket/mastersocket/internal/rawclient"
)

// envelopes sends invalid messages in both states. A valid event follows each in the same segment and must not be
// handled.
func (a *arena) envelopes(t *testing.T) {
	for _, c := range badEnvelopes() {
		for _, s := range states {
			t.Run(fmt.Sprintf("%s, %s", c.name, s), func(t *testing.T) {
				t.Parallel()
				conn := a.open(t, s)
				send(t, conn, rc.Frames(rc.Text(c.text), rc.Text(everywhere)))
				expectEnd(t, conn, c.want)
			})
		}
	}
	for _, text := range []string{everywhere, strings.Replace(everywhere, `"op":0`, `"op":5,"id":"x"`, 1)} {
		t.Run("before IDENTIFY", func(t *testing.T) {
			c := a.open(t, stranger)
			send(t, c, rc.Frames(rc.Text(text), rc.Text(everywhere)))
			expectEnd(t, c, unauthorized)
		})
	}
}

// envelopeCase is an invalid message.
type envelopeCase struct {
	name, text string
	want       verdict
}

func badEnvelopes() []envelopeCase {
	return slices.Concat(badJSON(), badOps(), badNames(), badStrings(), badDepths(), badFields(), badIntents())
}

// all returns a case with the verdict for each text.
func all(kind string, want verdict, texts ...string) []envelopeCase {
	var cases []envelopeCase
	for _, text := range texts {
		cases = append(cases, envelopeCase{fmt.Sprintf("%s %.60q", kind, text), text, want})
	}
	return cases
}

func badJSON() []envelopeCase {
	return all("not one JSON object", invalidPayload,
		`[]`, `1`, `"x"`, `null`, `true`, ` `, `{`, `}`, `{"op":3`, `{"op":3}}`, `{"op":3}{"op":3}`, `{"op":3} x`, `{"op":3},`, `[{"op":3}]`,
		`{op:3}`, `{'op':3}`, `{"op":3,}`, `{,"op":3}`, `{"op" 3}`, `{"op":3 "id":"x"}`, `{"op":3,"id"}`, `{"op":3,"id":}`, `{"op":3,1:2}`,
		`{"op":3,"x":[1,]}`, `{"op":3,"x":[1 2]}`, `{"op":3,"x":[}`, `{"op":3,"x":{]}`, `{"op":3,"x":{"a"}}`, `{"op":3,"x":tru}`, `{"op":3,"x":True}`,
		`{"op":3,"x":undefined}`, `{"op":3,"x":NaN}`, `{"op":3,"x":Infinity}`, `{"op":3,"x":-Infinity}`, `{"op":3,"x":01}`, `{"op":3,"x":-}`,
		`{"op":3,"x":+1}`, `{"op":3,"x":.5}`, `{"op":3,"x":1.}`, `{"op":3,"x":1e}`, `{"op":3,"x":1e+}`, `{"op":3,"x":0x10}`, `{"op":3,"x":1_000}`, `{"op":3,"x":'y'}`,
		`/*c*/{"op":3}`, `{"op":3}//c`, `#c`, "\ufeff"+`{"op":3}`, "\v"+`{"op":3}`, "\u00a0"+`{"op":3}`, "\u2028"+`{"op":3}`, `{"op":3}`+"\x00", "\x00"+`{"op":3}`, `{"op":3,`+"\f"+`"x":1}`)
}

func badOps() []envelopeCase {
	cases := all("op", invalidPayload, `{}`, `{"data":1}`, `{"op":null}`, `{"op":"3"}`, `{"op":3.5}`, `{"op":-0.5}`, `{"op":true}`, `{"op":[]}`, `{"op":[3]}`,
		`{"op":{}}`, `{"OP":3}`, `{"Op":3}`, `{"op ":3}`, `{"":3}`, `{"op":03}`, `{"op":+3}`, `{"op":.3}`, `{"op":3.}`, `{"op":-}`, `{"data":{"op":3}}`)
	cases = append(cases, all("op", unknownOp, `{"op":-1}`, `{"op":16}`, `{"op":255}`, `{"op":256}`, `{"op":259}`, `{"op":65539}`, `{"op":4294967299}`,
		`{"op":18446744073709551619}`, `{"op":99999999999999999999999999999999}`, `{"op":-99999999999999999999999999999999}`)...)
	for op := 6; op < 16; op++ {
		if op == 13 { // FENCE
			continue
		}
		cases = append(cases, all("op", unknownOp, fmt.Sprintf(`{"op":%d}`, op), fmt.Sprintf(`{"op":%d,"id":"x","data":{},"intent":{"target":"GLOBAL"}}`, op))...)
	}
	return append(cases, all("FENCE", invalidPayload,
		`{"op":13}`, `{"op":13,"intent":{"target":"GLOBAL"}}`, `{"op":13,"intent":{"target":"DIRECT","identifier":"x"}}`,
		fenceWith(`,"data":1`), fenceWith(`,"event":"E"`), fenceWith(`,"x":1`), fenceWith(`,"sender":"`+unknownID+`"`))...)
}

// unknownID is the id of no client.
const unknownID = "0198c0de-0000-8000-8000-000000000000"

// fenceWith is a FENCE with one more member.
func fenceWith(more string) string {
	return `{"op":13,"intent":{"target":"DIRECT","identifier":"` + unknownID + `"}` + more + `}`
}

// event is a valid EVENT with one more member.
func event(more string) string { return `{"op":0,"intent":{"target":"GLOBAL"},` + more + `}` }

// intent is an EVENT with that intent.
func intentOf(value string) string { return `{"op":0,"event":"attacker","intent":` + value + `}` }

func badNames() []envelopeCase {
	return all("duplicate names", invalidPayload,
		`{"op":3,"op":3}`, `{"op":3,"op":4}`, `{"op":3,"\u006fp":3}`, `{"\u006f\u0070":3,"op":3}`, `{"op":3,"\u006Fp":3}`,
		event(`"id":"a","id":"a"`), event(`"event":"a","event":"b"`), event(`"data":1,"data":1`), event(`"data":1,"d\u0061ta":1`), event(`"intent":{"target":"GLOBAL"}`),
		event(`"x":1,"x":2`), event(`"x":1,"\u0078":2`), event(`"ä":1,"\u00e4":2`), event(`"😀":1,"\ud83d\ude00":2`), event(`"\/":1,"/":2`), event(`"":1,"":2`),
		event(`"a\"":1,"a\u0022":2`), `{"op":3,"x":1,"y":2,"z":3,"x":4}`,
		intentOf(`{"target":"GLOBAL","target":"GLOBAL"}`), intentOf(`{"target":"GLOBAL","t\u0061rget":"GROUP","identifier":"g"}`),
		intentOf(`{"target":"GROUP","identifier":"g","identifier":"g"}`), intentOf(`{"target":"GLOBAL","x":1,"x":1}`), intentOf(`{"target":"GLOBAL","x":1,"\u0078":1}`))
}

func badStrings() []envelopeCase {
	var cases []envelopeCase
	for name, s := range map[string]string{
		"lone high surrogate": `\ud800`, "lone low surrogate": `\udc00`, "two high surrogates": `\ud800\ud800`, "surrogates turned": `\udc00\ud800`,
		"high surrogate and text": `\ud83dx`, "high surrogate and escape": `\ud83d\n`, "high surrogate and a character": `\ud83d\u0041`, "high surrogate in capitals": `\uD800`,
		"newline": "\n", "tab": "\t", "NUL": "\x00", "control 1": "\x01", "control 1F": "\x1f", "escape": "\x1b[31m",
		"escape x": `\x41`, "escape of nothing": `\`, "escape of a": `\a`, "escape u without digits": `\u`, "escape u with three": `\u123`, "escape u with g": `\u12g4`,
		"escape U": `\U0041`, "escape 0": `\0`, "escape quote": `\'`, "signed escape": `\u+041`,
	} {
		for place, text := range map[string]string{
			"event": event(`"event":"` + s + `"`), "id": event(`"id":"a` + s + `"`), "data": event(`"data":"` + s + `"`), "deep data": event(`"data":{"a":["` + s + `"]}`),
			"name in data": event(`"data":{"` + s + `":1}`), "unknown field": event(`"x":"` + s + `"`), "name": event(`"` + s + `":1`), "PING": `{"op":3,"x":"` + s + `"}`,
		} {
			cases = append(cases, envelopeCase{name + " in " + place, text, invalidPayload})
		}
	}
	return append(cases, all("unfinished string", invalidPayload, `{"op":3,"x":"`, `{"op":3,"x":"a\"}`, `{"op`, `{"op":3,"x":"\`, `{"op":3,"x":"\ud83d`)...)
}

// nested returns a value that is n deep: arrays, objects, or both by turns.
func nested(n int, kind string) string {
	var b, tail strings.Builder
	for i := range n {
		if kind == "arrays" || kind == "both" && i%2 == 0 {
			b.WriteByte('[')
		} else {
			b.WriteString(`{"a":`)
		}
	}
	b.WriteByte('1')
	for i := n - 1; i >= 0; i-- {
		if kind == "arrays" || kind == "both" && i%2 == 0 {
			tail.WriteByte(']')
		} else {
			tail.WriteByte('}')
		}
	}
	return b.String() + tail.String()
}

// maxDepth is how deep a message may nest, itself included.
const maxDepth = 64

func badDepths() []envelopeCase {
	var cases []envelopeCase
	for _, kind := range []string{"arrays", "objects", "both"} {
		for _, n := range []int{maxDepth, maxDepth + 1, 4000} {
			for _, name := range []string{"data", "x"} {
				cases = append(cases, envelopeCase{fmt.Sprintf("%d %s in %s", n, kind, name), event(`"` + name + `":` + nested(n, kind)), invalidPayload})
			}
		}
		cases = append(cases, envelopeCase{fmt.Sprintf("%d %s in intent", maxDepth, kind), intentOf(`{"target":"GLOBAL","x":` + nested(maxDepth-1, kind) + `}`), invalidPayload})
	}
	return append(cases, all("unfinished nesting", invalidPayload, strings.Repeat("[", 30000), strings.Repeat(`{"op":`, 5000), `{"op":3,"x":`+strings.Repeat("[", 30000))...)
}

func badFields() []envelopeCase {
	long := func(n int) string { return strings.Repeat("a", n) }
	cases := all("field", invalidPayload,
		event(`"id":1`), event(`"id":true`), event(`"id":[]`), event(`"id":{}`), event(`"id":""`), event(`"id":"`+long(65)+`"`), event(`"id":"`+strings.Repeat("ä", 33)+`"`),
		event(`"event":1`), event(`"event":false`), event(`"event":["a"]`), event(`"event":{}`), event(`"event":"`+long(129)+`"`), event(`"event":"`+strings.Repeat("ä", 65)+`"`),
		event(`"sender":"attacker"`), event(`"sender":"6f0c1b1e-53a4-8b7d-9c2e-0123456789ab"`), event(`"sender":""`), event(`"sender":1`), event(`"sender":{}`),
		event(`"s\u0065nder":"attacker"`), `{"op":3,"sender":"attacker"}`, `{"op":4,"sender":"attacker"}`, `{"op":2,"sender":"attacker"}`,
		`{"op":5,"id":"x","intent":{"target":"GLOBAL"},"sender":"attacker"}`,
		`{"op":5,"intent":{"target":"GLOBAL"}}`, `{"op":5,"id":null,"intent":{"target":"GLOBAL"}}`, `{"op":5,"id":"","intent":{"target":"GLOBAL"}}`,
		`{"op":5,"id":"x"}`, `{"op":5,"id":"x","intent":null}`, `{"op":0}`, `{"op":0,"event":"a"}`, `{"op":0,"intent":null}`)
	for _, op := range []int{2, 3, 4} { // the types hold for every op
		cases = append(cases, all("field", invalidPayload, fmt.Sprintf(`{"op":%d,"id":1}`, op), fmt.Sprintf(`{"op":%d,"event":1}`, op), fmt.Sprintf(`{"op":%d,"intent":1}`, op))...)
	}
	return cases
}

func badIntents() []envelopeCase {
	group := func(json string) string { return intentOf(`{"target":"GROUP","identifier":` + json + `}`) }
	cases := all("intent", invalidPayload,
		intentOf(`"GLOBAL"`), intentOf(`1`), intentOf(`[]`), intentOf(`true`), intentOf(`["GLOBAL"]`), intentOf(`{}`), intentOf(`{"identifier":"g"}`),
		intentOf(`{"target":null}`), intentOf(`{"target":1}`), intentOf(`{"target":""}`), intentOf(`{"target":"global"}`), intentOf(`{"target":"Global"}`),
		intentOf(`{"target":"GLOBAL "}`), intentOf(`{"target":"NONE"}`), intentOf(`{"target":"ALL"}`), intentOf(`{"target":["GLOBAL"]}`), intentOf(`{"Target":"GLOBAL"}`),
		intentOf(`{"target":"GLOBAL","identifier":"g"}`), intentOf(`{"target":"GLOBAL","identifier":1}`),
		intentOf(`{"target":"GROUP"}`), group(`null`), group(`1`), group(`[]`), group(`["g"]`), group(`""`), group(`"$"`), group(`"$reserved"`), group(`"\u0024x"`),
		group(`"`+strings.Repeat("g", 129)+`"`), group(`"`+strings.Repeat("ä", 65)+`"`), group(`"\u0000"`), group(`"a\nb"`), group(`"\u001b"`), group(`"\u007f"`), group(`"\u0085"`),
		intentOf(`{"target":"ANY","identifier":""}`), intentOf(`{"target":"ANY","identifier":"$x"}`), intentOf(`{"target":"ANY","identifier":1}`), intentOf(`{"target":"ANY","identifier":"a\tb"}`),
		intentOf(`{"target":"DIRECT"}`), intentOf(`{"target":"DIRECT","identifier":null}`), intentOf(`{"target":"DIRECT","identifier":""}`), intentOf(`{"target":"DIRECT","identifier":"g"}`),
		intentOf(`{"target":"DIRECT","identifier":1}`), intentOf(`{"target":"DIRECT","identifier":"6f0c1b1e-53a4-8b7d-9c2e-0123456789a"}`),
		intentOf(`{"target":"DIRECT","identifier":"6f0c1b1e-53a4-8b7d-9c2e-0123456789abc"}`), intentOf(`{"target":"DIRECT","identifier":"6f0c1b1e-53a4-8b7d-9c2e-0123456789ag"}`),
		intentOf(`{"target":"DIRECT","identifier":"6f0c1b1e+53a4+8b7d+9c2e+0123456789ab"}`))
	return cases
}

// identifies sends IDENTIFY messages that must fail.
func (a *arena) identifies(t *testing.T) {
	data := func(d string) string { return `{"op":1,"data":` + d + `}` }
	right := `"token":"` + Token + `"`
	long := strings.Repeat("g", 129)
	failed := all("IDENTIFY", identifyFailed,
		data(`{"token":"attacker","group":"g"}`), data(`{"token":"","group":"g"}`), data(`{"group":"g"}`), data(`{"token":"`+Token+`x","group":"g"}`),
		data(`{"token":"`+Token[1:]+`","group":"g"}`), data(`{"token":"`+strings.ToUpper(Token)+`","group":"g"}`), data(`{"token":"`+strings.Repeat("a", 20000)+`","group":"g"}`),
		data(`{`+right+`}`), data(`{`+right+`,"group":""}`), data(`{`+right+`,"group":"$x"}`), data(`{`+right+`,"group":"`+long+`"}`), data(`{`+right+`,"group":"a\u0000"}`),
		data(`{`+right+`,"group":"g","groups":["$x"]}`), data(`{`+right+`,"group":"g","groups":[""]}`), data(`{}`))
	for _, c := range failed {
		t.Run(c.name, func(t *testing.T) {
			conn := a.open(t, stranger)
			send(t, conn, rc.Frames(rc.Text(c.text), rc.Text(everywhere)))
			expectEnd(t, conn, c.want)
			conn = a.open(t, identified)
			send(t, conn, rc.Frames(rc.Text(c.text), rc.Text(everywhere)))
			expectEnd(t, conn, identifiedYet)
		})
	}
	many := `"g0"`
	for i := 1; i < 33; i++ {
		many += fmt.Sprintf(`,"g%d"`, i)
	}
	// The protocol leaves open whether these are an invalid payload or a failed IDENTIFY.
	for _, c := range all("IDENTIFY", invalidPayload,
		`{"op":1}`, data(`null`), data(`1`), data(`"attacker"`), data(`[]`), data(`{"token":1,"group":"g"}`), data(`{"token":null,"group":"g"}`), data(`{`+right+`,"group":1}`),
		data(`{`+right+`,"group":["g"]}`), data(`{`+right+`,"group":"g","groups":"h"}`), data(`{`+right+`,"group":"g","groups":[1]}`), data(`{`+right+`,"group":"g","groups":[`+many+`]}`),
		data(`{`+right+`,`+right+`,"group":"g"}`), data(`{`+right+`,"group":"g","group":"h"}`), data(`{`+right+`,"group":"g","echo":1}`), data(`{`+right+`,"group":"g","features":"acks"}`),
		data(`{`+right+`,"group":"g","meta":[]}`), data(`{`+right+`,"group":"g","meta":{"a":1}}`), data(`{`+right+`,"group":"g","name":1}`)) {
		t.Run(c.name, func(t *testing.T) {
			conn := a.open(t, stranger)
			send(t, conn, rc.Frames(rc.Text(c.text), rc.Text(everywhere)))
			end, err := conn.End()
			got := verdict{end.Code, end.Said}
			if err != nil || len(end.Before) > 0 || got != invalidPayload && got != identifyFailed {
				t.Errorf("got %v, %v", end, err)
			}
		})
	}
	t.Run("again", func(t *testing.T) {
		c := a.open(t, identified)
		send(t, c, rc.Frames(rc.Text(data(`{`+right+`,"group":"g"}`)), rc.Text(everywhere)))
		expectEnd(t, c, identifiedYet)
	})
}
