package opcodes_test

import (
	"strings"

	"github.com/mastersocket/mastersocket/opcodes"
)

// group returns an EVENT to the group with that name, which is given as JSON.
func group(name string) string {
	return `{"op":0,"intent":{"target":"GROUP","identifier":` + name + `}}`
}

// data returns a PING with that data.
func data(v string) string { return `{"op":3,"data":` + v + `}` }

// direct returns an EVENT to the client with that id.
func direct(id string) string {
	return `{"op":0,"intent":{"target":"DIRECT","identifier":"` + id + `"}}`
}

// fence returns a FENCE with a further member, which is given as JSON with a comma before it.
func fence(member string) string {
	return `{"op":13,"intent":{"target":"DIRECT","identifier":"` + client + `"}` + member + `}`
}

// refused are messages that Scan must refuse, and why: the rows of docs/protocol.md on bad input, spelled out.
var refused = []struct {
	msg  string
	want *opcodes.ScanError
}{
	// Not one JSON object.
	{``, opcodes.ErrEmpty},
	{" \n", opcodes.ErrEmpty},
	{`[]`, opcodes.ErrNotObject},
	{`null`, opcodes.ErrNotObject},
	{`"op"`, opcodes.ErrNotObject},
	{`hello`, opcodes.ErrNotObject},
	{`[{"op":3}]`, opcodes.ErrNotObject},
	{"\v{\"op\":3}", opcodes.ErrNotObject},
	{"\u00a0{\"op\":3}", opcodes.ErrNotObject},
	{"\x00{\"op\":3}", opcodes.ErrNotObject},
	{"\ufeff{\"op\":3}", opcodes.ErrByteOrderMark},
	{"\xff\xfe{\x00", opcodes.ErrNotObject},
	{`{"op":3}{"op":3}`, opcodes.ErrTrailing},
	{`{"op":3},`, opcodes.ErrTrailing},
	{`{"op":3}x`, opcodes.ErrTrailing},
	{"{\"op\":3}\x00", opcodes.ErrTrailing},
	{"{\"op\":3}\ufeff", opcodes.ErrTrailing},

	// Broken JSON.
	{`{`, opcodes.ErrTruncated},
	{`{"op"`, opcodes.ErrTruncated},
	{`{"op":`, opcodes.ErrTruncated},
	{`{"op":3`, opcodes.ErrTruncated},
	{`{"op":3,`, opcodes.ErrTruncated},
	{`{"op":3,"data":[`, opcodes.ErrTruncated},
	{`{"op":3,"data":[1,`, opcodes.ErrTruncated},
	{`{"op":3,"data":{"a"`, opcodes.ErrTruncated},
	{`{"op":3,"data":{"a":1,`, opcodes.ErrTruncated},
	{`{"op":3,"data":"a`, opcodes.ErrTruncated},
	{`{"op":3,"data":"a\`, opcodes.ErrTruncated},
	{`{"op":3,"intent":{`, opcodes.ErrTruncated},
	{`{"op":3,"intent":{"target":`, opcodes.ErrTruncated},
	{`{"op":3,}`, opcodes.ErrName},
	{`{,"op":3}`, opcodes.ErrName},
	{`{op:3}`, opcodes.ErrName},
	{`{'op':3}`, opcodes.ErrName},
	{`{"op":3,"intent":{a:1}}`, opcodes.ErrName},
	{data(`{a:1}`), opcodes.ErrName},
	{data(`{"a":1,}`), opcodes.ErrName},
	{`{"op" 3}`, opcodes.ErrColon},
	{`{"op","data"}`, opcodes.ErrColon},
	{data(`{"a"}`), opcodes.ErrColon},
	{`{"op":3 "data":1}`, opcodes.ErrSeparator},
	{`{"op":3]`, opcodes.ErrSeparator},
	{`{"op":3;"data":1}`, opcodes.ErrSeparator},
	{data(`[1 2]`), opcodes.ErrSeparator},
	{data(`[1}`), opcodes.ErrSeparator},
	{data(`{"a":1]`), opcodes.ErrSeparator},
	{data(`01`), opcodes.ErrSeparator},
	{data(`-01`), opcodes.ErrSeparator},
	{data(`0x10`), opcodes.ErrSeparator},
	{data(`truex`), opcodes.ErrSeparator},
	{data(`[1,]`), opcodes.ErrValue},
	{data(`[,1]`), opcodes.ErrValue},
	{data(``), opcodes.ErrValue},
	{data(`{"a":}`), opcodes.ErrValue},
	{data(`tru`), opcodes.ErrValue},
	{data(`True`), opcodes.ErrValue},
	{data(`nul`), opcodes.ErrValue},
	{data(`NaN`), opcodes.ErrValue},
	{data(`undefined`), opcodes.ErrValue},
	{data(`/**/1`), opcodes.ErrValue},
	{data(`+1`), opcodes.ErrValue},
	{data(`.5`), opcodes.ErrValue},
	{data(`'a'`), opcodes.ErrValue},
	{data("\u00a01"), opcodes.ErrValue},
	{data(`-`), opcodes.ErrNumber},
	{data(`-a`), opcodes.ErrNumber},
	{data(`1.`), opcodes.ErrNumber},
	{data(`1.e5`), opcodes.ErrNumber},
	{data(`1e`), opcodes.ErrNumber},
	{data(`1e+`), opcodes.ErrNumber},
	{data(`-Infinity`), opcodes.ErrNumber},

	// Strings.
	{data("\"a\nb\""), opcodes.ErrControl},
	{data("\"\x00\""), opcodes.ErrControl},
	{data("\"0123456789\x1f\""), opcodes.ErrControl},
	{"{\"op\":3,\"a\tb\":1}", opcodes.ErrControl},
	{data(`"\x41"`), opcodes.ErrEscape},
	{data(`"\'"`), opcodes.ErrEscape},
	{data(`"\u12"`), opcodes.ErrEscape},
	{data(`"\u12g4"`), opcodes.ErrEscape},
	{data(`"\U0041"`), opcodes.ErrEscape},
	{data(`"\ud800"`), opcodes.ErrSurrogate},
	{data(`"\udc00"`), opcodes.ErrSurrogate},
	{data(`"\udc00\ud800"`), opcodes.ErrSurrogate},
	{data(`"\ud800\ud800"`), opcodes.ErrSurrogate},
	{data(`"\ud800x"`), opcodes.ErrSurrogate},
	{data(`"\ud800\n"`), opcodes.ErrSurrogate},
	{data(`"\ud800\u0041"`), opcodes.ErrSurrogate},
	{data(`{"\ud800":1}`), opcodes.ErrSurrogate},
	{`{"op":3,"\udfff":1}`, opcodes.ErrSurrogate},
	{`{"op":3,"id":"\udfff"}`, opcodes.ErrSurrogate},
	{data("\"\x80\""), opcodes.ErrUTF8},
	{data("\"\xc3\""), opcodes.ErrUTF8},
	{data("\"\xc0\xaf\""), opcodes.ErrUTF8},             // overlong, 2 bytes
	{data("\"\xc1\xbf\""), opcodes.ErrUTF8},             // overlong, 2 bytes
	{data("\"\xe0\x9f\xbf\""), opcodes.ErrUTF8},         // overlong, 3 bytes
	{data("\"\xf0\x8f\xbf\xbf\""), opcodes.ErrUTF8},     // overlong, 4 bytes
	{data("\"\xed\xa0\x80\""), opcodes.ErrUTF8},         // surrogate
	{data("\"\xed\xbf\xbf\""), opcodes.ErrUTF8},         // surrogate
	{data("\"\xf4\x90\x80\x80\""), opcodes.ErrUTF8},     // beyond U+10FFFF
	{data("\"\xf5\x80\x80\x80\""), opcodes.ErrUTF8},     // never in UTF-8
	{data("\"\xf8\x88\x80\x80\x80\""), opcodes.ErrUTF8}, // 5 bytes
	{data("\"é\xff\""), opcodes.ErrUTF8},
	{data("\"\xe2\x82\""), opcodes.ErrUTF8},
	{data("\"\xf0\x9f\x98\""), opcodes.ErrUTF8},
	{"{\"op\":3,\"data\":\"\xe2\x82", opcodes.ErrUTF8},
	{"{\"op\":3,\"\xff\":1}", opcodes.ErrUTF8},
	{"{\"op\":3,\"event\":\"\xff\"}", opcodes.ErrUTF8},
	{group("\"\xff\""), opcodes.ErrUTF8},

	// Depth.
	{data(nest(64)), opcodes.ErrTooDeep},
	{data(strings.Repeat(`{"a":`, 64) + "1" + strings.Repeat("}", 64)), opcodes.ErrTooDeep},
	{data(strings.Repeat("[", 30000)), opcodes.ErrTooDeep},
	{`{"op":3,"x":` + nest(64) + `}`, opcodes.ErrTooDeep},
	{`{"op":3,"intent":{"x":` + nest(63) + `}}`, opcodes.ErrTooDeep},

	// Duplicates.
	{`{"op":3,"op":3}`, opcodes.ErrDuplicate},
	{`{"op":3,"\u006fp":3}`, opcodes.ErrDuplicate},
	{`{"op":3,"id":null,"id":null}`, opcodes.ErrDuplicate},
	{`{"op":3,"event":"a","event":"b"}`, opcodes.ErrDuplicate},
	{`{"op":3,"data":1,"data":1}`, opcodes.ErrDuplicate},
	{`{"op":3,"intent":null,"intent":{"target":"GLOBAL"}}`, opcodes.ErrDuplicate},
	{`{"op":3,"x":1,"x":1}`, opcodes.ErrDuplicate},
	{`{"op":3,"":1,"":1}`, opcodes.ErrDuplicate},
	{`{"op":3,"é":1,"\u00E9":1}`, opcodes.ErrDuplicate},
	{`{"op":3,"\ud83d\ude00":1,"😀":1}`, opcodes.ErrDuplicate},
	{`{"op":3,"a/b":1,"a\/b":1}`, opcodes.ErrDuplicate},
	{`{"op":0,"intent":{"target":"GLOBAL","target":"GLOBAL"}}`, opcodes.ErrIntentDuplicate},
	{`{"op":0,"intent":{"target":"ANY","identifier":null,"identifi\u0065r":"g"}}`, opcodes.ErrIntentDuplicate},
	{`{"op":3,"intent":{"x":1,"\u0078":1}}`, opcodes.ErrIntentDuplicate},

	// The envelope's members.
	{`{}`, opcodes.ErrOpMissing},
	{`{ }`, opcodes.ErrOpMissing},
	{`{"Op":3}`, opcodes.ErrOpMissing},
	{`{"data":{"op":3}}`, opcodes.ErrOpMissing},
	{`{"op":null}`, opcodes.ErrOpType},
	{`{"op":"3"}`, opcodes.ErrOpType},
	{`{"op":true}`, opcodes.ErrOpType},
	{`{"op":[3]}`, opcodes.ErrOpType},
	{`{"op":3.0}`, opcodes.ErrOpType},
	{`{"op":3.5}`, opcodes.ErrOpType},
	{`{"op":3e0}`, opcodes.ErrOpType},
	{`{"op":3E0}`, opcodes.ErrOpType},
	{`{"op":-0}`, opcodes.ErrOpType},
	{`{"op":-}`, opcodes.ErrOpType},
	{`{"op":+3}`, opcodes.ErrOpType},
	{`{"op":03}`, opcodes.ErrSeparator},
	{`{"op":3x}`, opcodes.ErrSeparator},
	{`{"op":3,"id":7}`, opcodes.ErrIDType},
	{`{"op":3,"id":{}}`, opcodes.ErrIDType},
	{`{"op":3,"id":false}`, opcodes.ErrIDType},
	{`{"op":3,"id":nul}`, opcodes.ErrValue},
	{`{"op":3,"id":""}`, opcodes.ErrIDLength},
	{`{"op":3,"id":"` + strings.Repeat("i", 65) + `"}`, opcodes.ErrIDLength},
	{`{"op":3,"id":"` + strings.Repeat(`\u00e9`, 33) + `"}`, opcodes.ErrIDLength},
	{`{"op":3,"event":null}`, opcodes.ErrEventType},
	{`{"op":3,"event":1}`, opcodes.ErrEventType},
	{`{"op":3,"event":["a"]}`, opcodes.ErrEventType},
	{`{"op":3,"event":"` + strings.Repeat("e", 129) + `"}`, opcodes.ErrEventLength},
	{`{"op":3,"event":"` + strings.Repeat(`\u00e9`, 65) + `"}`, opcodes.ErrEventLength},
	{`{"op":3,"sender":"` + client + `"}`, opcodes.ErrForgedSender},
	{`{"op":3,"sender":null}`, opcodes.ErrForgedSender},
	{`{"op":3,"s\u0065nder":""}`, opcodes.ErrForgedSender},
	{`{"op":5,` + toAll + `}`, opcodes.ErrIDMissing},
	{`{"op":5,"id":null,` + toAll + `}`, opcodes.ErrIDMissing},

	// The intent.
	{`{"op":0}`, opcodes.ErrIntentMissing},
	{`{"op":0,"intent":null}`, opcodes.ErrIntentMissing},
	{`{"op":5,"id":"i"}`, opcodes.ErrIntentMissing},
	{`{"op":0,"intent":"GLOBAL"}`, opcodes.ErrIntentType},
	{`{"op":0,"intent":["GLOBAL"]}`, opcodes.ErrIntentType},
	{`{"op":3,"intent":0}`, opcodes.ErrIntentType},
	{`{"op":0,"intent":{}}`, opcodes.ErrTargetMissing},
	{`{"op":0,"intent":{"identifier":"g"}}`, opcodes.ErrTargetMissing},
	{`{"op":0,"intent":{"target":null}}`, opcodes.ErrTargetType},
	{`{"op":3,"intent":{"target":1}}`, opcodes.ErrTargetType},
	{`{"op":0,"intent":{"target":""}}`, opcodes.ErrTargetUnknown},
	{`{"op":0,"intent":{"target":"global"}}`, opcodes.ErrTargetUnknown},
	{`{"op":0,"intent":{"target":"NONE"}}`, opcodes.ErrTargetUnknown},
	{`{"op":0,"intent":{"target":"GLOBAL\u0000"}}`, opcodes.ErrTargetUnknown},
	{group(`7`), opcodes.ErrIdentifierType},
	{`{"op":3,"intent":{"identifier":{}}}`, opcodes.ErrIdentifierType},
	{`{"op":0,"intent":{"target":"GLOBAL","identifier":""}}`, opcodes.ErrIdentifierGlobal},
	{`{"op":0,"intent":{"target":"GLOBAL","identifier":"g"}}`, opcodes.ErrIdentifierGlobal},
	{`{"op":0,"intent":{"target":"GROUP"}}`, opcodes.ErrIdentifierMissing},
	{group(`null`), opcodes.ErrIdentifierMissing},
	{`{"op":0,"intent":{"target":"DIRECT"}}`, opcodes.ErrIdentifierMissing},
	{`{"op":0,"intent":{"target":"DIRECT","identifier":null}}`, opcodes.ErrIdentifierMissing},
	{group(`""`), opcodes.ErrIdentifierEmpty},
	{`{"op":0,"intent":{"target":"ANY","identifier":""}}`, opcodes.ErrIdentifierEmpty},
	{group(`"` + strings.Repeat("g", 129) + `"`), opcodes.ErrIdentifierLength},
	{group(`"$g"`), opcodes.ErrIdentifierReserved},
	{group(`"\u0024g"`), opcodes.ErrIdentifierReserved},
	{group(`"a\u0000"`), opcodes.ErrIdentifierControl},
	{group(`"a\n"`), opcodes.ErrIdentifierControl},
	{group("\"a\x7f\""), opcodes.ErrIdentifierControl},
	{group(`"\u0085"`), opcodes.ErrIdentifierControl},
	{group("\"a\u009f\""), opcodes.ErrIdentifierControl},
	{direct(""), opcodes.ErrIdentifierUUID},
	{direct("billing"), opcodes.ErrIdentifierUUID},
	{direct(client[:35]), opcodes.ErrIdentifierUUID},
	{direct(client + "0"), opcodes.ErrIdentifierUUID},
	{direct(strings.ReplaceAll(client, "-", "")), opcodes.ErrIdentifierUUID},
	{direct("{" + client + "}"), opcodes.ErrIdentifierUUID},
	{direct("urn:uuid:" + client), opcodes.ErrIdentifierUUID},
	{direct(strings.Replace(client, "f", "g", 1)), opcodes.ErrIdentifierUUID},
	{direct(strings.Replace(client, "-", "_", 1)), opcodes.ErrIdentifierUUID},

	// A FENCE carries nothing, and goes to one client.
	{fence(`,"data":1`), opcodes.ErrFenceMember},
	{fence(`,"event":""`), opcodes.ErrFenceMember},
	{fence(`,"note":null`), opcodes.ErrFenceMember},
	{fence(`,"sender":"` + client + `"`), opcodes.ErrForgedSender},
	{fence(`,"id":""`), opcodes.ErrIDLength},
	{`{"op":13}`, opcodes.ErrIntentMissing},
	{`{"op":13,"intent":null}`, opcodes.ErrIntentMissing},
	{`{"op":13,"intent":{"identifier":"` + client + `"}}`, opcodes.ErrTargetMissing},
	{`{"op":13,"intent":{"target":"DIRECT"}}`, opcodes.ErrIdentifierMissing},
	{`{"op":13,"intent":{"target":"DIRECT","identifier":"x"}}`, opcodes.ErrIdentifierUUID},
	{`{"op":13,` + toAll + `}`, opcodes.ErrFenceTarget},
	{`{"op":13,"intent":{"target":"ANY"}}`, opcodes.ErrFenceTarget},
	{`{"op":13,"intent":{"target":"GROUP","identifier":"g"}}`, opcodes.ErrFenceTarget},
	{`{"op":13,"intent":{"target":"NOBODY"}}`, opcodes.ErrFenceTarget},

	// Well-formed, but the op is not for clients; a broken message is invalid whatever its op.
	{`{"op":6,"data":{"code":"NO_RECEIVER","message":""}}`, opcodes.ErrOpNotAllowed},
	{`{"op":7}`, opcodes.ErrOpNotAllowed},
	{`{"op":12,"data":{"after_ms":0,"reason":"restart"}}`, opcodes.ErrOpNotAllowed},
	{`{"op":8}`, opcodes.ErrUnknownOp},
	{`{"op":11}`, opcodes.ErrUnknownOp},
	{`{"op":14}`, opcodes.ErrUnknownOp},
	{`{"op":-13}`, opcodes.ErrUnknownOp},
	{`{"op":130}`, opcodes.ErrUnknownOp},
	{`{"op":013,` + toAll + `}`, opcodes.ErrSeparator},
	{`{"op":15}`, opcodes.ErrUnknownOp},
	{`{"op":-1}`, opcodes.ErrUnknownOp},
	{`{"op":10}`, opcodes.ErrUnknownOp},
	{`{"op":18446744073709551616}`, opcodes.ErrUnknownOp},
	{`{"op":` + strings.Repeat("9", 1000) + `}`, opcodes.ErrUnknownOp},
	{`{"op":99,"id":7}`, opcodes.ErrIDType},
	{`{"op":99,"sender":""}`, opcodes.ErrForgedSender},
	{`{"op":99`, opcodes.ErrTruncated},
	{`{"op":7,"event":null}`, opcodes.ErrEventType},
}
