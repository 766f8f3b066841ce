package packet

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
)

func TestPackets(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in          string
		typ         Type
		namespace   string
		id          string
		name        string
		args        string
		count       int
		attachments int
		data        string
	}{
		{in: "0", typ: Connect, namespace: "/"},
		{in: `0{"token":"abc"}`, typ: Connect, namespace: "/", data: `{"token":"abc"}`},
		{in: `0/admin,{"token":"abc"}`, typ: Connect, namespace: "/admin", data: `{"token":"abc"}`},
		{in: "0/admin", typ: Connect, namespace: "/admin"},
		{in: "0/admin,", typ: Connect, namespace: "/admin"},
		{in: "1", typ: Disconnect, namespace: "/"},
		{in: "1/admin,", typ: Disconnect, namespace: "/admin"},
		{in: `2["foo"]`, typ: Event, namespace: "/", name: `"foo"`, data: `["foo"]`},
		{in: `2/admin,["bar"]`, typ: Event, namespace: "/admin", name: `"bar"`, data: `["bar"]`},
		{in: `212["foo",1,"2",{"3":[true]}]`, typ: Event, namespace: "/", id: "12", name: `"foo"`, args: `1,"2",{"3":[true]}`, count: 3, data: `["foo",1,"2",{"3":[true]}]`},
		{in: `2[ "a" , 1 , 2 ]`, typ: Event, namespace: "/", name: `"a"`, args: `1 , 2`, count: 2, data: `[ "a" , 1 , 2 ]`},
		{in: `2["n",12345678901234567890]`, typ: Event, namespace: "/", name: `"n"`, args: `12345678901234567890`, count: 1, data: `["n",12345678901234567890]`},
		{in: `3/admin,13["bar"]`, typ: Ack, namespace: "/admin", id: "13", args: `"bar"`, count: 1, data: `["bar"]`},
		{in: `30[]`, typ: Ack, namespace: "/", id: "0", data: `[]`},
		{in: `51-["baz",{"_placeholder":true,"num":0}]`, typ: BinaryEvent, namespace: "/", name: `"baz"`, args: `{"_placeholder":true,"num":0}`, count: 1, attachments: 1, data: `["baz",{"_placeholder":true,"num":0}]`},
		{in: `510-["baz"]`, typ: BinaryEvent, namespace: "/", name: `"baz"`, attachments: 10, data: `["baz"]`},
		{in: `61-/admin,15["bar",{"_placeholder":true,"num":0}]`, typ: BinaryAck, namespace: "/admin", id: "15", args: `"bar",{"_placeholder":true,"num":0}`, count: 2, attachments: 1, data: `["bar",{"_placeholder":true,"num":0}]`},
	} {
		var p Packet
		if err := p.Parse([]byte(c.in)); err != nil {
			t.Errorf("%s: %v", c.in, err)
			continue
		}
		if p.Type != c.typ || string(p.Namespace) != c.namespace || string(p.ID) != c.id || string(p.Name) != c.name ||
			string(p.Args) != c.args || p.Count != c.count || p.Attachments != c.attachments || string(p.Data) != c.data {
			t.Errorf("%s: %c namespace %s id %s name %s args %s (%d), %d attachments, data %s",
				c.in, p.Type, p.Namespace, p.ID, p.Name, p.Args, p.Count, p.Attachments, p.Data)
		}
	}
}

func TestFirst(t *testing.T) {
	t.Parallel()
	for in, want := range map[string][2]string{
		`2["e"]`:                {"", ""},
		`2["e",1]`:              {"1", ""},
		`2["e", {"a":1} , 2,3]`: {`{"a":1}`, "2,3"},
	} {
		var p Packet
		if err := p.Parse([]byte(in)); err != nil {
			t.Fatal(err)
		}
		if first, rest := p.First(); string(first) != want[0] || string(rest) != want[1] {
			t.Errorf("%s: %q and %q, want %q", in, first, rest, want)
		}
	}
}

