package redis

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"

	"github.com/mastersocket/mastersocket/broker"
)

// The wire form of a message between instances: a header, then the payload to the end. Integers are big-endian.
//
//	 0  magic      2  0xE5 'M'
//	 2  version    1  major<<4 | minor
//	 3  kind       1
//	 4  size       2  of the whole header, the group and what later minors add behind it included
//	 6  flags      1
//	 7  group      1  length of the group's name
//	 8  checksum   4  CRC-32C of everything but these four bytes
//	12  from       4  the instance that published it
//	16  to         4  the instance addressed, or zero
//	20  run        8  the publisher's process: a random number drawn at its start
//	28  pub        8  the publisher's count of its messages; zero where nothing depends on it
//	36  chan       8  the publisher's count of its messages to this channel, from 1; zero: not counted
//	44  seq        8  the sending client's count
//	52  sender    16
//	68  receiver  16
//	84  group      n
//	    extra      2  its length, then as many bytes; only where flags has flagExtra
//	    …          what later minors add, skipped by size
//	size-16  tag 16  where the cluster has secrets; see signer
//
// A lease says which kinds of the Handler's messages its instance knows: it gets no others, which it would count as missed.
//
// Two releases that share the major version understand each other: a later minor only adds fields behind the group
// and kinds, and an earlier one skips the former and counts the latter. A different major is counted and ignored.
const (
	headerMagic   = 0xE54D
	headerMajor   = 1
	headerMinor   = 2 // 1 added kindHere, and what a lease says of its instance's minor version; 2 extra
	headerVersion = headerMajor<<4 | headerMinor
	headerFixed   = 84 // up to the group
	maxGroupLen   = math.MaxUint8
)

// Why bytes that arrived are not a message.
var (
	errForeign = errors.New("not a message of this hub")
	errVersion = errors.New("message of another major version")
	errCorrupt = errors.New("corrupt message")
	errForged  = errors.New("message without the cluster's signature")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// frame is a Message together with what the instances' bookkeeping needs.
type frame struct {
	broker.Message
	run     uint64 // which process of From published it
	pubSeq  uint64 // counts From's messages, from 1; zero: not counted
	chanSeq uint64 // counts From's messages on this channel, from 1; zero: not counted
}

// appendFrame appends f's wire form to dst, signed by s. It fails only where the group's name is longer than 255 bytes.
func appendFrame(dst []byte, f *frame, s *signer) ([]byte, error) {
	if len(f.Group) > maxGroupLen {
		return dst, fmt.Errorf("broker: encode message: group name of %d bytes, at most %d", len(f.Group), maxGroupLen)
	}
	if len(f.Extra) > broker.MaxExtra {
		return dst, fmt.Errorf("broker: encode message: %d bytes go along with it, at most %d", len(f.Extra), broker.MaxExtra)
	}
	start := len(dst)
	be := binary.BigEndian
	flags := byte(f.Flags)
	if len(f.Extra) > 0 {
		flags |= flagExtra
	}
	dst = be.AppendUint16(dst, headerMagic)
	dst = append(dst, headerVersion, byte(f.Kind))
	dst = be.AppendUint16(dst, uint16(headerFixed+len(f.Group)+extraLen(f)+s.room()))
	dst = append(dst, flags, byte(len(f.Group)), 0, 0, 0, 0)
	dst = be.AppendUint32(dst, uint32(f.From))
	dst = be.AppendUint32(dst, uint32(f.To))
	dst = be.AppendUint64(dst, f.run)
	dst = be.AppendUint64(dst, f.pubSeq)
	dst = be.AppendUint64(dst, f.chanSeq)
	dst = be.AppendUint64(dst, f.Seq)
	dst = append(dst, f.Sender[:]...)
	dst = append(dst, f.Receiver[:]...)
	dst = append(dst, f.Group...)
	if len(f.Extra) > 0 {
		dst = append(be.AppendUint16(dst, uint16(len(f.Extra))), f.Extra...)
	}
	if s != nil {
		dst = append(dst, zeroTag[:]...)
	}
	dst = append(dst, f.Payload...)
	s.sign(dst[start:])
	return dst, nil
}

// zeroTag keeps the place of a tag.
var zeroTag [tagLen]byte

// flagExtra marks on the wire a message with Extra.
const flagExtra = 1 << 3

// extraLen is how many bytes of f's wire form Extra takes.
func extraLen(f *frame) int {
	if len(f.Extra) == 0 {
		return 0
	}
	return 2 + len(f.Extra)
}

// frameLen is the length of f's wire form, signed by s.
func frameLen(f *frame, s *signer) int {
	return headerFixed + len(f.Group) + extraLen(f) + s.room() + len(f.Payload)
}

// parseFrame reads b into f, whose Group, Extra and Payload then point into b. Its error is one of errForeign, errVersion
// and errCorrupt; f is then in an undefined state.
func parseFrame(b []byte, f *frame) error {
	if len(b) < 3 || binary.BigEndian.Uint16(b) != headerMagic {
		return errForeign
	}
	if b[2]>>4 != headerMajor {
		return errVersion
	}
	if len(b) < headerFixed {
		return errCorrupt
	}
	be := binary.BigEndian
	size, group := int(be.Uint16(b[4:])), int(b[7])
	if size < headerFixed+group || size > len(b) || be.Uint32(b[8:]) != frameChecksum(b) {
		return errCorrupt
	}
	f.Kind, f.Flags, f.Extra = broker.Kind(b[3]), broker.Flags(b[6]&^flagExtra), nil
	if b[6]&flagExtra != 0 {
		at := headerFixed + group + 2
		if at > size || at+int(be.Uint16(b[at-2:])) > size {
			return errCorrupt
		}
		end := at + int(be.Uint16(b[at-2:]))
		f.Extra = b[at:end:end]
	}
	f.From, f.To = broker.NodeID(be.Uint32(b[12:])), broker.NodeID(be.Uint32(b[16:]))
	f.run, f.pubSeq, f.chanSeq, f.Seq = be.Uint64(b[20:]), be.Uint64(b[28:]), be.Uint64(b[36:]), be.Uint64(b[44:])
	copy(f.Sender[:], b[52:])
	copy(f.Receiver[:], b[68:])
	f.Group = b[headerFixed : headerFixed+group : headerFixed+group]
	f.Payload = b[size:]
	return nil
}

// frameChecksum covers all of a frame but the checksum's own place.
func frameChecksum(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:8], castagnoli), castagnoli, b[12:])
}
