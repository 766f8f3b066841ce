package roster

import (
	"encoding/binary"

	"github.com/google/uuid"
)

// Messages between instances. One that watches a group asks each other instance for a stream, under a number that it draws.
// A stream is numbered from 1: first the members in parts, and between the parts and behind them what changes. A Beat says
// how far the streams to an instance are, so that a loss shows also where nothing follows it.
//
//	0  version  1  of all that follows; another one is ignored
//	1  type     1
//	2  stream   8  big-endian, as is number
//	10 number   8
//	18 …           Part, Last and Changes: ops; Count: a uvarint; Beat and Cancel: streams
//
// An op is its kind, the id, the other id where the kind has one, a uvarint with the length of the rest, and the rest. A
// later release may add types, and kinds of ops with the same form; those are skipped.

// Version is the version of the messages.
const Version = 1

// Type is the type of a message.
type Type uint8

// The types.
const (
	Ask      Type = 1 + iota // asks for a stream of members
	AskCount                 // asks for a stream of counts
	Part                     // members
	Last                     // the last of them
	Changes                  // what changed
	Count                    // the number of members: there are too many to name them, or only their number was asked for
	Beat                     // the numbers of all streams to a loop of an instance; number is the index of the sender's loop
	Cancel                   // ends streams of a loop
)

// Header begins a message.
type Header struct {
	Type   Type
	Stream uint64
	Number uint64
}

const headerBytes = 18

// AppendHeader appends h.
func AppendHeader(dst []byte, h Header) []byte {
	dst = append(dst, Version, byte(h.Type))
	dst = binary.BigEndian.AppendUint64(dst, h.Stream)
	return binary.BigEndian.AppendUint64(dst, h.Number)
}

// ParseHeader reads a message's header and returns what follows it. It reports false for what is no message of this version.
func ParseHeader(b []byte) (h Header, body []byte, ok bool) {
	if len(b) < headerBytes || b[0] != Version {
		return h, nil, false
	}
	return Header{Type(b[1]), binary.BigEndian.Uint64(b[2:]), binary.BigEndian.Uint64(b[10:])}, b[headerBytes:], true
}

// The kinds of ops.
const (
	opPut          = 1 // the rest is About
	opPutReplacing = 2 // the other id is Replaces
	opLeft         = 3 // the rest is Reason
	opLeftFor      = 4 // the other id is Successor
)

// hasOther reports whether an op of that kind has another id: those with even numbers do.
func hasOther(kind byte) bool { return kind%2 == 0 }

// AppendOp appends op.
func AppendOp(dst []byte, op *Op) []byte {
	if op.Left {
		return appendOp(dst, opLeft, op.ID, op.Successor, op.Reason)
	}
	return appendOp(dst, opPut, op.ID, op.Replaces, string(op.About))
}

func appendOp(dst []byte, kind byte, id, other uuid.UUID, rest string) []byte {
	if other != uuid.Nil {
		kind++
	}
	dst = append(append(dst, kind), id[:]...)
	if other != uuid.Nil {
		dst = append(dst, other[:]...)
	}
	return append(binary.AppendUvarint(dst, uint64(len(rest))), rest...)
}

// EachOp calls f for each op of a body. It reports false where the body is malformed; f has then been called for what comes
// before the fault. The ops share no memory with the body.
func EachOp(b []byte, f func(op *Op)) bool {
	for len(b) > 0 {
		kind, n := b[0], 1+len(uuid.UUID{})
		if hasOther(kind) {
			n += len(uuid.UUID{})
		}
		if len(b) < n {
			return false
		}
		ids := b[1:n]
		size, k := binary.Uvarint(b[n:])
		if k <= 0 || size > uint64(len(b)-n-k) {
			return false
		}
		rest := b[n+k : n+k+int(size)]
		b = b[n+k+int(size):]
		var op Op
		copy(op.ID[:], ids)
		switch kind { // others belong to later releases
		case opPutReplacing:
			copy(op.Replaces[:], ids[len(op.ID):])
			fallthrough
		case opPut:
			if op.About = append([]byte(nil), rest...); op.About == nil {
				continue // nothing to show
			}
		case opLeftFor:
			copy(op.Successor[:], ids[len(op.ID):])
			fallthrough
		case opLeft:
			op.Left, op.Reason = true, string(rest)
		default:
			continue
		}
		f(&op)
	}
	return true
}

// AppendStream appends a stream to the body of a Beat, with its number, or of a Cancel, with any.
func AppendStream(dst []byte, stream, number uint64) []byte {
	dst = binary.BigEndian.AppendUint64(dst, stream)
	return binary.BigEndian.AppendUint64(dst, number)
}

// EachStream calls f for each stream of a body, and reports whether that is well-formed.
func EachStream(b []byte, f func(stream, number uint64)) bool {
	if len(b)%16 != 0 {
		return false
	}
	for ; len(b) > 0; b = b[16:] {
		f(binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:]))
	}
	return true
}
