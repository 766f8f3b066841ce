package opcodes

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	eachByte    = 0x0101010101010101
	eachHighBit = 0x8080808080808080
)

// special finds the first special byte among eight bytes of a string: a quote, a backslash, a control character or a byte
// beyond ASCII. The lowest bit set in the result is the high bit of that byte; 0 means that there is none.
//
// For a byte b below 0x80, b-n has its high bit set exactly if b < n. The subtraction then borrows from higher bytes,
// which may be marked wrongly. Lower bytes are not affected, so that the lowest mark is right.
func special(w uint64) uint64 {
	quote := (w ^ eachByte*'"') - eachByte
	slash := (w ^ eachByte*'\\') - eachByte
	control := w - eachByte*' '
	return (quote | slash | control | w) & eachHighBit
}

// scanString checks the string whose opening quote is b[i]. It returns the index behind the closing quote, and whether the
// string has escape sequences.
func scanString(b []byte, i int) (end int, escaped bool, err *ScanError) {
	i++
	for {
		if i+8 <= len(b) {
			m := special(binary.LittleEndian.Uint64(b[i:]))
			if m == 0 {
				i += 8
				continue
			}
			i += bits.TrailingZeros64(m) / 8
		}
		if i >= len(b) {
			return i, escaped, errTruncated
		}
		switch c := b[i]; {
		case c == '"':
			return i + 1, escaped, nil
		case c == '\\':
			escaped = true
			i, err = scanEscapes(b, i)
		case c < ' ':
			err = errControl
		case c < utf8.RuneSelf:
			i++
		default:
			i, err = scanRunes(b, i)
		}
		if err != nil {
			return i, escaped, err
		}
	}
}

// scanRunes checks the UTF-8 text at b[i], which begins with a byte beyond ASCII (RFC 3629, section 4). It returns the
// index of the next byte of ASCII other than a space.
func scanRunes(b []byte, i int) (int, *ScanError) {
	for i < len(b) {
		c := b[i]
		n := 2
		low, high := byte(0x80), byte(0xbf) // the bounds of the second byte
		switch {
		case c < utf8.RuneSelf:
			// Returning at each space would slow down text with short words.
			if c != ' ' {
				return i, nil
			}
			i++
			continue
		case c < 0xc2:
			return i, errUTF8
		case c < 0xe0:
		case c < 0xf0:
			n = 3
			if c == 0xe0 {
				low = 0xa0 // else overlong
			} else if c == 0xed {
				high = 0x9f // else a surrogate
			}
		case c < 0xf5:
			n = 4
			if c == 0xf0 {
				low = 0x90 // else overlong
			} else if c == 0xf4 {
				high = 0x8f // else beyond U+10FFFF
			}
		default:
			return i, errUTF8
		}
		if i+n > len(b) || b[i+1] < low || b[i+1] > high ||
			n > 2 && b[i+2]&0xc0 != 0x80 || n > 3 && b[i+3]&0xc0 != 0x80 {
			return i, errUTF8
		}
		i += n
	}
	return i, nil
}

// scanEscapes checks consecutive escape sequences from the backslash b[i] and returns the index behind the last.
func scanEscapes(b []byte, i int) (_ int, err *ScanError) {
	for err == nil && i < len(b) && b[i] == '\\' {
		i, err = scanEscape(b, i)
	}
	return i, err
}

// scanEscape checks the escape sequence at the backslash b[i] and returns the index behind it. A surrogate pair is one
// sequence.
func scanEscape(b []byte, i int) (int, *ScanError) {
	if i+1 >= len(b) {
		return i, errTruncated
	}
	switch b[i+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 2, nil
	case 'u':
	default:
		return i, errEscape
	}
	r, ok := hex4(b, i+2)
	switch {
	case !ok:
		return i, errEscape
	case !utf16.IsSurrogate(r):
		return i + 6, nil
	}
	if i+7 >= len(b) || b[i+6] != '\\' || b[i+7] != 'u' {
		return i, errSurrogate
	}
	low, ok := hex4(b, i+8)
	if !ok || utf16.DecodeRune(r, low) == utf8.RuneError {
		return i, errSurrogate
	}
	return i + 12, nil
}

// hex4 reads the four hexadecimal digits at b[i].
func hex4(b []byte, i int) (r rune, ok bool) {
	if i+4 > len(b) {
		return 0, false
	}
	for _, c := range b[i : i+4] {
		d := hexDigit[c]
		if d < 0 {
			return 0, false
		}
		r = r<<4 | rune(d)
	}
	return r, true
}

// hexDigit is the value of a hexadecimal digit of either case; -1 for any other byte.
var hexDigit = func() (t [256]int8) {
	for c := range t {
		t[c] = -1
	}
	for i := range 16 {
		t["0123456789abcdef"[i]] = int8(i)
		t["0123456789ABCDEF"[i]] = int8(i)
	}
	return t
}()

// appendUnescaped appends the unescaped form of a string's text. The text has no quotes and must have passed scanString.
func appendUnescaped(dst, text []byte) []byte {
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c != '\\' {
			dst = append(dst, c)
			continue
		}
		i++
		switch c := text[i]; c {
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r, _ := hex4(text, i+1)
			i += 4
			if utf16.IsSurrogate(r) {
				low, _ := hex4(text, i+3)
				r = utf16.DecodeRune(r, low)
				i += 6
			}
			dst = utf8.AppendRune(dst, r)
		default:
			dst = append(dst, c)
		}
	}
	return dst
}
