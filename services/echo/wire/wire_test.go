package wire

import (
	"bytes"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for frame, want := range map[string]struct {
		kind Kind
		text string
	}{
		"message hello":            {Message, "hello"},
		"ok hello":                 {OK, "hello"},
		"message ":                 {Message, ""},
		"ok ":                      {OK, ""},
		"message  x ":              {Message, " x "},
		"message a\nb\r\n\x00":     {Message, "a\nb\r\n\x00"},
		"ok größe \U0001F600":      {OK, "größe \U0001F600"},
		"message ok x":             {Message, "ok x"},
		"message message x":        {Message, "message x"},
		"":                         {Invalid, ""},
		"message":                  {Invalid, ""},
		"ok":                       {Invalid, ""},
		"OK x":                     {Invalid, ""},
		"Message x":                {Invalid, ""},
		" message x":               {Invalid, ""},
		"message\tx":               {Invalid, ""},
		"okx":                      {Invalid, ""},
		"messages x":               {Invalid, ""},
		`{"op":0}`:                 {Invalid, ""},
		strings.Repeat("ok", 1000): {Invalid, ""},
	} {
		kind, text := Parse([]byte(frame))
		if kind != want.kind || string(text) != want.text {
			t.Errorf("%q was read as %d %q, want %d %q", frame, kind, text, want.kind, want.text)
		}
		if kind != Invalid && string(Frame(kind, want.text)) != frame {
			t.Errorf("%d %q was written as %q", kind, want.text, Frame(kind, want.text))
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"message x", "ok x", "message ", "ok ", "message", "ok\n", "message message ok "} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		kind, text := Parse(frame)
		switch {
		case kind == Invalid:
			if text != nil || bytes.HasPrefix(frame, []byte("ok ")) || bytes.HasPrefix(frame, []byte("message ")) {
				t.Errorf("%q was refused with the text %q", frame, text)
			}
		case !bytes.Equal(append(Append(nil, kind), text...), frame):
			t.Errorf("%q was read as %d %q, which is another frame", frame, kind, text)
		}
	})
}

func TestAllocations(t *testing.T) {
	frame, buf := []byte("message hello"), make([]byte, 0, 64)
	if n := testing.AllocsPerRun(100, func() {
		kind, text := Parse(frame)
		buf = append(Append(buf[:0], kind), text...)
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}
