package opcodes

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/intent"
)

const client = "70653cb0-5f6d-41fe-acbf-ea8f37a73034"

// scan scans a copy of msg without spare capacity, so that reading past its end would panic.
func scan(e *Envelope, msg []byte) error {
	return e.Scan(slices.Clip(bytes.Clone(msg)))
}

// fields returns the fields of e for a comparison with the oracle's result.
func fields(e *Envelope) *envelope {
	var s selected
	for _, name := range e.Targets() {
		s.Targets = append(s.Targets, string(name))
	}
	for _, name := range e.Except() {
		s.Except = append(s.Except, string(name))
	}
	if ids := e.Receivers(); len(ids) > 0 {
		s.Receivers = slices.Clone(ids)
	}
	return &envelope{e.Op, e.Raw, e.ID, e.Event, e.Data, e.Target, e.Identifier, e.Receiver, s}
}

// disagreement describes how Scan's result differs from the oracle's; "" if it does not.
func disagreement(msg []byte, e *Envelope, err error) string {
	want, wantErr := oracle(msg)
	var refused *ScanError
	switch {
	case err == nil && wantErr == nil:
		return cmp.Diff(want, fields(e))
	case errors.As(err, &refused) && refused.Reason == InvalidPayload && wantErr == errOracleInvalid:
	case errors.As(err, &refused) && refused.Reason == UnknownOp && wantErr == errOracleUnknownOp:
	default:
		return fmt.Sprintf("Scan says %v, the oracle %v", err, wantErr)
	}
	return ""
}

// nest returns n arrays within each other.
func nest(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }

const toAll = `"intent":{"target":"GLOBAL"}`

