package opcodes

import (
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
)

// Messages without variable parts.
const (
	PingMessage = `{"op":3}`
	PongMessage = `{"op":4}`
)

const (
	memberSender = `,"sender":"`
	memberID     = `,"id":"`
)

// DeliverySize returns the most that [AppendDelivery] appends, in bytes.
func DeliverySize(e *Envelope) int {
	return len(e.Raw) + len(memberID) + len(memberSender) + 2*(uuidBytes+len(`"`))
}

// AppendDelivery appends an EVENT or REPLY as its receivers get it: byte for byte as it was sent, with sender as the last
// member. id replaces an id that was null, and is added before sender if there was none; otherwise it is unused.
//
// e must be the result of a successful [Envelope.Scan].
func AppendDelivery(dst []byte, e *Envelope, id, sender uuid.UUID) []byte {
	body := e.Raw[:len(e.Raw)-len(`}`)]
	switch {
	case e.ID != nil:
		dst = append(dst, body...)
	case e.idNull > 0:
		dst = append(dst, body[:e.idNull]...)
		dst = append(dst, '"')
		dst = appendUUID(dst, id)
		dst = append(dst, '"')
		dst = append(dst, body[e.idNull+len("null"):]...)
	default:
		dst = append(dst, body...)
		dst = append(dst, memberID...)
		dst = appendUUID(dst, id)
		dst = append(dst, '"')
	}
	dst = append(dst, memberSender...)
	dst = appendUUID(dst, sender)
	return append(dst, `"}`...)
}

// AppendWithoutSender appends a delivery as [AppendDelivery] made it, without its last member, sender. It appends nothing
// if message is something else.
func AppendWithoutSender(dst, message []byte) []byte {
	const tail = len(memberSender) + uuidBytes + len(`"}`)
	at := len(message) - tail
	if at < 0 || string(message[at:at+len(memberSender)]) != memberSender {
		return dst
	}
	return append(append(dst, message[:at]...), '}')
}

// Identified is the hub's answer to a successful IDENTIFY.
type Identified struct {
	ID              uuid.UUID     // the client's id
	Ping            time.Duration // the hub sends a PING after this much silence; whole milliseconds on the wire
	Node            string        // the name of the instance
	SessionStarted  time.Time     // on the wire in UTC and whole milliseconds
	MaxMessageBytes int           // the largest message that the hub accepts
	Features        Feature       // granted
	Watch           []string      // the groups in the IDENTIFY's member watch; nil to leave it out
	Holds           []Hold        // the groups in its member exclusive; nil to leave it out
	Joined          []Joined      // its groups with history; nil to leave it out
}

// AppendIdentified appends the hub's answer to an IDENTIFY.
func AppendIdentified(dst []byte, a Identified) []byte {
	dst = append(dst, `{"op":1,"data":{"id":"`...)
	dst = appendUUID(dst, a.ID)
	dst = append(dst, `","ping":`...)
	dst = strconv.AppendInt(dst, a.Ping.Milliseconds(), 10)
	dst = append(dst, `,"node":`...)
	dst = appendString(dst, a.Node)
	dst = append(dst, `,"session_started":"`...)
	dst = a.SessionStarted.UTC().AppendFormat(dst, "2006-01-02T15:04:05.000Z07:00")
	dst = append(dst, `","max_message_bytes":`...)
	dst = strconv.AppendInt(dst, int64(a.MaxMessageBytes), 10)
	dst = append(dst, `,"features":[`...)
	for i, name := range featureNames {
		if !a.Features.Has(1 << i) {
			continue
		}
		if dst[len(dst)-1] != '[' {
			dst = append(dst, ',')
		}
		dst = appendString(dst, name)
	}
	dst = append(dst, ']')
	dst = appendNames(dst, `,"watch":[`, a.Watch)
	dst = appendHolds(dst, a.Holds)
	dst = appendJoined(dst, a.Joined)
	return append(dst, `}}`...)
}

// AppendDisconnect appends a DISCONNECT with its reason.
func AppendDisconnect(dst []byte, r Reason) []byte {
	dst = append(dst, `{"op":2,"data":"`...)
	dst = append(dst, r.String()...)
	return append(dst, `"}`...)
}

// AppendError appends an ERROR about the message with the given id, which is still escaped ([Envelope.ID]). If id is nil,
// the ERROR has none. The message is for people.
func AppendError(dst, id []byte, code ErrorCode, message string) []byte {
	dst = append(dst, `{"op":6`...)
	dst = appendID(dst, id)
	dst = append(dst, `,"data":{"code":`...)
	dst = appendString(dst, string(code))
	dst = append(dst, `,"message":`...)
	dst = appendString(dst, message)
	return append(dst, `}}`...)
}

// AppendAck appends an ACK of the message with the given id, as for [AppendError]. nodes is the number of instances that
// got the message.
func AppendAck(dst, id []byte, nodes int) []byte {
	dst = append(dst, `{"op":7`...)
	dst = appendID(dst, id)
	dst = append(dst, `,"data":{"nodes":`...)
	dst = strconv.AppendInt(dst, int64(nodes), 10)
	return append(dst, `}}`...)
}

// appendID appends the member id unless id is nil.
func appendID(dst, id []byte) []byte {
	if id == nil {
		return dst
	}
	dst = append(dst, memberID...)
	dst = append(dst, id...)
	return append(dst, '"')
}

// appendString appends s as a JSON string. Invalid UTF-8 becomes U+FFFD; AppendQuote's error reports only that.
func appendString(dst []byte, s string) []byte {
	dst, _ = jsontext.AppendQuote(dst, s)
	return dst
}

// appendUUID appends the 36 characters of a UUID.
func appendUUID(dst []byte, id uuid.UUID) []byte {
	const digits = "0123456789abcdef"
	var text [uuidBytes]byte
	text[8], text[13], text[18], text[23] = '-', '-', '-', '-'
	for i, at := range uuidDigits {
		text[at], text[at+1] = digits[id[i]>>4], digits[id[i]&15]
	}
	return append(dst, text[:]...)
}
