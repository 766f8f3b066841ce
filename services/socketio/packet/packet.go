// Package packet is the wire format of Socket.IO, protocol revision 5: packets in the messages of Engine.IO, and the
// binary attachments that follow them.
//
// Source: the Socket.IO protocol, https://github.com/socketio/socket.io-protocol (v5).
//
// JSON is scanned and copied, never decoded: what a client sends arrives byte for byte.
//
// The package is pure: it starts no goroutine, reads no clock and does no I/O. A Packet belongs to one goroutine at a time;
// it points into the bytes that it was read from.
package packet

import (
	"bytes"
	"errors"
	"strconv"

	"github.com/mastersocket/mastersocket/opcodes"
)

// Type is the type of a packet.
type Type byte

// The types of packets.
const (
	Connect      Type = '0' // client: opens a namespace; server: it is open
	Disconnect   Type = '1' // leaves a namespace
	Event        Type = '2' // a JSON array: the event's name and its arguments
	Ack          Type = '3' // a JSON array: the arguments of the answer to an Event with an id
	ConnectError Type = '4' // server: the namespace was refused
	BinaryEvent  Type = '5' // an Event with attachments
	BinaryAck    Type = '6' // an Ack with attachments
)

// Limits of a packet.
const (
	MaxAttachments    = 10
	MaxNamespaceBytes = 128
	MaxIDDigits       = 15 // what JavaScript can count to exactly
)

// MainNamespace is the namespace of a packet that names none.
const MainNamespace = "/"

// Packet is one packet. Its slices point into the bytes that Parse was given.
type Packet struct {
	Type        Type
	Attachments int    // binary messages that follow
	Namespace   []byte // begins with a slash
	ID          []byte // decimal digits; empty for none
	Data        []byte // JSON: an object for Connect, an array for events and acks; empty for none
	Name        []byte // of an event: the JSON string, with its quotes
	Args        []byte // of an event: the JSON values behind the name, with commas between them; of an ack: all values
	Count       int    // of values in Args
}

// ErrPacket is a packet that the protocol doesn't allow. The session ends with it.
var ErrPacket = errors.New("socket.io: not a packet")

var mainNamespace = []byte(MainNamespace)

// IsEvent reports whether the packet is an event, with or without attachments.
func (p *Packet) IsEvent() bool { return p.Type == Event || p.Type == BinaryEvent }

// IsAck reports whether the packet is an acknowledgement, with or without attachments.
func (p *Packet) IsAck() bool { return p.Type == Ack || p.Type == BinaryAck }

// Parse reads the packet of a client in b, the data of an Engine.IO message. It allocates nothing.
func (p *Packet) Parse(b []byte) error {
	*p = Packet{Namespace: mainNamespace}
	if len(b) == 0 {
		return ErrPacket
	}
	p.Type, b = Type(b[0]), b[1:]
	switch p.Type {
	case Connect, Disconnect, Event, Ack:
	case BinaryEvent, BinaryAck:
		digits := countDigits(b)
		if digits == 0 || digits > 2 || digits == len(b) || b[digits] != '-' {
			return ErrPacket
		}
		p.Attachments, _ = strconv.Atoi(string(b[:digits])) // one or two digits
		if b = b[digits+1:]; p.Attachments > MaxAttachments {
			return ErrPacket
		}
	default: // ConnectError is a server's
		return ErrPacket
	}
	if len(b) > 0 && b[0] == '/' {
		end := bytes.IndexByte(b, ',')
		if end < 0 {
			end = len(b)
		}
		if end > MaxNamespaceBytes {
			return ErrPacket
		}
		p.Namespace, b = b[:end], b[min(end+1, len(b)):]
	}
	digits := countDigits(b)
	if digits > MaxIDDigits {
		return ErrPacket
	}
	p.ID, p.Data = b[:digits], b[digits:]
	return p.checkData()
}

// checkData checks that the packet has the id and the data that its type asks for, and takes the data apart.
func (p *Packet) checkData() error {
	switch {
	case p.Type == Connect && len(p.ID) == 0:
		return p.checkObject()
	case p.Type == Disconnect && len(p.ID) == 0 && len(p.Data) == 0:
		return nil
	case p.IsEvent(), p.IsAck() && len(p.ID) > 0:
		return p.splitArray()
	}
	return ErrPacket
}

// checkObject checks that the data are nothing or one JSON object.
func (p *Packet) checkObject() error {
	if len(p.Data) == 0 {
		return nil
	}
	if p.Data[0] != '{' {
		return ErrPacket
	}
	end, err := opcodes.ScanValue(p.Data, 0, 0)
	if err != nil || end != len(p.Data) {
		return ErrPacket
	}
	return nil
}

// splitArray checks that the data are one JSON array and finds the event's name and the arguments.
func (p *Packet) splitArray() error {
	b := p.Data
	if len(b) == 0 || b[0] != '[' {
		return ErrPacket
	}
	end, err := opcodes.ScanValue(b, 0, 0)
	if err != nil || end != len(b) {
		return ErrPacket
	}
	i := opcodes.SkipSpace(b, 1)
	if p.IsEvent() {
		if b[i] != '"' {
			return ErrPacket
		}
		end, _ := opcodes.ScanValue(b, i, 1) // it was checked above
		p.Name = b[i:end]
		if i = opcodes.SkipSpace(b, end); b[i] == ',' {
			i = opcodes.SkipSpace(b, i+1)
		}
	}
	start, last := i, i
	for b[i] != ']' {
		last, _ = opcodes.ScanValue(b, i, 1)
		p.Count++
		if i = opcodes.SkipSpace(b, last); b[i] == ',' {
			i = opcodes.SkipSpace(b, i+1)
		}
	}
	p.Args = b[start:last]
	return nil
}

// First returns the first of the values in Args, and the rest without the comma between them. Both are empty where there
// is none.
func (p *Packet) First() (first, rest []byte) {
	if p.Count == 0 {
		return nil, nil
	}
	end, _ := opcodes.ScanValue(p.Args, 0, 1)
	i := opcodes.SkipSpace(p.Args, end)
	if i < len(p.Args) {
		i = opcodes.SkipSpace(p.Args, i+1)
	}
	return p.Args[:end], p.Args[i:]
}

func countDigits(b []byte) int {
	n := 0
	for n < len(b) && b[n]-'0' <= 9 {
		n++
	}
	return n
}

// AppendHeader appends all of a packet that precedes its data. namespace is empty, or MainNamespace, for the main one;
// id is empty for none.
func AppendHeader(dst []byte, t Type, attachments int, namespace string, id []byte) []byte {
	dst = append(dst, byte(t))
	if t == BinaryEvent || t == BinaryAck {
		dst = strconv.AppendInt(dst, int64(attachments), 10)
		dst = append(dst, '-')
	}
	if namespace != "" && namespace != MainNamespace {
		dst = append(dst, namespace...)
		dst = append(dst, ',')
	}
	return append(dst, id...)
}
