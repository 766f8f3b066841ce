package transport

import (
	"encoding/binary"
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/gobwas/ws"

	"github.com/mastersocket/mastersocket/transport/internal/frame"
)

// headroom is the longest header of an unmasked frame (RFC 6455 section 5.2).
const headroom = 10

// Buffer is one outgoing message, framed once for all its receivers, whatever their transport. It is reference counted:
// AllocBuffer returns it with one reference, each queue that holds it has its own, and at the last Release its memory is
// used again. After it is sealed it is immutable, and any goroutine may send it.
type Buffer struct {
	refs atomic.Int32
	from int32  // where the frame's header begins in mem
	end  int32  // where the payload ends in mem; a newline follows
	mem  []byte // headroom, payload, newline
}

// Memory comes in powers of two from minClass to maxClass bytes; what is larger is left to the garbage collector.
const (
	minClass = 6  // 64 B: ping frames are answered by the million
	maxClass = 17 // 128 KiB
)

var bufferPools [maxClass + 1]sync.Pool

// AllocBuffer returns a Buffer with room for n bytes of payload and one reference, which the caller owns.
func AllocBuffer(n int) *Buffer {
	size := headroom + n + 1
	class := max(bits.Len(uint(size-1)), minClass)
	if class > maxClass {
		b := &Buffer{mem: make([]byte, size)}
		b.refs.Store(1)
		return b
	}
	b, _ := bufferPools[class].Get().(*Buffer)
	if b == nil {
		b = &Buffer{mem: make([]byte, 1<<class)}
	}
	b.refs.Store(1)
	return b
}

// Room returns the empty slice that a payload is appended to, within the capacity that was asked for.
func (b *Buffer) Room() []byte { return b.mem[headroom : headroom : len(b.mem)-1] }

// Seal makes what was appended to Room the payload of one text message and writes the frame around it.
func (b *Buffer) Seal(payload []byte) { b.seal(ws.OpText, payload) }

// seal frames payload, which must be Room or an extension of it, as one final frame.
func (b *Buffer) seal(op ws.OpCode, payload []byte) {
	if len(payload) > 0 && &payload[0] != &b.mem[headroom] {
		panic("transport: payload outgrew its buffer")
	}
	n := len(payload)
	b.end = int32(headroom + n)
	b.from = int32(headroom - ws.HeaderSize(ws.Header{Length: int64(n)}))
	frame.PutHeader(b.mem[b.from:headroom], op, n)
	b.mem[b.end] = '\n'
}

// sealRaw makes payload all that is sent, without a frame or a line feed: an HTTP response, for instance.
func (b *Buffer) sealRaw(payload []byte) {
	b.from, b.end = headroom, int32(headroom+len(payload))
	b.mem[b.end] = '\n'
}

// raw reports whether the Buffer was sealed by sealRaw.
func (b *Buffer) raw() bool { return b.from == headroom }

// Payload returns the message without its frame. It is valid while the caller holds a reference.
func (b *Buffer) Payload() []byte { return b.mem[headroom:b.end] }

// wire returns the bytes that a connection of protocol p is sent. Those of a detached connection count as what they will be
// once it has a socket.
func (b *Buffer) wire(p protocol) []byte {
	if p == protocolWebSocket || p == protocolDetached || b.raw() {
		return b.mem[b.from:b.end]
	}
	return b.mem[headroom : b.end+1]
}

// Retain adds a reference.
func (b *Buffer) Retain() { b.refs.Add(1) }

// Release gives a reference back; after the last one the Buffer must not be touched.
func (b *Buffer) Release() {
	switch n := b.refs.Add(-1); {
	case n > 0:
	case n < 0:
		panic("transport: buffer released too often")
	default:
		if class := bits.Len(uint(len(b.mem) - 1)); class <= maxClass && len(b.mem) == 1<<class {
			bufferPools[class].Put(b)
		}
	}
}

// NewMessage returns a sealed Buffer with a copy of payload, for messages that are built once and kept.
func NewMessage(payload []byte) *Buffer {
	b := AllocBuffer(len(payload))
	b.Seal(append(b.Room(), payload...))
	return b
}

// NewPing returns a WebSocket's own ping (RFC 6455 section 5.5.2), which every client answers by itself. It must not be
// sent to a connection that is plain TCP.
func NewPing() *Buffer { return newControl(ws.OpPing, nil) }

// newControl returns a control frame with a copy of payload, at most 125 bytes (RFC 6455 section 5.5).
func newControl(op ws.OpCode, payload []byte) *Buffer {
	b := AllocBuffer(len(payload))
	b.seal(op, append(b.Room(), payload...))
	return b
}

// newClose returns a close frame; code 0 makes one without a payload. The reason is cut at the 123 bytes that fit.
func newClose(code ws.StatusCode, reason string) *Buffer {
	if code == 0 {
		return newControl(ws.OpClose, nil)
	}
	var p [125]byte
	binary.BigEndian.PutUint16(p[:], uint16(code))
	return newControl(ws.OpClose, p[:2+copy(p[2:], reason)])
}
