package team

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/services/team/rtm"
	"github.com/mastersocket/mastersocket/transport"
)

// maxReceived bounds what an error event repeats of the client's message, in bytes.
const maxReceived = 1 << 10

// maxComplaint bounds what an error event says is wrong, in bytes.
const maxComplaint = 256

// errorFrame makes an error event. A message that is JSON is repeated as it is, any other, or one that is too long, as a
// string of its beginning.
func errorFrame(what string, received []byte, id rtm.ID) *rtm.Frame {
	f := &rtm.Frame{Type: rtm.Error, Text: cut(what, maxComplaint), TeamID: id}
	if v := jsontext.Value(received); len(received) <= maxReceived && v.IsValid() {
		f.Received = v
	} else {
		f.Received = rtm.AppendString(nil, cut(string(received[:min(len(received), maxReceived+utf8.UTFMax)]), maxReceived))
	}
	return f
}

// cut returns the beginning of s, whole characters of n bytes at most.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// messageFrame returns a message event whose text is the JSON string given. The caller owns a reference.
func messageFrame(text jsontext.Value) *transport.Buffer {
	const head = `{"type":"message","text":`
	b := transport.AllocBuffer(len(head) + len(text) + 1)
	b.Seal(append(append(append(b.Room(), head...), text...), '}'))
	return b
}

// hasProps reports whether the text has "props" in it.
func hasProps(text jsontext.Value) bool {
	if strings.Contains(string(text), `\`) {
		plain, err := jsontext.AppendUnquote(nil, text)
		return err == nil && strings.Contains(string(plain), "props")
	}
	return strings.Contains(string(text), "props")
}

// socketData is the data of team.connected, and with a reason of team.disconnected.
func socketData(id rtm.ID, client uuid.UUID, reason string) []byte {
	dst := id.Append([]byte(`{"team_id":`))
	if reason != "" {
		dst = rtm.AppendString(append(dst, `,"reason":`...), reason)
	}
	return appendClient(dst, client)
}

// healthData is the data of team.health: what the client at a Global connection says of a team.
func healthData(s *rtm.Stat, client uuid.UUID) []byte {
	dst := s.ID.Append(append(make([]byte, 0, 192), `{"team_id":`...))
	dst = strconv.AppendBool(append(dst, `,"connected":`...), s.Connected)
	dst = strconv.AppendUint(append(dst, `,"message_count":`...), s.MessageCount, 10)
	dst = strconv.AppendUint(append(dst, `,"props_count":`...), s.PropsCount, 10)
	return appendClient(dst, client)
}

// appendClient appends the last member of an event's data, a client's id.
func appendClient(dst []byte, client uuid.UUID) []byte {
	dst = append(append(dst, `,"client":"`...), client.String()...)
	return append(dst, `"}`...)
}
