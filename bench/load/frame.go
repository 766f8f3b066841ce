//go:build linux

package load

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Opcodes of RFC 6455, section 5.2, as they stand in the first byte of an unfragmented frame (FIN set).
const (
	TextFrame   = 0x81
	BinaryFrame = 0x82
	closeFrame  = 0x88
	pingFrame   = 0x89
	pongFrame   = 0x8a
)

// frameMask is the masking key of every frame that is sent. It is no secret here, and not zero: a server that skips
// the work for a zero key would be measured doing less than it does for real clients.
var frameMask = [4]byte{0x37, 0xfa, 0x21, 0x3d}

var errMalformed = errors.New("malformed frame")

// AppendFrame appends a client's frame, masked, whose first byte is first (TextFrame or BinaryFrame).
func AppendFrame(dst []byte, first byte, payload []byte) []byte {
	dst = append(dst, first)
	switch n := len(payload); {
	case n < 126:
		dst = append(dst, 0x80|byte(n))
	case n < 1<<16:
		dst = append(dst, 0x80|126)
		dst = binary.BigEndian.AppendUint16(dst, uint16(n))
	default:
		dst = append(dst, 0x80|127)
		dst = binary.BigEndian.AppendUint64(dst, uint64(n))
	}
	dst = append(dst, frameMask[:]...)
	for i, b := range payload {
		dst = append(dst, b^frameMask[i&3])
	}
	return dst
}

// HeaderBytes returns the size of a server's frame header for a payload of n bytes.
func HeaderBytes(n int) int {
	switch {
	case n < 126:
		return 2
	case n < 1<<16:
		return 4
	}
	return 10
}

// header reads the header of a server's frame. It returns a size of 0 if b doesn't hold all of it yet.
func header(b []byte) (size, payload int, err error) {
	if len(b) < 2 {
		return 0, 0, nil
	}
	if b[0]&0xf0 != 0x80 {
		return 0, 0, fmt.Errorf("%w: first byte %#x: fragmented or with a reserved bit", errMalformed, b[0])
	}
	switch n := b[1]; {
	case n < 126:
		return 2, int(n), nil
	case n == 126:
		if len(b) < 4 {
			return 0, 0, nil
		}
		return 4, int(binary.BigEndian.Uint16(b[2:])), nil
	case n == 127:
		if len(b) < 10 {
			return 0, 0, nil
		}
		long := binary.BigEndian.Uint64(b[2:])
		if long > maxFrame {
			return 0, 0, fmt.Errorf("%w: payload of %d bytes", errMalformed, long)
		}
		return 10, int(long), nil
	}
	return 0, 0, fmt.Errorf("%w: masked by the server", errMalformed)
}

// maxFrame bounds what a server may send as one frame, and by that the read buffer.
const maxFrame = 64 << 20
