package rtm_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mastersocket/mastersocket/services/team/rtm"
)

var compareIDs = cmp.Comparer(func(a, b rtm.ID) bool { return a == b })

// frames drive tests of Parse and Append: Append writes each exactly so.
var frames = []struct {
	text  string
	frame rtm.Frame
}{
	{`{"type":"hello"}`, rtm.Frame{Type: rtm.Hello}},
	{`{"type":"goodbye"}`, rtm.Frame{Type: rtm.Goodbye}},
	{`{"type":"team.join","team_id":1}`, rtm.Frame{Type: rtm.TeamJoin, TeamID: rtm.IntID(1)}},
	{`{"type":"team.join","team_id":"1"}`, rtm.Frame{Type: rtm.TeamJoin, TeamID: rtm.StringID("1")}},
	{`{"type":"team.join","team_id":-7}`, rtm.Frame{Type: rtm.TeamJoin, TeamID: rtm.IntID(-7)}},
	{`{"type":"team.left","team_id":"ä\"b"}`, rtm.Frame{Type: rtm.TeamLeft, TeamID: rtm.StringID(`ä"b`)}},
	{`{"type":"team.left"}`, rtm.Frame{Type: rtm.TeamLeft}},
	{`{"type":"team.connect","team_id":1}`, rtm.Frame{Type: rtm.TeamConnect, TeamID: rtm.IntID(1)}},
	{`{"type":"team.connect","team_id":1,"ws_url":"http://localhost:8080/connect/to/team"}`,
		rtm.Frame{Type: rtm.TeamConnect, TeamID: rtm.IntID(1), WSURL: "http://localhost:8080/connect/to/team"}},
	{`{"type":"message","text":""}`, rtm.Frame{Type: rtm.Message}},
	{`{"type":"message","text":"props to <you> & \u0001\n"}`, rtm.Frame{Type: rtm.Message, Text: "props to <you> & \x01\n"}},
	{`{"type":"ping","unique_id":7}`, rtm.Frame{Type: rtm.Ping, UniqueID: rtm.IntID(7)}},
	{`{"type":"pong","unique_id":"x"}`, rtm.Frame{Type: rtm.Pong, UniqueID: rtm.StringID("x")}},
	{`{"type":"error","message":"no"}`, rtm.Frame{Type: rtm.Error, Text: "no"}},
	{`{"type":"error","team_id":3,"message":"no","received_message":{"a": [1.0,null]}}`,
		rtm.Frame{Type: rtm.Error, TeamID: rtm.IntID(3), Text: "no", Received: []byte(`{"a": [1.0,null]}`)}},
	{`{"type":"error","message":"","received_message":null}`, rtm.Frame{Type: rtm.Error, Received: []byte("null")}},
	{`{"type":"healthcheck"}`, rtm.Frame{Type: rtm.Healthcheck}},
	{`{"type":"healthcheck","stats":[]}`, rtm.Frame{Type: rtm.Healthcheck, Stats: []rtm.Stat{}}},
	{`{"type":"healthcheck","stats":[{"id":1,"connected":true,"message_count":100,"props_count":10},` +
		`{"id":"b","connected":false,"message_count":18446744073709551615,"props_count":0}]}`,
		rtm.Frame{Type: rtm.Healthcheck, Stats: []rtm.Stat{
			{ID: rtm.IntID(1), Connected: true, MessageCount: 100, PropsCount: 10},
			{ID: rtm.StringID("b"), MessageCount: 1<<64 - 1},
		}}},
}

func TestFrames(t *testing.T) {
	t.Parallel()
	for _, tc := range frames {
		got, err := rtm.Parse([]byte(tc.text))
		if err != nil {
			t.Errorf("Parse(%s): %v", tc.text, err)
		} else if diff := cmp.Diff(tc.frame, got, compareIDs); diff != "" {
			t.Errorf("Parse(%s): %s", tc.text, diff)
		}
		if text := string(tc.frame.Append([]byte("x"))); text != "x"+tc.text {
			t.Errorf("Append = %s\nwant     %s", text[1:], tc.text)
		}
	}
}