func TestWhatIsNoPacket(t *testing.T) {
	t.Parallel()
	for _, in := range []string{
		"", "abc", "7", "4", `4{"message":"x"}`, // a server's
		"0[]", `0"x"`, "0{", `0{"a":1}x`, `0{"a":1,"a":`, "012", // CONNECT
		"1{}", "112", "1x", // DISCONNECT
		"2", "2{}", "2[]", "2[1]", "2[null]", `2["a"`, `2["a"]x`, `2["a",]`, `2["a" 1]`, `2abc["a"]`, `2-1["a"]`, // EVENT
		"2\xff[\"a\"]", "2[\"\xff\"]", `2["\ud800"]`, `2["a",01]`, `2["a",NaN]`,
		`21234567890123456["a"]`,        // an id of 16 digits
		"3[]", "3", `3{}`, `31{}`, `31`, // ACK
		`5["a"]`, `5-["a"]`, `5a-["a"]`, `511-["a"]`, `5111-["a"]`, `51`, `5-1-["a"]`, `6["a"]`, `61-["a"]`, // attachments
		"0/" + strings.Repeat("n", MaxNamespaceBytes),                      // a long namespace
		`2["a",` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + "]", // too deep
	} {
		var p Packet
		if err := p.Parse([]byte(in)); err == nil {
			t.Errorf("%.60q is taken for a packet: %+v", in, p)
		}
	}
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		typ         Type
		attachments int
		namespace   string
		id          string
		want        string
	}{
		{Event, 0, "", "", "2"}, {Event, 0, "/", "12", "212"}, {Ack, 0, "/admin", "13", "3/admin,13"}, {BinaryEvent, 1, "/", "", "51-"},
		{BinaryAck, 10, "/admin", "15", "610-/admin,15"}, {ConnectError, 0, "/random", "", "4/random,"},
	} {
		if got := AppendHeader(nil, c.typ, c.attachments, c.namespace, []byte(c.id)); string(got) != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
}

func TestBinaryGoesInAndOut(t *testing.T) {
	t.Parallel()
	one, two := []byte{1, 2, 3}, []byte("\x00\xff")
	for _, c := range []struct {
		values      string
		attachments [][]byte
		want        string
	}{
		{`{"_placeholder":true,"num":0}`, [][]byte{one}, `{"$binary":"AQID"}`},
		{`{"num":0,"_placeholder":true}`, [][]byte{one}, `{"$binary":"AQID"}`},
		{`{ "_placeholder" : true , "num" : 0 }`, [][]byte{one}, `{"$binary":"AQID"}`},
		{`{"_pl\u0061ceholder":true,"num":0}`, [][]byte{one}, `{"$binary":"AQID"}`},
		{`1,{"a":[{"_placeholder":true,"num":1}]},"_placeholder",{"_placeholder":true,"num":0},2`, [][]byte{one, two}, `1,{"a":[{"$binary":"AP8="}]},"_placeholder",{"$binary":"AQID"},2`},
		{`{"num":7}`, nil, `{"num":7}`},
		{`{"num":7,"x":1},{"num":1.5},{"num":-0}`, nil, `{"num":7,"x":1},{"num":1.5},{"num":-0}`},
		{``, nil, ``},
	} {
		got, err := Inline(nil, []byte(c.values), c.attachments)
		if err != nil || string(got) != c.want {
			t.Errorf("%s: %s, %v; want %s", c.values, got, err, c.want)
			continue
		}
		out, attachments := Outline(nil, got)
		again, err := Inline(nil, out, attachments)
		if err != nil || string(again) != c.want || len(attachments) != len(c.attachments) {
			t.Errorf("%s: out as %s with %d attachments, and in as %s, %v", got, out, len(attachments), again, err)
		}
	}
}

func TestPlaceholdersMustBeExact(t *testing.T) {
	t.Parallel()
	two := [][]byte{{1}, {2}}
	for _, c := range []struct {
		values      string
		attachments [][]byte
	}{
		{`{"_placeholder":true,"num":0}`, nil},
		{`{"_placeholder":true,"num":0}`, two},
		{`{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}`, two},
		{`{"_placeholder":true,"num":2},{"_placeholder":true,"num":0}`, two},
		{`{"_placeholder":true,"num":0},{"_placeholder":true,"num":1},{"_placeholder":true,"num":1}`, two},
		{`{"_placeholder":true,"num":1.0},{"_placeholder":true,"num":0}`, two},
		{`{"_placeholder":true,"num":-1},{"_placeholder":true,"num":0}`, two},
		{`{"_placeholder":true,"num":"1"},{"_placeholder":true,"num":0}`, two},
		{`{"_placeholder":true,"num":4294967297},{"_placeholder":true,"num":0}`, two},
		{`{"_placeholder":true,"num":0,"x":1},{"_placeholder":true,"num":1}`, two},
		{`{"_placeholder":true}`, nil}, {`{"_placeholder":false,"num":0}`, nil}, {`{"x":1,"_placeholder":true,"num":0}`, nil},
		{`{"x":{"_placeholder":1}}`, nil}, {`{"_\u0070laceholder":true,"num":0}`, nil}, {`{"num":0,"_placeholder":true,"x":1}`, [][]byte{{1}}},
		{`{"num":0,"num":0}`, [][]byte{{1}}}, {`{"_placeholder":trueish}`, nil},
	} {
		if !json.Valid([]byte("["+c.values+"]")) && !strings.Contains(c.values, "trueish") {
			t.Fatalf("%s is no JSON", c.values)
		}
		if got, err := Inline(nil, []byte(c.values), c.attachments); err == nil {
			t.Errorf("%s with %d attachments: %s", c.values, len(c.attachments), got)
		}
	}
}

