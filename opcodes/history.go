package opcodes

import (
	"errors"
	"fmt"
	"strconv"
)

// MaxEpochBytes bounds the name of an epoch.
const MaxEpochBytes = 64

// MaxOffset is the greatest number of a message: every JSON library reads it exactly.
const MaxOffset = 1<<53 - 1

// Position is a place in the history of a group: behind the message with the number Offset, as that was in the epoch.
type Position struct {
	Epoch  string // empty for none: of what is kept, everything behind Offset
	Offset uint64
}

// Recovery is from where on a client wants the messages of a group with history.
type Recovery struct {
	Group string
	Position
}

var errNoOffset = errors.New("recover: a position has no offset")

// recoveries reads the next object as the member recover. The result is not nil.
func (p dataParser) recoveries(member string) ([]Recovery, error) {
	if p.dec.PeekKind() != '{' {
		return nil, fmt.Errorf("%s: not an object", member)
	}
	all := []Recovery{}
	err := p.object(func(group string) error {
		if p.dec.PeekKind() != '{' {
			return fmt.Errorf("%s: a position is not an object", member)
		}
		r, found := Recovery{Group: group}, false
		err := p.object(func(name string) (err error) {
			switch name {
			case "offset":
				found = true
				r.Offset, err = p.offset(member)
			case "epoch":
				if p.dec.PeekKind() == 'n' {
					return p.skip()
				}
				r.Epoch, err = p.text(member, MaxEpochBytes)
			default:
				err = p.skip()
			}
			return err
		})
		if err == nil && !found {
			err = errNoOffset
		}
		all = append(all, r)
		return err
	})
	return all, err
}

// offset reads the next number, which must be written as an integer from 0 to MaxOffset.
func (p dataParser) offset(member string) (uint64, error) {
	token, err := p.dec.ReadToken()
	if err != nil {
		return 0, errDataNotJSON
	}
	if token.Kind() == '0' {
		if n, err := strconv.ParseUint(token.String(), 10, 64); err == nil && n <= MaxOffset {
			return n, nil
		}
	}
	return 0, fmt.Errorf("%s: an offset is not an integer from 0 to %d", member, uint64(MaxOffset))
}

// Joined is the position at which a client joined a group with history: what is sent to the group behind it, and what it
// recovers before, follows.
type Joined struct {
	Group string
	Position
	Recovers   bool
	Recovering uint64 // of a client that recovers: how many messages it is behind
}

func joinedSize(all []Joined) int {
	const one = len(`"":{"epoch":"","offset":,"recovering":},`) + 2*20
	n := 0
	for i := range all {
		n += one + 6*(len(all[i].Group)+len(all[i].Epoch))
	}
	return n
}

// appendJoined appends the member history of an answer to a SUBSCRIBE or IDENTIFY, unless all is nil.
func appendJoined(dst []byte, all []Joined) []byte {
	if all == nil {
		return dst
	}
	dst = append(dst, `,"history":{`...)
	for i := range all {
		j := &all[i]
		dst = appendString(comma(dst, i), j.Group)
		dst = append(dst, `:{"epoch":`...)
		dst = appendPosition(dst, j.Position)
		if j.Recovers {
			dst = strconv.AppendUint(append(dst, `,"recovering":`...), j.Recovering, 10)
		}
		dst = append(dst, '}')
	}
	return append(dst, '}')
}

// appendPosition appends an epoch's name and, as the member behind it, the offset.
func appendPosition(dst []byte, p Position) []byte {
	dst = appendString(dst, p.Epoch)
	dst = append(dst, `,"offset":`...)
	return strconv.AppendUint(dst, p.Offset, 10)
}

// GapReason is why a client does not get all messages of a group with history.
type GapReason string

// The reasons.
const (
	NoGap          GapReason = ""
	GapTrimmed     GapReason = "TRIMMED"     // what is behind its position is not kept any more
	GapEpoch       GapReason = "EPOCH"       // what it saw behind the offset is void: the history has another epoch now
	GapUnavailable GapReason = "UNAVAILABLE" // what is behind its position can't be read
)

// HistoryData is what a HISTORY says of a group: where the client is, and one of Live, Gap or, where both are absent, that
// a new epoch begins behind the offset.
type HistoryData struct {
	Group string
	Position
	Live  bool // it has caught up: what follows is delivered as it is sent
	Gap   GapReason
	First uint64 // of GapTrimmed: the number of the first message that is kept
}

// HistorySize returns the most that [AppendHistory] appends, in bytes.
func HistorySize(h *HistoryData) int {
	const frame = len(`{"op":11,"data":{"group":"","epoch":"","offset":,"live":true,"gap":{"reason":"","first":}}}`) + 2*20
	return frame + 6*(len(h.Group)+len(h.Epoch)+len(h.Gap))
}

// AppendHistory appends a HISTORY.
func AppendHistory(dst []byte, h *HistoryData) []byte {
	dst = appendString(append(dst, `{"op":11,"data":{"group":`...), h.Group)
	dst = appendPosition(append(dst, `,"epoch":`...), h.Position)
	if h.Live {
		dst = append(dst, `,"live":true`...)
	}
	if h.Gap != NoGap {
		dst = appendString(append(dst, `,"gap":{"reason":`...), string(h.Gap))
		if h.Gap == GapTrimmed {
			dst = strconv.AppendUint(append(dst, `,"first":`...), h.First, 10)
		}
		dst = append(dst, '}')
	}
	return append(dst, `}}`...)
}

const memberOffset = `,"offset":`

// NumberedSize returns the most that [AppendNumbered] appends, in bytes.
func NumberedSize(message []byte) int { return len(message) + len(memberOffset) + 20 }

// AppendNumbered appends a delivery as [AppendDelivery] or [AppendMessage] made it, with the number as its last member but
// sender. It appends nothing if message is something else.
func AppendNumbered(dst, message []byte, offset uint64) []byte {
	const tail = len(memberSender) + uuidBytes + len(`"}`)
	at := len(message) - tail
	if at < 0 || string(message[at:at+len(memberSender)]) != memberSender {
		return dst
	}
	dst = append(dst, message[:at]...)
	dst = strconv.AppendUint(append(dst, memberOffset...), offset, 10)
	return append(dst, message[at:]...)
}

// AppendNumberedAck appends an ACK of a message to a group with history, as for [AppendAck]. duplicate tells that it was not
// appended, as offset is the number of an earlier one with its id.
func AppendNumberedAck(dst, id []byte, offset uint64, duplicate bool) []byte {
	dst = append(dst, `{"op":7`...)
	dst = appendID(dst, id)
	dst = strconv.AppendUint(append(dst, `,"data":{"nodes":1,"offset":`...), offset, 10)
	if duplicate {
		dst = append(dst, `,"duplicate":true`...)
	}
	return append(dst, `}}`...)
}
