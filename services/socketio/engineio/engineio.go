// Package engineio is the wire format of Engine.IO, protocol revision 4: packets, the payloads of HTTP long polling, the
// query of a request, and the errors that a server answers with.
//
// Source: the Engine.IO protocol, https://github.com/socketio/engine.io-protocol (v4).
//
// The package is pure: it starts no goroutine, reads no clock and does no I/O. Its functions may be called from any
// goroutine. What they return points into the caller's bytes, except where a function says that it appends.
package engineio

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strconv"
	"time"
)

// Revision is the protocol revision that a client names in the query parameter EIO.
const Revision = "4"

// Type is the type of a packet: the first byte of a text frame, or of a packet in a payload.
type Type byte

// The types of packets.
const (
	Open    Type = '0' // server to client, once: Handshake
	Close   Type = '1' // ends the session
	Ping    Type = '2' // server to client: asks for a Pong; with "probe", client to server on a new transport
	Pong    Type = '3' // the answer to a Ping, with the same data
	Message Type = '4' // carries data of the protocol above
	Upgrade Type = '5' // client to server, on the new transport: the session moves there
	Noop    Type = '6' // server to client: ends a waiting poll that has nothing to say
)

// Probe is the data of the Ping and the Pong that try a new transport.
const Probe = "probe"

// Packet is one packet.
type Packet struct {
	Type   Type
	Binary bool   // a Message whose data are bytes; over WebSocket a binary frame
	Data   []byte // behind the type
}

// ErrPacket is a packet that the protocol doesn't know.
var ErrPacket = errors.New("engine.io: not a packet")

// ParseText returns the packet in a WebSocket text frame.
func ParseText(frame []byte) (Packet, error) {
	if len(frame) == 0 || frame[0] < byte(Open) || frame[0] > byte(Noop) {
		return Packet{}, ErrPacket
	}
	return Packet{Type: Type(frame[0]), Data: frame[1:]}, nil
}

const (
	separator    = 0x1e // between the packets of a payload
	binaryPrefix = 'b'  // of a binary message in a payload: base64 follows
)

// NextFrame returns the first packet of a payload as the frame that it would be over WebSocket, and what follows it; rest is
// nil behind the last one. It decodes the base64 of a binary message in place, overwriting payload. The frame of a text packet
// is not checked: see ParseText.
func NextFrame(payload []byte) (frame []byte, binary bool, rest []byte, err error) {
	first := payload
	if i := bytes.IndexByte(payload, separator); i >= 0 {
		first, rest = payload[:i], payload[i+1:]
	}
	if len(first) == 0 || first[0] != binaryPrefix {
		return first, false, rest, nil
	}
	if bytes.ContainsAny(first, "\r\n") { // the decoder skips these
		return nil, false, nil, ErrPacket
	}
	// The destination begins one byte before the source, and each four characters become at most three bytes: what is
	// written never reaches what is yet to be read.
	n, err := base64.StdEncoding.Strict().Decode(first[:len(first)-1], first[1:])
	if err != nil {
		return nil, false, nil, ErrPacket
	}
	return first[:n], true, rest, nil
}

// AppendPolled appends the packet to a payload of HTTP long polling. The payload is empty before its first packet.
func AppendPolled(payload []byte, p Packet) []byte {
	if len(payload) > 0 {
		payload = append(payload, separator)
	}
	if p.Binary {
		payload = append(payload, binaryPrefix)
		return base64.StdEncoding.AppendEncode(payload, p.Data)
	}
	return append(append(payload, byte(p.Type)), p.Data...)
}

// Handshake is the data of the Open packet.
type Handshake struct {
	SID          string // no character that JSON escapes
	Upgrades     bool   // the session may move to WebSocket
	PingInterval time.Duration
	PingTimeout  time.Duration
	MaxPayload   int // bytes of a POST
}

// AppendOpen appends the Open packet.
func AppendOpen(dst []byte, h Handshake) []byte {
	dst = append(dst, byte(Open))
	dst = append(dst, `{"sid":"`...)
	dst = append(dst, h.SID...)
	dst = append(dst, `","upgrades":[`...)
	if h.Upgrades {
		dst = append(dst, `"websocket"`...)
	}
	dst = append(dst, `],"pingInterval":`...)
	dst = strconv.AppendInt(dst, h.PingInterval.Milliseconds(), 10)
	dst = append(dst, `,"pingTimeout":`...)
	dst = strconv.AppendInt(dst, h.PingTimeout.Milliseconds(), 10)
	dst = append(dst, `,"maxPayload":`...)
	dst = strconv.AppendInt(dst, int64(h.MaxPayload), 10)
	return append(dst, '}')
}
