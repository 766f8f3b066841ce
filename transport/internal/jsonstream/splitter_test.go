package jsonstream

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"unsafe"
)

// split feeds stream to a splitter as a listener does, the bytes up to each cut arriving before those behind it. It
// returns the values, what is left of one that is not complete, and the error.
func split(stream []byte, cuts ...int) (values []string, rest string, err error) {
	var s Splitter
	var buf []byte
	from := 0
	for _, to := range append(cuts, len(stream)) {
		buf = append(buf, stream[from:to]...)
		from = to
		for {
			start, end, ok, err := s.Next(buf)
			if err != nil {
				return values, "", err
			}
			if !ok {
				if end != len(buf) {
					panic("bytes were left unused")
				}
				buf = buf[start:]
				break
			}
			values = append(values, string(buf[start:end]))
			buf = buf[end:]
		}
	}
	return values, string(buf), nil
}

// deep returns an object in which n levels are open at once, itself included.
func deep(n int, open, closing string) string {
	return `{"a":` + strings.Repeat(open, n-1) + strings.Repeat(closing, n-1) + `}`
}

var streams = []struct {
	name, stream string
	values       []string
	rest         string
	err          error
}{
	{"nothing", "", nil, "", nil},
	{"white space", " \t\r\n", nil, "", nil},
	{"one", `{"op":3}`, []string{`{"op":3}`}, "", nil},
	{"empty object", `{}`, []string{`{}`}, "", nil},
	{"no delimiter", `{"op":3}{"op":4}{}`, []string{`{"op":3}`, `{"op":4}`, `{}`}, "", nil},
	{"lines", "{\"op\":3}\n{\"op\":4}\r\n\n", []string{`{"op":3}`, `{"op":4}`}, "", nil},
	{"white space inside", " {\n \"op\" : 3 }\t", []string{"{\n \"op\" : 3 }"}, "", nil},
	{"nested", `{"a":[{"b":[[],{}]},1],"c":{}}{}`, []string{`{"a":[{"b":[[],{}]},1],"c":{}}`, `{}`}, "", nil},
	{"brackets in strings", `{"}]":"{[}}]]"}{}`, []string{`{"}]":"{[}}]]"}`, `{}`}, "", nil},
	{"escapes", `{"a\"}":"\\"}{"\\\"":"\u007d\\\\"}`, []string{`{"a\"}":"\\"}`, `{"\\\"":"\u007d\\\\"}`}, "", nil},
	{"quotes at each place of a word", `{"1":"","12":"\"","123":"a\"","1234567":"12345678\"","12345678":"\\12345678\\"}`,
		[]string{`{"1":"","12":"\"","123":"a\"","1234567":"12345678\"","12345678":"\\12345678\\"}`}, "", nil},
	{"bytes that look like the next to a quote", "{\"!#[]\xa2\xdc\x22:1}{}", []string{"{\"!#[]\xa2\xdc\x22:1}", "{}"}, "", nil},
	{"other scripts", `{"名":"值😀"}`, []string{`{"名":"值😀"}`}, "", nil},
	{"not JSON, but an object", `{a:'}`, []string{`{a:'}`}, "", nil},
	{"open", `{"op":3}  {"op":`, []string{`{"op":3}`}, `{"op":`, nil},
	{"open string", `{"op":"}`, nil, `{"op":"}`, nil},
	{"open escape", `{"op":"\`, nil, `{"op":"\`, nil},
	{"as deep as can be", deep(65, "[", "]"), []string{deep(65, "[", "]")}, "", nil},
	{"as deep as can be, of both kinds", deep(33, `[{"":`, `}]`), []string{deep(33, `[{"":`, `}]`)}, "", nil},

	{"array", `[]`, nil, "", ErrNotObject},
	{"number", ` 1`, nil, "", ErrNotObject},
	{"string", `"{}"`, nil, "", ErrNotObject},
	{"comma between values", `{},{}`, []string{`{}`}, "", ErrNotObject},
	{"byte order mark", "\xef\xbb\xbf{}", nil, "", ErrNotObject},
	{"NUL behind a value", "{}\x00", []string{`{}`}, "", ErrNotObject},
	{"a request", "GET / HTTP/1.1\r\n\r\n", nil, "", ErrNotObject},
	{"closing alone", `}`, nil, "", ErrNotObject},
	{"array ends object", `{]`, nil, "", ErrMismatch},
	{"object ends array", `{"a":[}`, nil, "", ErrMismatch},
	{"array ends inner object", `{"a":[{"b":1]}`, nil, "", ErrMismatch},
	{"too deep", deep(66, "[", "]"), nil, "", ErrTooDeep},
	{"objects too deep", deep(66, `{"a":`, "}"), nil, "", ErrTooDeep},
}

func TestSplit(t *testing.T) {
	t.Parallel()
	for _, tc := range streams {
		b := []byte(tc.stream)
		check := func(cuts ...int) {
			t.Helper()
			values, rest, err := split(b, cuts...)
			if !slices.Equal(values, tc.values) || rest != tc.rest || !errors.Is(err, tc.err) {
				t.Errorf("%s, cut at %v: %q, %q, %v; want %q, %q, %v", tc.name, cuts, values, rest, err, tc.values, tc.rest, tc.err)
			}
		}
		check()
		var each []int
		for i := range b {
			each = append(each, i)
			check(i)
			for j := i; j < len(b); j += 7 {
				check(i, j)
			}
		}
		check(each...)
	}
}

// The size of a value is known while it grows, so that a limit can be kept.
func TestSplitPendingSize(t *testing.T) {
	t.Parallel()
	var s Splitter
	b := []byte("  {\"a\":\"")
	start, end, ok, err := s.Next(b)
	if start != 2 || end != len(b) || ok || err != nil {
		t.Fatal(start, end, ok, err)
	}
	for range 3 {
		b = append(b[start:], bytes.Repeat([]byte("x"), 1000)...)
		if start, end, ok, err = s.Next(b); start != 0 || end != len(b) || ok || err != nil {
			t.Fatal(start, end, ok, err)
		}
	}
}

func TestSplitBudget(t *testing.T) {
	if n := unsafe.Sizeof(Splitter{}); n > 16 {
		t.Errorf("a Splitter has %d bytes, want 16 at most", n)
	}
	b := []byte(`{"op":0,"event":"x\"y","data":[1,{"a":[true]}]} `)
	var s Splitter
	if n := testing.AllocsPerRun(100, func() {
		if _, _, ok, _ := s.Next(b); !ok {
			t.Fatal("no value")
		}
	}); n != 0 {
		t.Errorf("Next allocates %v times", n)
	}
}

func BenchmarkSplit(b *testing.B) {
	for _, bm := range []struct{ name, value string }{
		{"event", `{"id":"01890a5d-ac96-774b-bcce-b302099a8057","op":0,"event":"user.updated","data":{"id":4711,"name":"Ada Lovelace",` +
			`"mail":"ada@example.com","tags":["a","b"],"active":true},"intent":{"target":"GROUP","identifier":"workers"}}`},
		{"text", `{"op":0,"data":"` + strings.Repeat("All work and no play makes Jack a dull boy. ", 700) + `"}`},
		{"numbers", `{"op":0,"data":[` + strings.Repeat("1234.5,", 4000) + `0]}`},
		{"escapes", `{"op":0,"data":"` + strings.Repeat(`\"a\": \"b\", `, 2000) + `"}`},
	} {
		b.Run(bm.name, func(b *testing.B) {
			p := []byte(bm.value)
			b.SetBytes(int64(len(p)))
			b.ReportAllocs()
			var s Splitter
			for b.Loop() {
				if _, end, ok, err := s.Next(p); !ok || err != nil || end != len(p) {
					b.Fatal(end, ok, err)
				}
			}
		})
	}
}

// FuzzSplit asks of any bytes, cut anywhere: the cut makes no difference, nothing but white space is lost, and
// encoding/json finds the same values as long as they are valid.
func FuzzSplit(f *testing.F) {
	for _, tc := range streams {
		f.Add([]byte(tc.stream), uint16(len(tc.stream)/2), uint16(len(tc.stream)))
	}
	f.Fuzz(func(t *testing.T, b []byte, cut1, cut2 uint16) {
		values, rest, err := split(b)
		i, j := min(int(cut1), int(cut2), len(b)), min(max(int(cut1), int(cut2)), len(b))
		gotValues, gotRest, gotErr := split(b, i, j)
		if !slices.Equal(gotValues, values) || gotRest != rest || gotErr != err {
			t.Fatalf("cut at %d and %d: %q, %q, %v; at once: %q, %q, %v", i, j, gotValues, gotRest, gotErr, values, rest, err)
		}
		left := b
		for _, v := range values {
			left = left[SkipSpace(left):]
			if !bytes.HasPrefix(left, []byte(v)) {
				t.Fatalf("%q is not the beginning of %q", v, left)
			}
			left = left[len(v):]
		}
		if left = left[SkipSpace(left):]; err == nil && string(left) != rest {
			t.Fatalf("%q is left, want %q", rest, left)
		}
		dec := json.NewDecoder(bytes.NewReader(b))
		for n := 0; ; n++ {
			var want json.RawMessage
			if dec.Decode(&want) != nil || want[0] != '{' {
				return
			}
			if n == len(values) {
				if errors.Is(err, ErrTooDeep) {
					return
				}
				t.Fatalf("%q was not found", want)
			}
			if values[n] != string(want) {
				t.Fatalf("value %d is %q, want %q", n, values[n], want)
			}
		}
	})
}