// lenient are frames that Parse accepts and Append writes in another form.
var lenient = []struct {
	text  string
	frame rtm.Frame
}{
	{" {\n\"team_id\" : 12345678901234567890123 , \"type\":\"team.join\", \"x\":{\"y\":[]} }\t", rtm.Frame{Type: rtm.TeamJoin, TeamID: id("12345678901234567890123")}},
	{`{"type":"\u0068ello"}`, rtm.Frame{Type: rtm.Hello}},
	{`{"type":"message","text":"a\ud83d\ude00\/","team_id":false}`, rtm.Frame{Type: rtm.Message, Text: "a😀/"}},
	{`{"type":"team.left","team_id":null}`, rtm.Frame{Type: rtm.TeamLeft}},
	{`{"type":"team.connect","team_id":1,"ws_url":null}`, rtm.Frame{Type: rtm.TeamConnect, TeamID: rtm.IntID(1)}},
	{`{"type":"hello","type2":1,"text":5,"stats":7}`, rtm.Frame{Type: rtm.Hello}},
	{`{"type":"hello","Type":"goodbye"}`, rtm.Frame{Type: rtm.Hello}},
	{`{"type":"healthcheck","stats":null}`, rtm.Frame{Type: rtm.Healthcheck}},
	{`{"type":"healthcheck","stats":[{"id":1,"more":1}]}`, rtm.Frame{Type: rtm.Healthcheck, Stats: []rtm.Stat{{ID: rtm.IntID(1)}}}},
}

func id(text string) rtm.ID {
	v, err := rtm.ParseID([]byte(text))
	if err != nil {
		panic(err)
	}
	return v
}

func TestLenient(t *testing.T) {
	t.Parallel()
	for _, tc := range lenient {
		got, err := rtm.Parse([]byte(tc.text))
		if diff := cmp.Diff(tc.frame, got, compareIDs); err != nil || diff != "" {
			t.Errorf("Parse(%s): %v %s", tc.text, err, diff)
		}
	}
}

// malformed are texts that Parse refuses.
var malformed = []string{
	"", " ", "null", "1", `"hello"`, "[]", "{}", "{", `{"type":"hello"`, `{"type":"hello"}}`, `{"type":"hello"} x`,
	`{"type":"hello"}{"type":"hello"}`, "\xef\xbb\xbf" + `{"type":"hello"}`, `{"type":"hello",}`, `{'type':'hello'}`, `{type:"hello"}`,
	`{"type":null}`, `{"type":1}`, `{"type":["hello"]}`, `{"type":""}`, `{"type":"` + strings.Repeat("x", 65) + `"}`, `{"Type":"hello"}`,
	`{"type":"hello","type":"hello"}`, `{"type":"hello","x":{"a":1,"a":2}}`, "{\"type\":\"hello\xff\"}", "{\"type\":\"hello\",\"x\":\"\xc3\"}",
	`{"type":"message"}`, `{"type":"message","text":null}`, `{"type":"message","text":1}`, `{"type":"message","text":["x"]}`,
	`{"type":"message","text":"\ud800"}`, "{\"type\":\"message\",\"text\":\"a\nb\"}",
	`{"type":"team.join"}`, `{"type":"team.join","team_id":null}`, `{"type":"team.join","team_id":1.0}`, `{"type":"team.join","team_id":1e3}`,
	`{"type":"team.join","team_id":-0}`, `{"type":"team.join","team_id":""}`, `{"type":"team.join","team_id":true}`, `{"type":"team.join","team_id":{}}`,
	`{"type":"team.join","team_id":"a\u0000"}`, `{"type":"team.join","team_id":"a\u007f"}`, `{"type":"team.join","team_id":"a\u0085"}`,
	`{"type":"team.join","team_id":"` + strings.Repeat("x", 121) + `"}`, `{"type":"team.join","team_id":` + strings.Repeat("1", 121) + `}`,
	`{"type":"team.left","team_id":[]}`, `{"type":"team.connect"}`, `{"type":"team.connect","team_id":1,"ws_url":5}`,
	`{"type":"ping"}`, `{"type":"ping","unique_id":{}}`, `{"type":"pong","unique_id":null}`,
	`{"type":"error","message":1}`, `{"type":"error","message":"x","team_id":1.5}`,
	`{"type":"healthcheck","stats":{}}`, `{"type":"healthcheck","stats":[1]}`, `{"type":"healthcheck","stats":[{}]}`,
	`{"type":"healthcheck","stats":[{"id":1,"message_count":-1}]}`, `{"type":"healthcheck","stats":[{"id":1,"connected":1}]}`,
	`{"type":"healthcheck","stats":[{"id":1,"message_count":18446744073709551616}]}`,
	`{"type":"hello","x":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`,
}