var accepted = []struct {
	name, msg string
	want      envelope // without Raw, which is msg without the white space around it
}{
	{"ping", `{"op":3}`, envelope{Op: Ping}},
	{"pong with white space", " \t\r\n{ \"op\" : 4 }\n", envelope{Op: Pong}},
	{"identify", `{"op":1,"data":{"token":"t","group":"g"}}`,
		envelope{Op: Identify, Data: []byte(`{"token":"t","group":"g"}`)}},
	{"subscribe", `{"op":8,"id":"s","data":{"groups":["g"]}}`,
		envelope{Op: Subscribe, ID: []byte("s"), Data: []byte(`{"groups":["g"]}`)}},
	{"unsubscribe", `{"data":{"groups":["g"]},"id":"u","op":9}`,
		envelope{Op: Unsubscribe, ID: []byte("u"), Data: []byte(`{"groups":["g"]}`)}},
	{"disconnect", `{"op":2,"data":"NO_REASON"}`, envelope{Op: Disconnect, Data: []byte(`"NO_REASON"`)}},
	{"all members", `{"id":"i","op":0,"event":"E","data":{"a":[1,{}]},"intent":{"target":"GROUP","identifier":"g"}}`,
		envelope{Event, nil, []byte("i"), []byte("E"), []byte(`{"a":[1,{}]}`), intent.Group, []byte("g"), uuid.Nil, selected{}}},
	{"op last", `{"intent":{"identifier":"g","target":"ANY"},"op":0}`,
		envelope{Target: intent.Any, Identifier: []byte("g")}},
	{"any of all", `{"op":0,"intent":{"target":"ANY"}}`, envelope{Target: intent.Any}},
	{"any of all, null", `{"op":0,"intent":{"target":"ANY","identifier":null}}`, envelope{Target: intent.Any}},
	{"global, null", `{"op":0,"intent":{"target":"GLOBAL","identifier":null}}`, envelope{Target: intent.Global}},
	{"direct", `{"op":0,"intent":{"target":"DIRECT","identifier":"` + client + `"}}`,
		envelope{Target: intent.Direct, Receiver: uuid.MustParse(client)}},
	{"direct in capitals", `{"op":0,"intent":{"target":"DIRECT","identifier":"` + strings.ToUpper(client) + `"}}`,
		envelope{Target: intent.Direct, Receiver: uuid.MustParse(client)}},
	{"fence", `{"op":13,"id":"i","intent":{"target":"DIRECT","identifier":"` + client + `"}}`,
		envelope{Op: Fence, ID: []byte("i"), Target: intent.Direct, Receiver: uuid.MustParse(client)}},
	{"fence without an id", `{"intent":{"identifier":"` + client + `","target":"DIRECT"},"op":13,"id":null}`,
		envelope{Op: Fence, Target: intent.Direct, Receiver: uuid.MustParse(client)}},
	{"pass", `{"op":14,"id":"i","intent":{"target":"DIRECT","identifier":"` + client + `"}}`,
		envelope{Op: Settled, ID: []byte("i"), Target: intent.Direct, Receiver: uuid.MustParse(client)}},
	{"pass without an intent", `{"op":14}`, envelope{Op: Settled}},
	{"pass to a group", `{"op":14,"id":"i","intent":{"target":"GROUP","identifier":"g"}}`, envelope{Op: Settled, ID: []byte("i")}},
	{"cancel", `{"op":15,"id":"i"}`, envelope{Op: Cancel, ID: []byte("i")}},
	{"members of requests are like any other", `{"op":3,"expect":7,"Expect":1,"attempt":"x","more":0,"error":[]}`, envelope{Op: Ping}},
	{"reply", `{"op":5,"id":"i",` + toAll + `}`, envelope{Op: Reply, ID: []byte("i"), Target: intent.Global}},
	{"null id", `{"op":0,"id":null,` + toAll + `}`, envelope{Target: intent.Global}},
	{"id stays escaped", `{"op":0,"id":"\u0041\n",` + toAll + `}`, envelope{ID: []byte(`\u0041\n`), Target: intent.Global}},
	{"id of 64 bytes, escaped", `{"op":0,"id":"` + strings.Repeat(`\u00e9`, 32) + `",` + toAll + `}`,
		envelope{ID: bytes.Repeat([]byte(`\u00e9`), 32), Target: intent.Global}},
	{"empty event", `{"op":0,"event":"",` + toAll + `}`, envelope{Event: []byte{}, Target: intent.Global}},
	{"escaped event", `{"op":0,"event":"\"\\\/\b\f\n\r\t\u00e9\ud83d\uDE00",` + toAll + `}`,
		envelope{Event: []byte("\"\\/\b\f\n\r\té😀"), Target: intent.Global}},
	{"event of 128 bytes", `{"op":0,"event":"` + strings.Repeat("é", 64) + `",` + toAll + `}`,
		envelope{Event: []byte(strings.Repeat("é", 64)), Target: intent.Global}},
	{"null data", `{"op":3,"data":null}`, envelope{Op: Ping, Data: []byte("null")}},
	{"data cut exactly", `{"op":3,"data": -1.5e+7 }`, envelope{Op: Ping, Data: []byte("-1.5e+7")}},
	{"duplicates in data", `{"op":3,"data":{"a":1,"a":2}}`, envelope{Op: Ping, Data: []byte(`{"a":1,"a":2}`)}},
	{"duplicates in a foreign member", `{"op":3,"x":{"a":1,"a":2}}`, envelope{Op: Ping}},
	{"duplicates deeper in intent", `{"op":0,"intent":{"target":"GLOBAL","x":{"a":1,"a":2}}}`, envelope{Target: intent.Global}},
	{"depth 64 in data", `{"op":3,"data":` + nest(63) + `}`, envelope{Op: Ping, Data: []byte(nest(63))}},
	{"depth 64 in a foreign member", `{"op":3,"x":` + nest(63) + `}`, envelope{Op: Ping}},
	{"depth 64 in intent", `{"op":0,"intent":{"target":"GLOBAL","x":` + nest(62) + `}}`, envelope{Target: intent.Global}},
	{"foreign members", `{"op":3,"ops":1,"o":"x","trace":"t","":0,"i\u0000d":1}`, envelope{Op: Ping}},
	{"names by what they stand for", `{"\u006fp":0,"\u0069ntent":{"t\u0061rget":"GROUP","identifier":"\u0067"}}`,
		envelope{Target: intent.Group, Identifier: []byte("g")}},
	{"target by what it stands for", `{"op":0,"intent":{"target":"\u0047LOBAL"}}`, envelope{Target: intent.Global}},
	{"group of 128 bytes", `{"op":0,"intent":{"target":"GROUP","identifier":"` + strings.Repeat("g", 128) + `"}}`,
		envelope{Target: intent.Group, Identifier: bytes.Repeat([]byte("g"), 128)}},
	{"group beyond ASCII", `{"op":0,"intent":{"target":"GROUP","identifier":"größe $1 *"}}`,
		envelope{Target: intent.Group, Identifier: []byte("größe $1 *")}},
	{"intent of a PING is not followed", `{"op":3,"intent":{"target":"ALL","identifier":"$"}}`, envelope{Op: Ping}},
	{"null intent of a PING", `{"op":3,"intent":null}`, envelope{Op: Ping}},
	{"Unicode to its limits", `{"op":3,"data":"\u0000 ߿ࠀ퟿�𐀀\udbff\udfff` + "\U0010ffff\u2028\ufeff\x7f" + `"}`,
		envelope{Op: Ping, Data: []byte(`"\u0000 ߿ࠀ퟿�𐀀\udbff\udfff` + "\U0010ffff\u2028\ufeff\x7f" + `"`)}},
	{"numbers", `{"op":3,"data":[0,-0,0.0,-0e0,1E-2,10e+00,123456789012345678901234567890]}`,
		envelope{Op: Ping, Data: []byte(`[0,-0,0.0,-0e0,1E-2,10e+00,123456789012345678901234567890]`)}},
	{"numbers beyond any float", `{"op":3,"data":[1e400,-1E+99999,` + strings.Repeat("9", 309) + `]}`,
		envelope{Op: Ping, Data: []byte(`[1e400,-1E+99999,` + strings.Repeat("9", 309) + `]`)}},
	{"case variants in data", `{"op":3,"data":{"Op":1,"Sender":"x"},"x":{"ID":1}}`,
		envelope{Op: Ping, Data: []byte(`{"Op":1,"Sender":"x"}`)}},
	{"white space everywhere", "{ \"op\" :\t3 ,\n\"data\" : [ { } , [ ] , { \"a\" : 1 , \"b\" : true } ]\r}",
		envelope{Op: Ping, Data: []byte(`[ { } , [ ] , { "a" : 1 , "b" : true } ]`)}},
}

