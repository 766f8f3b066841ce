package rawclient

import (
	"encoding/binary"
	"io"
	"unicode/utf8"
)

// Opcodes of frames (RFC 6455, section 5.2).
const (
	OpContinuation byte = 0x0
	OpText         byte = 0x1
	OpBinary       byte = 0x2
	OpClose        byte = 0x8
	OpPing         byte = 0x9
	OpPong         byte = 0xA
)

// LengthForm is the encoding of a frame's length.
type LengthForm uint8

// The encodings. All but Minimal may be longer than necessary.
const (
	Minimal  LengthForm = iota
	Length7             // 7 bits; higher bits are cut off
	Length16            // 126 and 16 bits
	Length64            // 127 and 64 bits
)

// Frame is a client's frame with any header.
type Frame struct {
	More     bool // FIN is not set
	RSV      byte // the three reserved bits: 4 is RSV1, 2 is RSV2, 1 is RSV3
	Op       byte // four bits
	Unmasked bool // neither the mask bit nor a key
	Mask     [4]byte
	Form     LengthForm
	Declared uint64 // the length in the header; 0 means that of Payload
	Payload  []byte
}

// Text returns an unfragmented text message.
func Text(s string) Frame { return Frame{Op: OpText, Mask: mask, Payload: []byte(s)} }

// Control returns an unfragmented frame with the given opcode.
func Control(op byte, payload string) Frame {
	return Frame{Op: op, Mask: mask, Payload: []byte(payload)}
}

// Fragment returns a frame of a fragmented message that is not its last. The first has the message's opcode, further ones
// OpContinuation.
func Fragment(op byte, payload string) Frame {
	return Frame{Op: op, More: true, Mask: mask, Payload: []byte(payload)}
}

// LastFragment returns the last frame of a fragmented message.
func LastFragment(payload string) Frame { return Control(OpContinuation, payload) }

// Closing returns a close frame.
func Closing(code int, reason string) Frame {
	return Control(OpClose, string(binary.BigEndian.AppendUint16(nil, uint16(code)))+reason)
}

// mask is the masking key of the frames that this package's functions make. Its four bytes differ, so that masking with a
// wrong offset is noticed.
var mask = [4]byte{0x37, 0xfa, 0x21, 0x3d}

// Header returns the frame's header with its masking key.
func (f Frame) Header() []byte {
	first := f.RSV<<4 | f.Op
	if !f.More {
		first |= 0x80
	}
	length := f.Declared
	if length == 0 {
		length = uint64(len(f.Payload))
	}
	form := f.Form
	switch {
	case form != Minimal:
	case length < 126:
		form = Length7
	case length <= 0xffff:
		form = Length16
	default:
		form = Length64
	}
	var bit byte
	if !f.Unmasked {
		bit = 0x80
	}
	h := []byte{first, bit | byte(length)&0x7f}
	switch form {
	case Length16:
		h[1] = bit | 126
		h = binary.BigEndian.AppendUint16(h, uint16(length))
	case Length64:
		h[1] = bit | 127
		h = binary.BigEndian.AppendUint64(h, length)
	}
	if !f.Unmasked {
		h = append(h, f.Mask[:]...)
	}
	return h
}

// Bytes returns the encoded frame.
func (f Frame) Bytes() []byte {
	b := f.Header()
	if f.Unmasked {
		return append(b, f.Payload...)
	}
	for i, x := range f.Payload {
		b = append(b, x^f.Mask[i%4])
	}
	return b
}

// Frames returns several encoded frames one after another.
func Frames(list ...Frame) []byte {
	var b []byte
	for _, f := range list {
		b = append(b, f.Bytes()...)
	}
	return b
}

// Received is a frame from the server.
type Received struct {
	Fin     bool
	Op      byte
	Payload []byte
}

// maxFrame is the largest accepted frame, in bytes.
const maxFrame = 64 << 20

// ReadFrame reads one frame and checks the rules of RFC 6455 for a server's frames: no mask, no reserved bits or opcodes,
// a minimal length, control frames short and unfragmented. It does not check sequences of frames.
func (c *Conn) ReadFrame() (Received, error) {
	c.arm()
	var h [2]byte
	if _, err := io.ReadFull(c.br, h[:1]); err != nil {
		return Received{}, translate(err)
	}
	if err := c.readFull(h[1:]); err != nil {
		return Received{}, truncated(err)
	}
	f := Received{Fin: h[0]&0x80 != 0, Op: h[0] & 0xf}
	switch {
	case h[0]&0x70 != 0:
		return f, violation("reserved bits in frame header %#x", h)
	case f.Op > OpBinary && f.Op < OpClose || f.Op > OpPong:
		return f, violation("reserved opcode %d", f.Op)
	case h[1]&0x80 != 0:
		return f, violation("masked frame")
	}
	n, err := c.readLength(h[1])
	switch {
	case err != nil:
		return f, err
	case f.Op >= OpClose && (n > 125 || !f.Fin):
		return f, violation("control frame of %d bytes, FIN %v", n, f.Fin)
	case n > maxFrame:
		return f, violation("frame of %d bytes", n)
	}
	f.Payload = make([]byte, n)
	return f, truncated(c.readFull(f.Payload))
}

func (c *Conn) readLength(short byte) (uint64, error) {
	var b [8]byte
	switch short {
	case 126:
		if err := c.readFull(b[6:]); err != nil {
			return 0, truncated(err)
		}
		if n := binary.BigEndian.Uint64(b[:]); n < 126 {
			return 0, violation("length %d in 16 bits", n)
		}
	case 127:
		if err := c.readFull(b[:]); err != nil {
			return 0, truncated(err)
		}
		if n := binary.BigEndian.Uint64(b[:]); n <= 0xffff || n>>63 != 0 {
			return 0, violation("length %d in 64 bits", n)
		}
	default:
		return uint64(short), nil
	}
	return binary.BigEndian.Uint64(b[:]), nil
}

// truncated turns io.EOF within a frame into io.ErrUnexpectedEOF.
func truncated(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// ReadMessage reads frames until a message or a control frame is complete. It checks their sequence, and that text and close
// reasons are UTF-8. It sends no answers.
func (c *Conn) ReadMessage() (op byte, payload []byte, err error) {
	var partial []byte
	var kind byte // 0: no fragment so far
	for {
		f, err := c.ReadFrame()
		if err != nil {
			return 0, nil, err
		}
		if c.closing {
			return f.Op, f.Payload, violation("a frame with opcode %d behind the close frame", f.Op)
		}
		switch {
		case f.Op == OpClose:
			c.closing = true
			return f.Op, f.Payload, checkClose(f.Payload)
		case f.Op > OpClose:
			return f.Op, f.Payload, nil
		case (f.Op == OpContinuation) != (kind != 0):
			return f.Op, nil, violation("opcode %d within a message of opcode %d", f.Op, kind)
		case kind == 0:
			kind = f.Op
		}
		partial = append(partial, f.Payload...)
		if !f.Fin {
			continue
		}
		if kind == OpText && !utf8.Valid(partial) {
			return kind, partial, violation("text is not UTF-8: %.80q", partial)
		}
		return kind, partial, nil
	}
}

func checkClose(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	if len(p) == 1 {
		return violation("close payload of one byte")
	}
	switch code := binary.BigEndian.Uint16(p); {
	case code < 1000, code == 1004, code == 1005, code == 1006, code > 1014 && code < 3000, code > 4999:
		return violation("close code %d", code)
	case !utf8.Valid(p[2:]):
		return violation("close reason is not UTF-8: %q", p[2:])
	}
	return nil
}