func TestWhatIsNoBinaryStays(t *testing.T) {
	t.Parallel()
	for _, values := range []string{
		`{"$binary":"AQI"}`, `{"$binary":"AQID","x":1}`, `{"x":1,"$binary":"AQID"}`, `{"$binary":1}`, `{"$binary":["AQID"]}`, `"$binary"`, `{}`, `[]`, ``,
		`{"$binary":"AQ\u0049D"}`, `{"$binary":null}`,
	} {
		if out, attachments := Outline(nil, []byte(values)); string(out) != values || len(attachments) != 0 {
			t.Errorf("%s came out as %s with %d attachments", values, out, len(attachments))
		}
	}
	many := strings.TrimSuffix(strings.Repeat(`{"$binary":"AQID"},`, MaxAttachments+2), ",")
	if out, attachments := Outline(nil, []byte(many)); len(attachments) != MaxAttachments || strings.Count(string(out), `"$binary"`) != 2 {
		t.Errorf("of %d there are %d attachments: %s", MaxAttachments+2, len(attachments), out)
	}
}

func TestParseAllocatesNothing(t *testing.T) {
	in := []byte(`212["order.created",{"total":12.5,"lines":[{"sku":"a","n":1},{"sku":"b","n":2}]},"second"]`)
	var p Packet
	if n := testing.AllocsPerRun(1000, func() {
		if p.Parse(in) != nil {
			t.Error("refused")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzPacket(f *testing.F) {
	for _, seed := range []string{"0", `0/a,{"t":1}`, `212["foo",1,"2",{"3":[true]}]`, `51-["baz",{"_placeholder":true,"num":0}]`, `61-/a,15["b"]`, `2[ "a" , 1 ]`, "1", `30[]`} {
		f.Add([]byte(seed), []byte{1, 2, 3})
	}
	f.Fuzz(func(t *testing.T, in, attachment []byte) {
		var p Packet
		if p.Parse(in) != nil {
			return
		}
		if len(p.Data) > 0 && !json.Valid(p.Data) {
			t.Fatalf("%q has data that are no JSON: %q", in, p.Data)
		}
		if p.IsEvent() || p.IsAck() {
			var all []json.RawMessage
			if err := json.Unmarshal(p.Data, &all); err != nil {
				t.Fatal(err)
			}
			want := len(all)
			if p.IsEvent() {
				want--
			}
			if p.Count != want || want > 0 && !json.Valid([]byte("["+string(p.Args)+"]")) {
				t.Fatalf("%q: %d arguments %q, want %d", in, p.Count, p.Args, want)
			}
		}
		attachments := make([][]byte, p.Attachments)
		for i := range attachments {
			attachments[i] = attachment
		}
		inlined, err := Inline(nil, p.Args, attachments)
		if err != nil {
			return
		}
		if p.Count > 0 && !json.Valid([]byte("["+string(inlined)+"]")) {
			t.Fatalf("%q inlined is %q", in, inlined)
		}
		if n := strings.Count(string(inlined), base64.StdEncoding.EncodeToString(attachment)); n < p.Attachments {
			t.Fatalf("%q has %d of %d attachments", inlined, n, p.Attachments)
		}
		if out, _ := Outline(nil, inlined); p.Count > 0 && !json.Valid([]byte("["+string(out)+"]")) {
			t.Fatalf("%q outlined is %q", inlined, out)
		}
	})
}
