package handshake

import (
	"bytes"
	"strings"
)

var (
	space, colon, equals = []byte(" "), []byte(":"), []byte("=")
	slash, schemeEnd     = []byte("/"), []byte("://")
	digitChars           = charTable(isDigit)
	hostChars            = charTable(func(c byte) bool { return isAlnum(c) || strings.IndexByte("-._", c) >= 0 })
	schemeChars          = charTable(func(c byte) bool { return isAlnum(c) || strings.IndexByte("+-.", c) >= 0 })
	tokenChars           = charTable(func(c byte) bool { return isAlnum(c) || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0 })
	targetChars          = charTable(func(c byte) bool { return ' ' < c && c < 0x7f && c != '#' })
	valueChars           = charTable(func(c byte) bool { return c >= ' ' && c != 0x7f || c == '\t' })
)

// charTable tabulates a class of bytes.
func charTable(in func(byte) bool) (t [256]bool) {
	for c := range t {
		t[c] = in(byte(c))
	}
	return t
}

// all reports whether every byte of b is in the class.
func all(b []byte, class *[256]bool) bool {
	for _, c := range b {
		if !class[c] {
			return false
		}
	}
	return true
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
func isAlnum(c byte) bool { return isDigit(c) || 'a' <= lower(c) && lower(c) <= 'z' }
func isHex(c byte) bool   { return isDigit(c) || 'a' <= lower(c) && lower(c) <= 'f' }

// lower returns the lower case of an ASCII letter and other bytes as they are.
func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c |= 0x20
	}
	return c
}

// unhex returns the value of a hexadecimal digit.
func unhex(c byte) byte {
	if isDigit(c) {
		return c - '0'
	}
	return lower(c) - 'a' + 10
}

// validEscapes reports whether each percent sign begins an escape, and no escape stands for a control character.
func validEscapes(path []byte) bool {
	for i := 0; i < len(path); i++ {
		if path[i] != '%' {
			continue
		}
		if i+2 >= len(path) || !isHex(path[i+1]) || !isHex(path[i+2]) {
			return false
		}
		if c := unhex(path[i+1])<<4 | unhex(path[i+2]); c < ' ' || c == 0x7f {
			return false
		}
		i += 2
	}
	return true
}

// equalFold reports whether a and b are equal without regard to the case of ASCII letters. bytes.EqualFold would take
// U+017F for an s and U+212A for a k.
func equalFold[T string | []byte](a []byte, b T) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] && lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

// listHas reports whether a comma-separated list has token, which is lower case (RFC 9110 §5.6.1).
func listHas(list []byte, token string) bool {
	for len(list) > 0 {
		var item []byte
		if i := bytes.IndexByte(list, ','); i >= 0 {
			item, list = list[:i], list[i+1:]
		} else {
			item, list = list, nil
		}
		if equalFold(trimOWS(item), token) {
			return true
		}
	}
	return false
}

// trimOWS cuts optional white space off both ends (RFC 9110 §5.6.3).
func trimOWS(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}
