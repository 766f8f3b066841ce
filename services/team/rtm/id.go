package rtm

import (
	"errors"

	"github.com/go-json-experiment/json/jsontext"
)

// MaxIDBytes is the greatest length of an [ID] in bytes: an id with a prefix fits into a group's name.
const MaxIDBytes = 120

// Errors of [ParseID].
var (
	ErrIDType    = errors.New("want a JSON integer or string")
	ErrIDEmpty   = errors.New("is empty")
	ErrIDTooLong = errors.New("is longer than 120 bytes")
	ErrIDControl = errors.New("has a control character")
)

// ID identifies a team or a ping. On the wire it is a JSON integer or string, and keeps its form: 1 and "1" are two
// ids. Two spellings of one string ("A" and "\u0041") are the same id. IDs can be compared with == and be keys of maps.
// The zero ID is none.
type ID struct {
	text    string // the string, or the digits
	integer bool
}

// StringID returns the id that is a JSON string. It does not check text as [ParseID] does.
func StringID(s string) ID { return ID{text: s} }

// IntID returns the id that is a JSON integer.
func IntID(n int64) ID {
	var buf [20]byte
	return ID{text: string(appendInt(buf[:0], n)), integer: true}
}

// ParseID reads an id from one JSON value: a string of 1 to [MaxIDBytes] bytes of UTF-8 without control characters
// (U+0000 to U+001F, U+007F to U+009F), or an integer, of at most as many digits, that is written without fraction and
// exponent and is not -0. The error is one of the ErrID errors, or says how the JSON is malformed.
func ParseID(value []byte) (ID, error) {
	if len(value) == 0 {
		return ID{}, ErrIDType
	}
	if value[0] != '"' {
		return parseInteger(value)
	}
	text, err := jsontext.AppendUnquote(nil, value)
	switch {
	case err != nil:
		return ID{}, err
	case len(text) == 0:
		return ID{}, ErrIDEmpty
	case len(text) > MaxIDBytes:
		return ID{}, ErrIDTooLong
	case hasControl(text):
		return ID{}, ErrIDControl
	}
	return ID{text: string(text)}, nil
}

func parseInteger(value []byte) (ID, error) {
	digits := value
	if digits[0] == '-' {
		digits = digits[1:]
	}
	switch {
	case len(digits) == 0, digits[0] == '0' && len(value) > 1: // 01, -0
		return ID{}, ErrIDType
	case len(value) > MaxIDBytes:
		return ID{}, ErrIDTooLong
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return ID{}, ErrIDType
		}
	}
	return ID{text: string(value), integer: true}, nil
}

func hasControl(text []byte) bool {
	for _, r := range string(text) {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return true
		}
	}
	return false
}

// IsZero reports whether the id is zero.
func (id ID) IsZero() bool { return id.text == "" }

// IsInteger reports whether the id is a JSON integer.
func (id ID) IsInteger() bool { return id.integer }

// String returns the id without quotes, as it stands in a group's name. An integer and a string of the same digits have
// the same text.
func (id ID) String() string { return id.text }

// Append appends the id as JSON; null for the zero ID.
func (id ID) Append(dst []byte) []byte {
	switch {
	case id.IsZero():
		return append(dst, "null"...)
	case id.integer:
		return append(dst, id.text...)
	}
	return AppendString(dst, id.text)
}

// MarshalJSON returns what [ID.Append] appends.
func (id ID) MarshalJSON() ([]byte, error) { return id.Append(nil), nil }

// UnmarshalJSON is [ParseID]; null gives the zero ID.
func (id *ID) UnmarshalJSON(value []byte) (err error) {
	if string(value) == "null" {
		*id = ID{}
		return nil
	}
	*id, err = ParseID(value)
	return err
}

// AppendString appends s as a JSON string in the form of all frames. Invalid UTF-8 becomes U+FFFD.
func AppendString(dst []byte, s string) []byte {
	dst, _ = jsontext.AppendQuote(dst, s) // it fails only for invalid UTF-8
	return dst
}