func TestMalformed(t *testing.T) {
	t.Parallel()
	for _, text := range malformed {
		if f, err := rtm.Parse([]byte(text)); !errors.Is(err, rtm.ErrMalformed) {
			t.Errorf("Parse(%.100s) = %+v, %v; want ErrMalformed", text, f, err)
		}
	}
	f, err := rtm.Parse([]byte(`{"type":"team.gone","team_id":1}`))
	if !errors.Is(err, rtm.ErrUnknownType) || f.Type != "team.gone" || !f.TeamID.IsZero() {
		t.Errorf("unknown type: %+v, %v", f, err)
	}
}

func TestIDs(t *testing.T) {
	t.Parallel()
	if rtm.IntID(1) == rtm.StringID("1") || rtm.IntID(1).String() != rtm.StringID("1").String() {
		t.Error(`1 and "1" must be two ids with the same text`)
	}
	if id(`"A"`) != id(`"\u0041"`) {
		t.Error("two spellings of one string are two ids")
	}
	if !rtm.IntID(-5).IsInteger() || rtm.StringID("5").IsInteger() || !(rtm.ID{}).IsZero() {
		t.Error("IsInteger or IsZero is wrong")
	}
	if got := string(rtm.StringID("\xff").Append(nil)); got != `"`+"\ufffd"+`"` {
		t.Errorf("invalid UTF-8 is written as %s", got)
	}
	var v rtm.ID
	if err := v.UnmarshalJSON([]byte("null")); err != nil || !v.IsZero() || string(v.Append(nil)) != "null" {
		t.Errorf("null: %v %v", v, err)
	}
}

// FuzzParse: an accepted frame is the same after Append and Parse.
func FuzzParse(f *testing.F) {
	for _, tc := range frames {
		f.Add([]byte(tc.text))
	}
	for _, tc := range lenient {
		f.Add([]byte(tc.text))
	}
	for _, text := range malformed {
		if len(text) < 1000 {
			f.Add([]byte(text))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		frame, err := rtm.Parse(data)
		if err != nil {
			if !errors.Is(err, rtm.ErrMalformed) && !errors.Is(err, rtm.ErrUnknownType) {
				t.Fatalf("Parse(%q): %v", data, err)
			}
			return
		}
		text := frame.Append(nil)
		again, err := rtm.Parse(text)
		if err != nil {
			t.Fatalf("%q was written as %q: %v", data, text, err)
		}
		if diff := cmp.Diff(frame, again, compareIDs); diff != "" {
			t.Fatalf("%q was written as %q: %s", data, text, diff)
		}
	})
}

// FuzzID: an accepted id is written as it was read, apart from the escapes in strings.
func FuzzID(f *testing.F) {
	for _, s := range []string{`1`, `"1"`, `-12`, `"\u0041"`, `0`, `-0`, `1e3`, `""`, `"`, `null`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := rtm.ParseID(data)
		if err != nil {
			return
		}
		text := v.Append(nil)
		if again, err := rtm.ParseID(text); err != nil || again != v {
			t.Fatalf("%q became %q: %v, %v", data, text, again, err)
		}
		if v.IsInteger() && string(text) != string(data) {
			t.Fatalf("integer %q became %q", data, text)
		}
	})
}

func BenchmarkParseMessage(b *testing.B) {
	msg := []byte(`{"type":"message","text":"` + strings.Repeat("props ", 20) + `"}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := rtm.Parse(msg); err != nil {
			b.Fatal(err)
		}
	}
}
