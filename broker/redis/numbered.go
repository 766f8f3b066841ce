package redis

import (
	"encoding/binary"

	"github.com/mastersocket/mastersocket/broker"
)

// The wire form of numbered messages, as the script publishes them: a header, then the messages. Integers are big-endian.
//
//	 0  magic    2  0xE5 'M'
//	 2  version  1  numberedMajor<<4 | minor: an older release counts and ignores it
//	 3  epoch    1  length of its name
//	 4  count    2
//	 6  first    8  the number of the first message; the others follow without gaps
//	14  epoch    n
//	    for each message its length (4) and the message in the form of frame.go, with kindNumbered
const (
	numberedMajor = 2
	numberedFixed = 14
)

// numbered are the messages of one call of the script, as far as they are not read yet.
type numbered struct {
	epoch []byte
	count int
	first uint64
	rest  numberedMessages
}

// numberedMessages are messages, each behind its length. The stream has them in this form, too.
type numberedMessages []byte

// isNumbered says whether b has the wire form of numbered messages.
func isNumbered(b []byte) bool {
	return len(b) >= numberedFixed && binary.BigEndian.Uint16(b) == headerMagic && b[2]>>4 == numberedMajor
}

// parseNumbered reads the header of b.
func parseNumbered(b []byte) (n numbered, ok bool) {
	if !isNumbered(b) || len(b) < numberedFixed+int(b[3]) || b[3] == 0 {
		return n, false
	}
	be := binary.BigEndian
	end := numberedFixed + int(b[3])
	n = numbered{b[numberedFixed:end], int(be.Uint16(b[4:])), be.Uint64(b[6:]), b[end:]}
	return n, n.count > 0 && n.first > 0 && n.first < 1<<63
}

// next takes the next message and its number.
func (n *numbered) next() (raw []byte, offset uint64, ok bool) {
	if raw, ok = n.rest.next(); !ok || n.count == 0 {
		return nil, 0, false
	}
	offset = n.first
	n.count--
	n.first++
	return raw, offset, true
}

// next takes the next message.
func (n *numberedMessages) next() (raw []byte, ok bool) {
	b := *n
	if len(b) < 4 {
		return nil, false
	}
	size := uint64(binary.BigEndian.Uint32(b))
	if size > uint64(len(b)-4) {
		return nil, false
	}
	*n = b[4+size:]
	return b[4 : 4+size : 4+size], true
}

// parseNumberedFrame reads one message of a group with history.
func (r *Broker) parseNumberedFrame(raw []byte, f *frame) error {
	if err := r.parse(raw, f); err != nil {
		return err
	}
	if f.Kind != kindNumbered {
		return errCorrupt
	}
	f.Kind = broker.KindGroup
	return nil
}
