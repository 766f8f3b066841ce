package opcodes

import (
	"strconv"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/intent"
)

// Message is an EVENT or REPLY composed by the hub, for example for a client of another protocol. It may go to a reserved
// group.
type Message struct {
	Op       Op
	ID       string // 1 to MaxIDBytes bytes; empty means a new UUID
	Event    string // at most 128 bytes; omitted if empty
	Data     []byte // one JSON value; omitted if empty
	Members  []byte // further members of the envelope, each with a comma before it; their names are not the protocol's
	Target   intent.Target
	Group    []byte    // for Group and Any; nil for Any among all clients
	Receiver uuid.UUID // for Direct
}

// MessageSize returns the most that [AppendMessage] appends, in bytes.
func MessageSize(m *Message) int {
	const members = len(`{"op":0,"id":"","event":"","data":,"intent":{"target":"GLOBAL","identifier":""},"sender":""}`)
	return members + 6*(len(m.ID)+len(m.Event)+len(m.Group)) + len(m.Data) + len(m.Members) + 3*uuidBytes
}

// AppendMessage appends m as its receivers get it.
func AppendMessage(dst []byte, m *Message, sender uuid.UUID) []byte {
	dst = append(dst, `{"op":`...)
	dst = strconv.AppendInt(dst, int64(m.Op), 10)
	dst = append(dst, `,"id":`...)
	if m.ID != "" {
		dst = appendString(dst, m.ID)
	} else {
		dst = append(dst, '"')
		dst = appendUUID(dst, uuid.New())
		dst = append(dst, '"')
	}
	if m.Event != "" {
		dst = append(dst, `,"event":`...)
		dst = appendString(dst, m.Event)
	}
	if len(m.Data) > 0 {
		dst = append(dst, `,"data":`...)
		dst = append(dst, m.Data...)
	}
	dst = append(dst, m.Members...)
	dst = append(dst, `,"intent":{"target":"`...)
	dst = append(dst, m.Target.String()...)
	dst = append(dst, '"')
	switch {
	case m.Target == intent.Direct:
		dst = append(dst, `,"identifier":"`...)
		dst = appendUUID(dst, m.Receiver)
		dst = append(dst, '"')
	case m.Target != intent.Global && len(m.Group) > 0:
		dst = append(dst, `,"identifier":`...)
		dst = appendString(dst, string(m.Group))
	}
	dst = append(dst, `}`...)
	dst = append(dst, memberSender...)
	dst = appendUUID(dst, sender)
	return append(dst, `"}`...)
}

// AppendEvent appends the EVENT that body stands for, an envelope without op, as a client sends it. Whether that is valid is
// for [Envelope.Scan] to say; ok is false where body is no JSON object.
func AppendEvent(dst, body []byte) (message []byte, ok bool) {
	i := skipSpace(body, 0)
	if i >= len(body) || body[i] != '{' {
		return dst, false
	}
	dst = append(dst, `{"op":0`...)
	if next := skipSpace(body, i+1); next >= len(body) || body[next] != '}' {
		dst = append(dst, ',')
	}
	return append(dst, body[i+1:]...), true
}
