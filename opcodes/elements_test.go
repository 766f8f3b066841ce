package opcodes

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestElements(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		`[]`: nil, " [ ] ": nil, `[1]`: {"1"}, ` [ {"a":[1,2]} ,"b,]" , null,[] ]` + "\n": {`{"a":[1,2]}`, `"b,]"`, "null", "[]"},
	} {
		var got []string
		if err := Elements([]byte(text), func(e []byte) bool { got = append(got, string(e)); return true }); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v; want %q", text, got, err, want)
		}
	}
	for text, want := range map[string]*ScanError{
		``: errNotArray, `{}`: errNotArray, `1`: errNotArray, `[`: errTruncated, `[1`: errTruncated, `[1,`: errTruncated, `[1,]`: errValue, `[,1]`: errValue,
		`[1 2]`: errSeparator, `[1}`: errSeparator, `[1]]`: errTrailing, `[1]x`: errTrailing, `[{"a"]`: errColon, `["\ud800"]`: errSurrogate,
		strings.Repeat("[", 70): errTooDeep,
	} {
		var got *ScanError
		if err := Elements([]byte(text), func([]byte) bool { return true }); !errors.As(err, &got) || got != want {
			t.Errorf("%.20s: %v, want %v", text, err, want)
		}
	}
	n := 0
	if err := Elements([]byte(`[1,2,x`), func([]byte) bool { n++; return n < 2 }); err != nil || n != 2 {
		t.Errorf("%d elements, %v", n, err)
	}
}

func FuzzElements(f *testing.F) {
	f.Add(`[]`)
	f.Add(` [ {"a":[1,2]} ,"b,]" , null,[] ]`)
	f.Add(`[1,]`)
	f.Fuzz(func(t *testing.T, text string) {
		var got []json.RawMessage
		if Elements([]byte(text), func(e []byte) bool { got = append(got, slices.Clone(e)); return true }) != nil {
			return
		}
		var want []json.RawMessage
		if err := json.Unmarshal([]byte(text), &want); err != nil || len(got) != len(want) {
			t.Fatalf("%d elements; encoding/json has %d, %v", len(got), len(want), err)
		}
		for i := range got {
			if string(got[i]) != string(want[i]) {
				t.Errorf("%d is %s, want %s", i, got[i], want[i])
			}
		}
	})
}

func TestEachMember(t *testing.T) {
	t.Parallel()
	var e Envelope
	if err := e.Scan([]byte(` { "op" : 3 , "a\u0062":[1 ,{}], "data":"x\"y" } `)); err != nil {
		t.Fatal(err)
	}
	var got []string
	e.EachMember(func(name, value []byte) { got = append(got, string(name)+"="+string(value)) })
	if want := []string{"op=3", `a\u0062=[1 ,{}]`, `data="x\"y"`}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestAppendEvent(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`{}`: `{"op":0}`, ` { } `: `{"op":0 } `, `{"a":1}`: `{"op":0,"a":1}`, "\n{ \"a\":1}": `{"op":0, "a":1}`, `{`: `{"op":0,`, ``: "", `[]`: "", `null`: "",
	} {
		if got, ok := AppendEvent(nil, []byte(body)); string(got) != want || ok != (want != "") {
			t.Errorf("%q: %q, %v; want %q", body, got, ok, want)
		}
	}
}