func TestScanAccepts(t *testing.T) {
	t.Parallel()
	var e Envelope // reused, as in the hub
	for _, tc := range accepted {
		t.Run(tc.name, func(t *testing.T) {
			msg := []byte(tc.msg)
			if err := scan(&e, msg); err != nil {
				t.Fatal(err)
			}
			tc.want.Raw = bytes.TrimSpace(msg)
			if diff := cmp.Diff(&tc.want, fields(&e)); diff != "" {
				t.Errorf("fields (-want +got):\n%s", diff)
			}
			if diff := disagreement(msg, &e, nil); diff != "" {
				t.Errorf("the oracle disagrees: %s", diff)
			}
			if err := decodesTo(msg, &e); err != nil {
				t.Errorf("encoding/json disagrees: %v", err)
			}
		})
	}
}

func TestScanRefuses(t *testing.T) {
	t.Parallel()
	var e Envelope
	for _, tc := range refused {
		err := scan(&e, []byte(tc.msg))
		if err != tc.want {
			t.Errorf("%.100q: %v, want %v", tc.msg, err, tc.want)
		}
		if diff := disagreement([]byte(tc.msg), &e, err); diff != "" {
			t.Errorf("%.100q: the oracle disagrees: %s", tc.msg, diff)
		}
	}
}

// Scan and the oracle agree on a message with any byte removed or replaced, and on each prefix of it.
func TestScanMutilated(t *testing.T) {
	t.Parallel()
	var e Envelope
	check := func(msg []byte) {
		if diff := disagreement(msg, &e, scan(&e, msg)); diff != "" {
			t.Errorf("%q: %s", msg, diff)
		}
	}
	msg := []byte(`{"id":"a\n","op":0,"data":[-1.5e+3,{"k":"é\ud83d\ude00"},null],"intent":{"target":"ANY","identifier":"g"}}`)
	for i := range msg {
		check(msg[:i])
		check(slices.Concat(msg[:i], msg[i+1:]))
		for _, c := range "\x00 \n\"\\{}[],:-+.0159eEuntf/\x7f\x80\xc3\xed\xf4\xff" {
			replaced := bytes.Clone(msg)
			replaced[i] = byte(c)
			check(replaced)
		}
	}
}

// A string's end and its special bytes are found at every offset within the words that Scan reads.
func TestScanAlignment(t *testing.T) {
	t.Parallel()
	var e Envelope
	for n := range 40 {
		for _, special := range []string{"", `\n`, `\"`, "é", "日", "😀", "\x1f", "\x80", "\x7f", "!", "#", "[", "]", "\xa0", "\u00a0"} {
			for tail := range 10 {
				msg := data(`"` + strings.Repeat("x", n) + special + strings.Repeat("y", tail) + `"`)
				if diff := disagreement([]byte(msg), &e, scan(&e, []byte(msg))); diff != "" {
					t.Errorf("%q: %s", msg, diff)
				}
			}
		}
	}
}

func TestScanManyNames(t *testing.T) {
	t.Parallel()
	var e Envelope
	for _, n := range []int{64, 100, 1 << 10, 32 << 10, 1 << 20} {
		msg := manyNames(n)
		if err := e.Scan(msg); err != nil {
			t.Errorf("%d bytes: %v", n, err)
		}
		inner := slices.Concat([]byte(`{"op":3,"intent":{"-":1`), msg[len(`{"op":3`):], []byte("}"))
		if err := e.Scan(inner); err != nil {
			t.Errorf("%d bytes in intent: %v", n, err)
		}
	}
	// The last name repeats an earlier one in another spelling, for each earlier name in turn.
	msg := manyNames(2 << 10)
	for name := range strings.SplitSeq(string(msg[len(`{"op":3,`):len(msg)-1]), ",") {
		name = strings.TrimSuffix(name, `:0`)
		twice := fmt.Appendf(bytes.Clone(msg[:len(msg)-1]), `,"\u%04x%s:0}`, name[1], name[2:])
		if err := e.Scan(twice); err != errDuplicate {
			t.Fatalf("%s twice: %v", name, err)
		}
	}
}

func TestScanErrorSaysWhy(t *testing.T) {
	t.Parallel()
	var e Envelope
	err := e.Scan([]byte(`{"op":99}`))
	if got, want := err.Error(), "UNKNOWN_OP: op is unknown"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
