// Package frame holds the frames of WebSocket (RFC 6455 section 5) as bytes: the header of a client's frame is parsed
// more strictly than by gobwas/ws, and that of a server's frame is written without an allocation. All functions are
// pure.
package frame

import (
	"encoding/binary"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// ParseHeader reads the header of a client's frame from the beginning of p. size is the header's length in bytes; where
// p is too short for it, size is 0 and need is how many bytes it takes at least. ok is false if the header is not one
// that a client may send whatever came before it: a length that is not minimal or has the top bit set
// (RFC 6455 section 5.2), both of which ws.ReadHeaderBuffer and ws.CheckHeader together would let through in part.
func ParseHeader(p []byte) (h ws.Header, size, need int, ok bool) {
	if len(p) < 2 {
		return h, 0, 2, true
	}
	h.Fin = p[0]&0x80 != 0
	h.Rsv = p[0] >> 4 & 7
	h.OpCode = ws.OpCode(p[0] & 15)
	h.Masked = p[1]&0x80 != 0
	h.Length = int64(p[1] & 0x7f)

	at, mask := 2, 0
	if h.Masked {
		mask = 4
	}
	switch h.Length {
	case 126:
		at = 4
	case 127:
		at = 10
	}
	if len(p) < at+mask {
		return h, 0, at + mask, true
	}
	switch at {
	case 4:
		h.Length = int64(binary.BigEndian.Uint16(p[2:]))
		ok = h.Length > 125
	case 10:
		n := binary.BigEndian.Uint64(p[2:])
		h.Length = int64(n & (1<<63 - 1))
		ok = n>>63 == 0 && n > 65535
	default:
		ok = true
	}
	copy(h.Mask[:mask], p[at:])
	return h, at + mask, 0, ok
}

// CheckClose returns what is wrong with the payload of a client's close frame: the code to answer it with, or 0 if it
// is sound (RFC 6455 section 7.4; 1012 to 1014 are registered with IANA since).
func CheckClose(p []byte) ws.StatusCode {
	switch {
	case len(p) == 0:
		return 0
	case len(p) == 1:
		return ws.StatusProtocolError
	}
	code := binary.BigEndian.Uint16(p)
	switch {
	case code >= 1000 && code <= 1003, code >= 1007 && code <= 1014, code >= 3000 && code <= 4999:
	default:
		return ws.StatusProtocolError
	}
	if !utf8.Valid(p[2:]) {
		return ws.StatusInvalidFramePayloadData
	}
	return 0
}

// PutHeader writes the header of a final, unmasked frame into p, whose length is the header's. ws.WriteHeaderBuffer does
// the same through an io.Writer, which would cost an allocation for each frame.
func PutHeader(p []byte, op ws.OpCode, length int) {
	p[0] = 0x80 | byte(op)
	switch len(p) {
	case 2:
		p[1] = byte(length)
	case 4:
		p[1] = 126
		binary.BigEndian.PutUint16(p[2:], uint16(length))
	default:
		p[1] = 127
		binary.BigEndian.PutUint64(p[2:], uint64(length))
	}
}
