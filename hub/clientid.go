package hub

import (
	"crypto/rand"
	"encoding/binary"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker"
)

// A client's id says where the client is, so that a DIRECT message needs no directory: it is a UUID of version 8
// (RFC 9562 section 5.8) with
//
//	bytes 0–3    the node id of the instance
//	byte  4      the index of the loop
//	bytes 5,9,10 the slot in the loop's table
//	the rest     58 random bits, so that a later client in the same place has another id
type location struct {
	node broker.NodeID
	loop int
	slot uint32
}

// agentSlot stands for the loop's own agent, which is no connection. No table grows to it.
const agentSlot = 1<<24 - 1

// publisherSlot stands for whoever publishes without a connection.
const publisherSlot = agentSlot - 1

// newClientID makes the id of a client at loc.
func newClientID(loc location) uuid.UUID {
	var id uuid.UUID
	_, _ = rand.Read(id[:]) // never fails: crypto/rand
	binary.BigEndian.PutUint32(id[:], uint32(loc.node))
	id[4] = byte(loc.loop)
	id[5] = byte(loc.slot >> 16)
	binary.BigEndian.PutUint16(id[9:], uint16(loc.slot))
	id[6] = id[6]&0x0f | 0x80 // version 8
	id[8] = id[8]&0x3f | 0x80 // variant of RFC 9562
	return id
}

// locate reads the place of a client from its id. Any UUID yields some place; only comparing the whole id with that of
// the client there tells whether it is meant.
func locate(id *uuid.UUID) location {
	return location{
		node: broker.NodeID(binary.BigEndian.Uint32(id[:])),
		loop: int(id[4]),
		slot: uint32(id[5])<<16 | uint32(binary.BigEndian.Uint16(id[9:])),
	}
}

// newNodeID makes the id of an instance.
func newNodeID() broker.NodeID {
	var b [4]byte
	for {
		_, _ = rand.Read(b[:])
		if n := binary.BigEndian.Uint32(b[:]); n != 0 {
			return broker.NodeID(n)
		}
	}
}
