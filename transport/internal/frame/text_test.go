package frame

import (
	"bytes"
	"testing"
	"unicode/utf8"
)

// fails returns how many bytes of b a Text takes until it refuses, cutting b into pieces of the given size; -1 if it takes
// all of them and they are complete, and len(b) if they are not.
func fails(b []byte, size int) int {
	var t Text
	for i := 0; i < len(b); i += size {
		if end := min(i+size, len(b)); !t.Append(b[i:end]) {
			return end
		}
	}
	if !t.Complete() {
		return len(b)
	}
	return -1
}

func TestTextFailsAtOnce(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text string
		at   int // behind the byte that makes it invalid; -1 if it is valid
	}{
		{"", -1}, {"a", -1}, {"\u00e9\u20ac\U0001f600", -1}, {"\x7f\u0080\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff", -1},
		{"\x80", 1}, {"a\xff", 2}, {"\xc0\xaf", 1}, {"\xc1", 1}, {"\xf5", 1}, // never in UTF-8
		{"\xc3a", 2}, {"\xe2\x82a", 3}, {"\xf0\x9f\x98a", 4}, // cut by the next character
		{"\xe0\x9f", 2}, {"\xf0\x8f", 2}, // longer than it need be
		{"\xed\xa0", 2}, {"\xf4\x90", 2}, // half of a surrogate pair; beyond U+10FFFF
		{"\xc3", 1}, {"\xe2\x82", 2}, {"a\xf0\x9f\x98", 4}, // incomplete
		{"\u03ba\u1f79\u03c3\u03bc\u03b5\xf4\x90\x80\x80edited", 13}, // Autobahn 6.4
	} {
		if got := fails([]byte(tt.text), 1); got != tt.at {
			t.Errorf("%q fails behind %d bytes, want %d", tt.text, got, tt.at)
		}
	}
}

// FuzzText: however the bytes are cut, they are valid if utf8.Valid says so, and an invalid piece fails by itself.
func FuzzText(f *testing.F) {
	for _, s := range []string{"", "a\u00e9\u20ac\U0001f600", "\xf4\x90\x80\x80", "\xe2\x82", "\xf0\x9f\x98\xf0"} {
		f.Add([]byte(s), uint8(1))
		f.Add([]byte(s), uint8(3))
	}
	f.Fuzz(func(t *testing.T, b []byte, size uint8) {
		at := fails(b, int(size)%8+1)
		if (at < 0) != utf8.Valid(b) {
			t.Fatalf("%q in pieces of %d: %d", b, size%8+1, at)
		}
		first := fails(b, 1)
		if first < 0 || first == len(b) {
			return
		}
		for _, more := range [][]byte{nil, {0x80}, {0x80, 0x80}, {0x80, 0x80, 0x80}, {0x90, 0x80, 0x80}, {0xa0, 0x80}} {
			if utf8.Valid(bytes.Join([][]byte{b[:first], more}, nil)) {
				t.Fatalf("%q was refused, and %x makes it valid", b[:first], more)
			}
		}
	})
}
