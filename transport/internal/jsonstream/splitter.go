// Package jsonstream splits the stream of a raw TCP connection: JSON objects one after the other, with or without white
// space between them. It is a pure state machine; one goroutine at a time may use a [Splitter].
package jsonstream

import (
	"encoding/binary"
	"errors"
	"math/bits"
)

var (
	// ErrNotObject: a value of the stream is not a JSON object, so it is no envelope.
	ErrNotObject = errors.New("split JSON stream: a value does not begin with {")
	// ErrMismatch: a bracket closes what one of the other kind opened.
	ErrMismatch = errors.New("split JSON stream: a closing bracket does not match the one it closes")
	// ErrTooDeep: a value nests deeper than any envelope may.
	ErrTooDeep = errors.New("split JSON stream: a value nests too deeply")
)

// Splitter finds the ends of the objects in a stream of them. It looks at brackets and strings only: what it
// calls a value may be invalid JSON, but every object that is valid is found exactly. The zero value is ready to use;
// after an error it is of no use any more. It keeps no reference to what it scanned.
type Splitter struct {
	arrays  uint64 // bit i: the open level i, counted inside the object, is an array
	scanned uint32 // bytes of the open object that were looked at
	depth   uint8  // open levels inside the object
	in      bool   // an object is open
	str     bool   // within a string
	esc     bool   // behind a backslash
}

// MaxDepth is how many levels may be open inside the object. With the object itself that is one more than an envelope
// may have: the scanner of envelopes judges that limit.
const MaxDepth = 64

// Next finds the first value of b. b begins where the stream was last cut.
//
//   - ok: b[start:end] is a whole value. The next call gets what follows, b[end:] and whatever arrived since.
//   - not ok: b[start:end] is all there is of a value whose end has not arrived; end is len(b). It is empty when only
//     white space was left. The next call gets b[start:] and what arrived since, and scans only the latter. A caller
//     with a size limit refuses as soon as end-start is beyond it.
//   - err: the stream is not one of JSON objects.
//
// A value, open or whole, is shorter than 4 GiB. Next does not allocate.
func (s *Splitter) Next(b []byte) (start, end int, ok bool, err error) {
	if !s.in {
		start = SkipSpace(b)
		if start == len(b) {
			return start, start, false, nil
		}
		if b[start] != '{' {
			return start, start, false, ErrNotObject
		}
		*s = Splitter{in: true, scanned: 1}
	}
	end, ok, err = s.scan(b, start+int(s.scanned))
	s.scanned = uint32(end - start)
	return start, end, ok, err
}

// scan goes on inside the open object at b[i] and returns the index behind its end, or len(b).
func (s *Splitter) scan(b []byte, i int) (end int, ok bool, err error) {
	for i < len(b) {
		if s.str {
			i = s.skipString(b, i)
			continue
		}
		c := b[i]
		i++
		switch c {
		case '"':
			s.str = true
		case '{', '[':
			if s.depth == MaxDepth {
				return i, false, ErrTooDeep
			}
			s.open(c)
		case '}', ']':
			if s.depth == 0 && c == '}' {
				s.in = false
				return i, true, nil
			}
			if !s.close(c) {
				return i, false, ErrMismatch
			}
		}
	}
	return len(b), false, nil
}

// open enters a level.
func (s *Splitter) open(c byte) {
	s.arrays &^= 1 << s.depth
	if c == '[' {
		s.arrays |= 1 << s.depth
	}
	s.depth++
}

// close leaves a level inside the object and reports whether c closes its kind.
func (s *Splitter) close(c byte) bool {
	if s.depth == 0 {
		return false
	}
	s.depth--
	return s.arrays>>s.depth&1 == 1 == (c == ']')
}

// skipString returns the index behind the string that is open at b[i], or len(b) if it stays open.
func (s *Splitter) skipString(b []byte, i int) int {
	if s.esc {
		s.esc = false
		i++
	}
	for i < len(b) {
		i = indexQuote(b, i)
		if i == len(b) {
			break
		}
		if b[i] == '"' {
			s.str = false
			return i + 1
		}
		if i+1 == len(b) {
			s.esc = true
			break
		}
		i += 2
	}
	return len(b)
}

// indexQuote returns the index of the first quotation mark or backslash in b[i:], or len(b). It looks at eight bytes
// at a time: x^pattern has a zero byte where x has the character, and the lowest byte that the subtraction borrows
// into is exact.
func indexQuote(b []byte, i int) int {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	for ; i+8 <= len(b); i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		q, e := x^'"'*ones, x^'\\'*ones
		if hit := ((q-ones)&^q | (e-ones)&^e) & tops; hit != 0 {
			return i + bits.TrailingZeros64(hit)/8
		}
	}
	for ; i < len(b) && b[i] != '"' && b[i] != '\\'; i++ {
	}
	return i
}

// SkipSpace returns the index of the first byte of b that is not JSON white space, or len(b).
func SkipSpace(b []byte) int {
	for i, c := range b {
		if c != ' ' && c != '\n' && c != '\r' && c != '\t' {
			return i
		}
	}
	return len(b)
}
