package intent

import (
	"errors"
	"unicode/utf8"
)

// MaxGroupBytes is the greatest length of a group name in bytes.
const MaxGroupBytes = 128

// The errors of [CheckGroup].
var (
	ErrGroupEmpty    = errors.New("group name is empty")
	ErrGroupTooLong  = errors.New("group name is longer than 128 bytes")
	ErrGroupReserved = errors.New("group name begins with the reserved $")
	ErrGroupControl  = errors.New("group name has a control character")
	ErrGroupUTF8     = errors.New("group name is not valid UTF-8")
)

// CheckGroup checks a group name: 1 to 128 bytes of valid UTF-8 without control characters (U+0000 to U+001F, U+007F to
// U+009F) and without a leading $. It returns nil or one of the ErrGroup errors. It does not allocate.
func CheckGroup[T ~string | ~[]byte](name T) error {
	switch {
	case len(name) == 0:
		return ErrGroupEmpty
	case len(name) > MaxGroupBytes:
		return ErrGroupTooLong
	case name[0] == '$':
		return ErrGroupReserved
	}
	return checkText(name)
}

// checkText checks that s is valid UTF-8 without control characters.
func checkText[T ~string | ~[]byte](s T) error {
	for i := 0; i < len(s); {
		if c := s[i]; c < utf8.RuneSelf {
			if c < ' ' || c == 0x7f {
				return ErrGroupControl
			}
			i++
			continue
		}
		// Converting s to string or []byte would allocate for one of the two types. A copy of four bytes doesn't.
		var buf [utf8.UTFMax]byte
		r, size := utf8.DecodeRune(buf[:copy(buf[:], s[i:])])
		switch {
		case r == utf8.RuneError && size <= 1:
			return ErrGroupUTF8
		case r < 0xa0:
			return ErrGroupControl
		}
		i += size
	}
	return nil
}
