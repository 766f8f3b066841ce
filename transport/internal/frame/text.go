package frame

import "unicode/utf8"

// Text checks UTF-8 (RFC 3629) that arrives in pieces. Its zero value is ready for a message.
type Text struct {
	tail [utf8.UTFMax - 1]byte // the beginning of a character whose end has not arrived
	n    uint8                 // bytes of tail
}

// Append checks the next piece. It returns false as soon as nothing that may follow makes the whole valid; the Text is of
// no use then.
func (t *Text) Append(p []byte) bool {
	if t.n > 0 {
		var char [utf8.UTFMax]byte
		n := copy(char[:], t.tail[:t.n])
		for len(p) > 0 && !utf8.FullRune(char[:n]) {
			char[n] = p[0]
			n++
			p = p[1:]
		}
		if !utf8.FullRune(char[:n]) {
			t.n = uint8(copy(t.tail[:], char[:n]))
			return true
		}
		if r, size := utf8.DecodeRune(char[:n]); r == utf8.RuneError && size == 1 {
			return false
		}
		t.n = 0
	}
	whole := len(p)
	for i := len(p) - 1; i >= max(len(p)-len(t.tail), 0); i-- {
		if utf8.RuneStart(p[i]) {
			if !utf8.FullRune(p[i:]) {
				whole = i
			}
			break
		}
	}
	t.n = uint8(copy(t.tail[:], p[whole:]))
	return utf8.Valid(p[:whole])
}

// Complete reports whether what was appended ends with the end of a character.
func (t *Text) Complete() bool { return t.n == 0 }
