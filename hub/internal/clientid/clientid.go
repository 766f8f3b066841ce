// Package clientid makes and reads the ids of clients. An id says where its client is, so that a DIRECT message needs no
// directory.
package clientid

import (
	"crypto/rand"
	"encoding/binary"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker"
)

// Location is the place of a client. Its id is a UUID of version 8 (RFC 9562 section 5.8) with
//
//	bytes 0–3    Node
//	byte  4      Loop
//	bytes 5,9,10 Slot
//	the rest     58 random bits, so that a later client in the same place has another id
type Location struct {
	Node broker.NodeID
	Loop int    // index among the instance's loops, less than MaxLoops
	Slot uint32 // in the loop's table
}

// MaxLoops is how many loops an id has room for.
const MaxLoops = 256

// Slots of senders that are no connections. No table grows to them.
const (
	AgentSlot     = 1<<24 - 1 // agents of service types
	PublisherSlot = AgentSlot - 1
)

// New makes the id of a client at loc.
func New(loc Location) uuid.UUID {
	var id uuid.UUID
	_, _ = rand.Read(id[:]) // never fails: crypto/rand
	binary.BigEndian.PutUint32(id[:], uint32(loc.Node))
	id[4] = byte(loc.Loop)
	id[5] = byte(loc.Slot >> 16)
	binary.BigEndian.PutUint16(id[9:], uint16(loc.Slot))
	id[6] = id[6]&0x0f | 0x80 // version 8
	id[8] = id[8]&0x3f | 0x80 // variant of RFC 9562
	return id
}

// Locate reads the place of a client from its id. Any UUID yields some place; only comparing the whole id with that of the
// client there tells whether it is meant.
func Locate(id *uuid.UUID) Location {
	return Location{
		Node: broker.NodeID(binary.BigEndian.Uint32(id[:])),
		Loop: int(id[4]),
		Slot: uint32(id[5])<<16 | uint32(binary.BigEndian.Uint16(id[9:])),
	}
}

// NewNode makes the id of an instance.
func NewNode() broker.NodeID {
	var b [4]byte
	for {
		_, _ = rand.Read(b[:])
		if n := binary.BigEndian.Uint32(b[:]); n != 0 {
			return broker.NodeID(n)
		}
	}
}
