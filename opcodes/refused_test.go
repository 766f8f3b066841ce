package opcodes

import (
	"strconv"
	"strings"
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

// selecting returns an EVENT to GROUP with further members of its intent, which are given as JSON.
func selecting(members string) string {
	return `{"op":0,"intent":{"target":"GROUP",` + members + `}}`
}

// numberedGroups returns so many names as JSON, with commas between them.
func numberedGroups(n int) string {
	names := make([]string, n)
	for i := range names {
		names[i] = `"g` + strconv.Itoa(i) + `"`
	}
	return strings.Join(names, ",")
}

// fence returns a FENCE with a further member, which is given as JSON with a comma before it.
func fence(member string) string {
	return `{"op":13,"intent":{"target":"DIRECT","identifier":"` + client + `"}` + member + `}`
}

// refused lists messages that Scan must refuse, and why. It covers the rows of docs/protocol.md on bad input.
var refused = []struct {
	msg  string
	want *ScanError
}{
	// Not one JSON object.
	{``, errEmpty},
	{" \n", errEmpty},
	{`[]`, errNotObject},
	{`null`, errNotObject},
	{`"op"`, errNotObject},
	{`hello`, errNotObject},
	{`[{"op":3}]`, errNotObject},
	{"\v{\"op\":3}", errNotObject},
	{"\u00a0{\"op\":3}", errNotObject},
	{"\x00{\"op\":3}", errNotObject},
	{"\ufeff{\"op\":3}", errByteOrderMark},
	{"\xff\xfe{\x00", errNotObject},
	{`{"op":3}{"op":3}`, errTrailing},
	{`{"op":3},`, errTrailing},
	{`{"op":3}x`, errTrailing},
	{"{\"op\":3}\x00", errTrailing},
	{"{\"op\":3}\ufeff", errTrailing},

	// Broken JSON.
	{`{`, errTruncated},
	{`{"op"`, errTruncated},
	{`{"op":`, errTruncated},
	{`{"op":3`, errTruncated},
	{`{"op":3,`, errTruncated},
	{`{"op":3,"data":[`, errTruncated},
	{`{"op":3,"data":[1,`, errTruncated},
	{`{"op":3,"data":{"a"`, errTruncated},
	{`{"op":3,"data":{"a":1,`, errTruncated},
	{`{"op":3,"data":"a`, errTruncated},
	{`{"op":3,"data":"a\`, errTruncated},
	{`{"op":3,"intent":{`, errTruncated},
	{`{"op":3,"intent":{"target":`, errTruncated},
	{`{"op":3,}`, errName},
	{`{,"op":3}`, errName},
	{`{op:3}`, errName},
	{`{'op':3}`, errName},
	{`{"op":3,"intent":{a:1}}`, errName},
	{data(`{a:1}`), errName},
	{data(`{"a":1,}`), errName},
	{`{"op" 3}`, errColon},
	{`{"op","data"}`, errColon},
	{data(`{"a"}`), errColon},
	{`{"op":3 "data":1}`, errSeparator},
	{`{"op":3]`, errSeparator},
	{`{"op":3;"data":1}`, errSeparator},
	{data(`[1 2]`), errSeparator},
	{data(`[1}`), errSeparator},
	{data(`{"a":1]`), errSeparator},
	{data(`01`), errSeparator},
	{data(`-01`), errSeparator},
	{data(`0x10`), errSeparator},
	{data(`truex`), errSeparator},
	{data(`[1,]`), errValue},
	{data(`[,1]`), errValue},
	{data(``), errValue},
	{data(`{"a":}`), errValue},
	{data(`tru`), errValue},
	{data(`True`), errValue},
	{data(`nul`), errValue},
	{data(`NaN`), errValue},
	{data(`undefined`), errValue},
	{data(`/**/1`), errValue},
	{data(`+1`), errValue},
	{data(`.5`), errValue},
	{data(`'a'`), errValue},
	{data("\u00a01"), errValue},
	{data(`-`), errNumber},
	{data(`-a`), errNumber},
	{data(`1.`), errNumber},
	{data(`1.e5`), errNumber},
	{data(`1e`), errNumber},
	{data(`1e+`), errNumber},
	{data(`-Infinity`), errNumber},

	// Strings.
	{data("\"a\nb\""), errControl},
	{data("\"\x00\""), errControl},
	{data("\"0123456789\x1f\""), errControl},
	{"{\"op\":3,\"a\tb\":1}", errControl},
	{data(`"\x41"`), errEscape},
	{data(`"\'"`), errEscape},
	{data(`"\u12"`), errEscape},
	{data(`"\u12g4"`), errEscape},
	{data(`"\U0041"`), errEscape},
	{data(`"\ud800"`), errSurrogate},
	{data(`"\udc00"`), errSurrogate},
	{data(`"\udc00\ud800"`), errSurrogate},
	{data(`"\ud800\ud800"`), errSurrogate},
	{data(`"\ud800x"`), errSurrogate},
	{data(`"\ud800\n"`), errSurrogate},
	{data(`"\ud800\u0041"`), errSurrogate},
	{data(`{"\ud800":1}`), errSurrogate},
	{`{"op":3,"\udfff":1}`, errSurrogate},
	{`{"op":3,"id":"\udfff"}`, errSurrogate},
	{data("\"\x80\""), errUTF8},
	{data("\"\xc3\""), errUTF8},
	{data("\"\xc0\xaf\""), errUTF8},             // overlong, 2 bytes
	{data("\"\xc1\xbf\""), errUTF8},             // overlong, 2 bytes
	{data("\"\xe0\x9f\xbf\""), errUTF8},         // overlong, 3 bytes
	{data("\"\xf0\x8f\xbf\xbf\""), errUTF8},     // overlong, 4 bytes
	{data("\"\xed\xa0\x80\""), errUTF8},         // surrogate
	{data("\"\xed\xbf\xbf\""), errUTF8},         // surrogate
	{data("\"\xf4\x90\x80\x80\""), errUTF8},     // beyond U+10FFFF
	{data("\"\xf5\x80\x80\x80\""), errUTF8},     // never in UTF-8
	{data("\"\xf8\x88\x80\x80\x80\""), errUTF8}, // 5 bytes
	{data("\"é\xff\""), errUTF8},
	{data("\"\xe2\x82\""), errUTF8},
	{data("\"\xf0\x9f\x98\""), errUTF8},
	{"{\"op\":3,\"data\":\"\xe2\x82", errUTF8},
	{"{\"op\":3,\"\xff\":1}", errUTF8},
	{"{\"op\":3,\"event\":\"\xff\"}", errUTF8},
	{group("\"\xff\""), errUTF8},

	// Depth.
	{data(nest(64)), errTooDeep},
	{data(strings.Repeat(`{"a":`, 64) + "1" + strings.Repeat("}", 64)), errTooDeep},
	{data(strings.Repeat("[", 30000)), errTooDeep},
	{`{"op":3,"x":` + nest(64) + `}`, errTooDeep},
	{`{"op":3,"intent":{"x":` + nest(63) + `}}`, errTooDeep},

	// Duplicates.
	{`{"op":3,"op":3}`, errDuplicate},
	{`{"op":3,"\u006fp":3}`, errDuplicate},
	{`{"op":3,"id":null,"id":null}`, errDuplicate},
	{`{"op":3,"event":"a","event":"b"}`, errDuplicate},
	{`{"op":3,"data":1,"data":1}`, errDuplicate},
	{`{"op":3,"intent":null,"intent":{"target":"GLOBAL"}}`, errDuplicate},
	{`{"op":3,"x":1,"x":1}`, errDuplicate},
	{`{"op":3,"":1,"":1}`, errDuplicate},
	{`{"op":3,"é":1,"\u00E9":1}`, errDuplicate},
	{`{"op":3,"\ud83d\ude00":1,"😀":1}`, errDuplicate},
	{`{"op":3,"a/b":1,"a\/b":1}`, errDuplicate},
	{`{"op":0,"intent":{"target":"GLOBAL","target":"GLOBAL"}}`, errIntentDuplicate},
	{`{"op":0,"intent":{"target":"ANY","identifier":null,"identifi\u0065r":"g"}}`, errIntentDuplicate},
	{`{"op":3,"intent":{"x":1,"\u0078":1}}`, errIntentDuplicate},

	// The envelope's members.
	{`{}`, errOpMissing},
	{`{ }`, errOpMissing},
	{`{"data":{"op":3}}`, errOpMissing},
	{`{"op":null}`, errOpType},
	{`{"op":"3"}`, errOpType},
	{`{"op":true}`, errOpType},
	{`{"op":[3]}`, errOpType},
	{`{"op":3.0}`, errOpType},
	{`{"op":3.5}`, errOpType},
	{`{"op":3e0}`, errOpType},
	{`{"op":3E0}`, errOpType},
	{`{"op":-0}`, errOpType},
	{`{"op":-}`, errOpType},
	{`{"op":+3}`, errOpType},
	{`{"op":03}`, errSeparator},
	{`{"op":3x}`, errSeparator},
	{`{"op":3,"id":7}`, errIDType},
	{`{"op":3,"id":{}}`, errIDType},
	{`{"op":3,"id":false}`, errIDType},
	{`{"op":3,"id":nul}`, errValue},
	{`{"op":3,"id":""}`, errIDLength},
	{`{"op":3,"id":"` + strings.Repeat("i", 65) + `"}`, errIDLength},
	{`{"op":3,"id":"` + strings.Repeat(`\u00e9`, 33) + `"}`, errIDLength},
	{`{"op":3,"event":null}`, errEventType},
	{`{"op":3,"event":1}`, errEventType},
	{`{"op":3,"event":["a"]}`, errEventType},
	{`{"op":3,"event":"` + strings.Repeat("e", 129) + `"}`, errEventLength},
	{`{"op":3,"event":"` + strings.Repeat(`\u00e9`, 65) + `"}`, errEventLength},
	{`{"op":3,"sender":"` + client + `"}`, errForgedSender},
	{`{"op":3,"sender":null}`, errForgedSender},
	{`{"op":3,"s\u0065nder":""}`, errForgedSender},
	{`{"op":5,` + toAll + `}`, errIDMissing},
	{`{"op":5,"id":null,` + toAll + `}`, errIDMissing},

	// Names that differ from those of the protocol only in case.
	{`{"Op":3}`, errNameCase},
	{`{"op":3,"OP":3}`, errNameCase},
	{`{"op":3,"\u004fp":2}`, errNameCase},
	{`{"op":3,"Id":"i"}`, errNameCase},
	{`{"op":3,"eVent":1}`, errNameCase},
	{`{"op":3,"DATA":null}`, errNameCase},
	{`{"op":3,"Intent":null}`, errNameCase},
	{`{"op":3,"Sender":"` + client + `"}`, errNameCase},
	{"{\"op\":3,\"\u017fender\":1}", errNameCase},
	{`{"op":0,"intent":{"target":"GLOBAL","Target":"DIRECT"}}`, errIntentNameCase},
	{`{"op":0,"intent":{"target":"ANY","iDentifier":"g"}}`, errIntentNameCase},
	{`{"op":99,"ID":1}`, errNameCase},

	// The intent.
	{`{"op":0}`, errIntentMissing},
	{`{"op":0,"intent":null}`, errIntentMissing},
	{`{"op":5,"id":"i"}`, errIntentMissing},
	{`{"op":0,"intent":"GLOBAL"}`, errIntentType},
	{`{"op":0,"intent":["GLOBAL"]}`, errIntentType},
	{`{"op":3,"intent":0}`, errIntentType},
	{`{"op":0,"intent":{}}`, errTargetMissing},
	{`{"op":0,"intent":{"identifier":"g"}}`, errTargetMissing},
	{`{"op":0,"intent":{"target":null}}`, errTargetType},
	{`{"op":3,"intent":{"target":1}}`, errTargetType},
	{`{"op":0,"intent":{"target":""}}`, errTargetUnknown},
	{`{"op":0,"intent":{"target":"global"}}`, errTargetUnknown},
	{`{"op":0,"intent":{"target":"NONE"}}`, errTargetUnknown},
	{`{"op":0,"intent":{"target":"GLOBAL\u0000"}}`, errTargetUnknown},
	{group(`7`), errIdentifierType},
	{`{"op":3,"intent":{"identifier":{}}}`, errIdentifierType},
	{`{"op":0,"intent":{"target":"GLOBAL","identifier":""}}`, errIdentifierGlobal},
	{`{"op":0,"intent":{"target":"GLOBAL","identifier":"g"}}`, errIdentifierGlobal},
	{`{"op":0,"intent":{"target":"GROUP"}}`, errIdentifierMissing},
	{group(`null`), errIdentifierMissing},
	{`{"op":0,"intent":{"target":"DIRECT"}}`, errIdentifierMissing},
	{`{"op":0,"intent":{"target":"DIRECT","identifier":null}}`, errIdentifierMissing},
	{group(`""`), errIdentifierEmpty},
	{`{"op":0,"intent":{"target":"ANY","identifier":""}}`, errIdentifierEmpty},
	{group(`"` + strings.Repeat("g", 129) + `"`), errIdentifierLength},
	{group(`"$g"`), errIdentifierReserved},
	{group(`"\u0024g"`), errIdentifierReserved},
	{group(`"a\u0000"`), errIdentifierControl},
	{group(`"a\n"`), errIdentifierControl},
	{group("\"a\x7f\""), errIdentifierControl},
	{group(`"\u0085"`), errIdentifierControl},
	{group("\"a\u009f\""), errIdentifierControl},
	{direct(""), errIdentifierUUID},
	{direct("billing"), errIdentifierUUID},
	{direct(client[:35]), errIdentifierUUID},
	{direct(client + "0"), errIdentifierUUID},
	{direct(strings.ReplaceAll(client, "-", "")), errIdentifierUUID},
	{direct("{" + client + "}"), errIdentifierUUID},
	{direct("urn:uuid:" + client), errIdentifierUUID},
	{direct(strings.Replace(client, "f", "g", 1)), errIdentifierUUID},
	{direct(strings.Replace(client, "-", "_", 1)), errIdentifierUUID},

	// A FENCE has no payload and one receiver.
	{fence(`,"data":1`), errFenceMember},
	{fence(`,"event":""`), errFenceMember},
	{fence(`,"note":null`), errFenceMember},
	{fence(`,"sender":"` + client + `"`), errForgedSender},
	{fence(`,"id":""`), errIDLength},
	{`{"op":13}`, errIntentMissing},
	{`{"op":13,"intent":null}`, errIntentMissing},
	{`{"op":13,"intent":{"identifier":"` + client + `"}}`, errTargetMissing},
	{`{"op":13,"intent":{"target":"DIRECT"}}`, errIdentifierMissing},
	{`{"op":13,"intent":{"target":"DIRECT","identifier":"x"}}`, errIdentifierUUID},
	{`{"op":13,` + toAll + `}`, errFenceTarget},
	{`{"op":13,"intent":{"target":"ANY"}}`, errFenceTarget},
	{`{"op":13,"intent":{"target":"GROUP","identifier":"g"}}`, errFenceTarget},
	{`{"op":13,"intent":{"target":"ALL"}}`, errFenceTarget},

	// Several targets, and exceptions.
	{selecting(`"identifiers":[]`), errNamesEmpty},
	{selecting(`"identifiers":["a"],"except":[]`), errNamesEmpty},
	{selecting(`"identifiers":["a","a"]`), errNamesRepeated},
	{selecting(`"identifiers":["a","\u0061"]`), errNamesRepeated},
	{selecting(`"identifiers":["a"],"except":["b","b"]`), errNamesRepeated},
	{selecting(`"identifiers":[` + numberedGroups(17) + `]`), errNamesMany},
	{selecting(`"identifier":"a","except":[` + numberedGroups(17) + `]`), errNamesMany},
	{selecting(`"identifiers":["a"],"identifier":"b"`), errIdentifiersMixed},
	{selecting(`"identifier":"b","identifiers":["a"]`), errIdentifiersMixed},
	{selecting(`"identifiers":["a"],"identifiers":["b"]`), errIntentDuplicate},
	{selecting(`"identifier":"a","except":["b"],"except":["c"]`), errIntentDuplicate},
	{selecting(`"identifiers":["a"],"Except":["b"]`), errIntentNameCase},
	{selecting(`"IDENTIFIERS":["a"]`), errIntentNameCase},
	{selecting(`"identifiers":"a"`), errNamesType},
	{selecting(`"identifiers":{}`), errNamesType},
	{selecting(`"identifiers":[1]`), errNamesType},
	{selecting(`"identifiers":["a",null]`), errNamesType},
	{selecting(`"identifiers":["a",]`), errNamesType},
	{selecting(`"identifiers":["a" "b"]`), errSeparator},
	{selecting(`"identifiers":["a"`), errSeparator},
	{`{"op":0,"intent":{"target":"GROUP","identifiers":["a"`, errTruncated},
	{`{"op":0,"intent":{"target":"GROUP","identifiers":["a",`, errTruncated},
	{selecting(`"identifiers":[""]`), errIdentifierEmpty},
	{selecting(`"identifiers":["a","$b"]`), errIdentifierReserved},
	{selecting(`"identifiers":["a\n"]`), errIdentifierControl},
	{selecting(`"identifier":"a","except":["$b"]`), errIdentifierReserved},
	{selecting(`"except":["b"]`), errIdentifierMissing},
	{selecting(`"identifiers":null`), errIdentifierMissing},
	{`{"op":0,"intent":{"target":"DIRECT","identifiers":["a"]}}`, errIdentifierUUID},
	{`{"op":0,"intent":{"target":"DIRECT","identifiers":["` + client + `","` + strings.ToUpper(client) + `"]}}`, errNamesRepeated},
	{`{"op":0,"intent":{"target":"GLOBAL","identifiers":["a"]}}`, errSelectionTarget},
	{`{"op":0,"intent":{"target":"GLOBAL","identifier":"a","except":["b"]}}`, errIdentifierGlobal},
	{`{"op":0,"intent":{"target":"ANY","identifiers":["a"]}}`, errSelectionTarget},
	{`{"op":0,"intent":{"target":"ANY","identifier":"a","except":["b"]}}`, errSelectionTarget},
	{`{"op":0,"intent":{"target":"ALL","identifiers":["a"]}}`, errTargetUnknown},
	{`{"op":0,"intent":{"identifiers":["a"]}}`, errTargetMissing},
	{`{"op":13,"intent":{"target":"DIRECT","identifiers":["` + client + `"]}}`, errFenceTarget},
	{`{"op":13,"intent":{"target":"DIRECT","identifier":"` + client + `","except":["a"]}}`, errFenceTarget},

	// Well-formed with an op that clients must not send. A malformed message is invalid with any op.
	{`{"op":6,"data":{"code":"NO_RECEIVER","message":""}}`, errOpNotAllowed},
	{`{"op":7}`, errOpNotAllowed},
	{`{"op":12,"data":{"after_ms":0,"reason":"restart"}}`, errOpNotAllowed},
	{`{"op":10}`, errUnknownOp},
	{`{"op":11}`, errUnknownOp},
	{`{"op":16}`, errUnknownOp},
	{`{"op":-13}`, errUnknownOp},
	{`{"op":130}`, errUnknownOp},
	{`{"op":013,` + toAll + `}`, errSeparator},
	{`{"op":150}`, errUnknownOp},
	{`{"op":-1}`, errUnknownOp},
	{`{"op":10}`, errUnknownOp},
	{`{"op":18446744073709551616}`, errUnknownOp},
	{`{"op":` + strings.Repeat("9", 1000) + `}`, errUnknownOp},
	{`{"op":99,"id":7}`, errIDType},
	{`{"op":99,"sender":""}`, errForgedSender},
	{`{"op":99`, errTruncated},
	{`{"op":7,"event":null}`, errEventType},
}
