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

// maxReceived bounds the part of the client's message that an error event repeats, in bytes.
const maxReceived = 1 << 10

// maxComplaint bounds the message of an error event, in bytes.
const maxComplaint = 256

// errorFrame makes an error event. It repeats a short JSON message unchanged, and the beginning of any other as a
// string.
func errorFrame(what string, received []byte, id rtm.ID) *rtm.Frame {
	f := &rtm.Frame{Type: rtm.Error, Text: cut(what, maxComplaint), TeamID: id}
	if v := jsontext.Value(received); len(received) <= maxReceived && v.IsValid() {
		f.Received = v
	} else {
		f.Received = rtm.AppendString(nil, cut(string(received[:min(len(received), maxReceived+utf8.UTFMax)]), maxReceived))
	}
	return f
}

// cut returns the longest prefix of s of at most n bytes that ends at a character boundary.
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

// hasProps reports whether the text contains "props".
func hasProps(text jsontext.Value) bool {
	if strings.Contains(string(text), `\`) {
		plain, err := jsontext.AppendUnquote(nil, text)
		return err == nil && strings.Contains(string(plain), "props")
	}
	return strings.Contains(string(text), "props")
}

// socketData returns the data of team.connected or, with a reason, of team.disconnected.
func socketData(id rtm.ID, client uuid.UUID, reason string) []byte {
	dst := id.Append([]byte(`{"team_id":`))
	if reason != "" {
		dst = rtm.AppendString(append(dst, `,"reason":`...), reason)
	}
	return appendClient(dst, client)
}

// healthData returns the data of team.health: a client's claim about a team.
func healthData(s *rtm.Stat, client uuid.UUID) []byte {
	dst := s.ID.Append(append(make([]byte, 0, 192), `{"team_id":`...))
	dst = strconv.AppendBool(append(dst, `,"connected":`...), s.Connected)
	dst = strconv.AppendUint(append(dst, `,"message_count":`...), s.MessageCount, 10)
	dst = strconv.AppendUint(append(dst, `,"props_count":`...), s.PropsCount, 10)
	return appendClient(dst, client)
}

// appendClient appends the client's id as the last member of an event's data.
func appendClient(dst []byte, client uuid.UUID) []byte {
	dst = append(append(dst, `,"client":"`...), client.String()...)
	return append(dst, `"}`...)
}
