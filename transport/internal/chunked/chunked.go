// Package chunked finds the content of an HTTP message in its chunks (RFC 9112 section 7.1), however the bytes arrive. It
// is strict: a line ends with CRLF, a size has at most 8 hexadecimal digits, extensions and trailers are skipped within a
// bound. It does not allocate.
package chunked

import (
	"bytes"
	"errors"
)

// ErrSyntax: the bytes are no chunks.
var ErrSyntax = errors.New("chunked: not a chunk")

const (
	maxDigits = 8    // of a chunk's size
	maxLine   = 1024 // bytes of a size line or a trailer
	maxLines  = 32   // trailers
)

type state uint8

const (
	inSize state = iota
	inExtension
	afterSizeCR
	inData
	afterData
	afterDataCR
	inTrailer // a line behind the last chunk
	afterTrailerCR
)

// Decoder is how far a body has been read. The zero value is at its beginning.
type Decoder struct {
	left   int64 // bytes of the chunk that are yet to come
	state  state
	digits uint8
	line   uint16 // bytes of the line so far
	lines  uint8  // trailers so far
}

// Next reads from p. It returns the next piece of content, which may be empty, and the bytes behind it; done reports that
// the body is over and rest is behind it. It must be called again with rest until rest is empty or the body is over.
func (d *Decoder) Next(p []byte) (content, rest []byte, done bool, err error) {
	for i, c := range p {
		switch d.state {
		case inSize:
			if v, ok := hexValue(c); ok {
				if d.digits++; d.digits > maxDigits {
					return nil, nil, false, ErrSyntax
				}
				d.left = d.left<<4 | int64(v)
				continue
			}
			if d.digits == 0 {
				return nil, nil, false, ErrSyntax
			}
			switch c {
			case '\r':
				d.state = afterSizeCR
			case ';', ' ', '\t':
				d.state, d.line = inExtension, 0
			default:
				return nil, nil, false, ErrSyntax
			}
		case inExtension:
			if d.line++; d.line > maxLine || c == '\n' {
				return nil, nil, false, ErrSyntax
			}
			if c == '\r' {
				d.state = afterSizeCR
			}
		case afterSizeCR:
			if c != '\n' {
				return nil, nil, false, ErrSyntax
			}
			d.digits, d.line = 0, 0
			if d.left == 0 {
				d.state = inTrailer
				continue
			}
			d.state = inData
		case inData:
			n := int(min(d.left, int64(len(p)-i)))
			if d.left -= int64(n); d.left == 0 {
				d.state = afterData
			}
			return p[i : i+n], p[i+n:], false, nil
		case afterData:
			if c != '\r' {
				return nil, nil, false, ErrSyntax
			}
			d.state = afterDataCR
		case afterDataCR:
			if c != '\n' {
				return nil, nil, false, ErrSyntax
			}
			d.state = inSize
		case inTrailer:
			switch {
			case c == '\r':
				d.state = afterTrailerCR
			case c == '\n' || d.line == maxLine:
				return nil, nil, false, ErrSyntax
			default:
				d.line++
			}
		case afterTrailerCR:
			if c != '\n' {
				return nil, nil, false, ErrSyntax
			}
			if d.line == 0 {
				return nil, p[i+1:], true, nil
			}
			if d.lines++; d.lines > maxLines {
				return nil, nil, false, ErrSyntax
			}
			d.state, d.line = inTrailer, 0
		}
	}
	return nil, nil, false, nil
}

func hexValue(c byte) (byte, bool) {
	switch i := bytes.IndexByte([]byte("0123456789abcdefABCDEF"), c); {
	case i < 0:
		return 0, false
	case i >= 16:
		return byte(i - 6), true
	default:
		return byte(i), true
	}
}
