package rtm

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Type is the kind of a frame, the value of its member "type".
type Type string

// The types of the protocol.
const (
	Hello       Type = "hello"        // server, on both connections: it is open
	Goodbye     Type = "goodbye"      // server: the connection is about to close
	TeamJoin    Type = "team.join"    // server, Global: TeamID
	TeamLeft    Type = "team.left"    // server: TeamID, which may be left out on the team's own connection
	TeamConnect Type = "team.connect" // client, Global: TeamID; server, Global: TeamID and WSURL
	Error       Type = "error"        // server: Text, Received, perhaps TeamID
	Message     Type = "message"      // server, Team: Text
	Ping        Type = "ping"         // client, Team: UniqueID
	Pong        Type = "pong"         // server, Team: UniqueID
	Healthcheck Type = "healthcheck"  // server, Global: a question without members; client, Global: Stats
)

// Frame is one message of the protocol. Its type decides which members are used; the others are zero.
type Frame struct {
	Type     Type
	TeamID   ID
	WSURL    string         // TeamConnect of the server: where to open the team's WebSocket; http, https, ws or wss
	Text     string         // Message: its text. Error: what is wrong, the member "message"
	UniqueID ID             // Ping, Pong
	Received jsontext.Value // Error: what the error is about, the member "received_message": any JSON value, or nil
	Stats    []Stat         // Healthcheck of the client; nil in the server's
}

// Stat is a client's statement about one team in a healthcheck answer.
type Stat struct {
	ID           ID     `json:"id"`
	Connected    bool   `json:"connected"`     // whether the team's WebSocket is connected
	MessageCount uint64 `json:"message_count"` // messages received by the team so far
	PropsCount   uint64 `json:"props_count"`   // those among them with "props" in the text
}

// Errors of [Parse], for [errors.Is].
var (
	ErrMalformed   = errors.New("malformed frame")
	ErrUnknownType = errors.New("unknown type of frame")
)

// maxTypeBytes bounds the name of a type.
const maxTypeBytes = 64

// wire is the raw form of a frame: only the members that its type uses are parsed.
type wire struct {
	Type     jsontext.Value `json:"type"`
	TeamID   jsontext.Value `json:"team_id"`
	WSURL    jsontext.Value `json:"ws_url"`
	Text     jsontext.Value `json:"text"`
	UniqueID jsontext.Value `json:"unique_id"`
	Message  jsontext.Value `json:"message"`
	Received jsontext.Value `json:"received_message"`
	Stats    jsontext.Value `json:"stats"`
}

// Parse reads one frame from either side. It must be one JSON object (RFC 8259) in valid UTF-8 without repeated names,
// with a type; names are compared exactly. Members that the type needs must be there and have their type: TeamID of
// TeamJoin and TeamConnect, UniqueID, Text of Message. WSURL, which clients don't send, and TeamID of TeamLeft and
// Error may be absent: callers must check. Other members are ignored.
//
// The error is [ErrMalformed] with its cause, or [ErrUnknownType] with a frame that has only its type. The frame does
// not alias data.
func Parse(data []byte) (Frame, error) {
	var w wire
	if err := json.Unmarshal(data, &w); err != nil {
		return Frame{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if w.Type == nil {
		return Frame{}, fmt.Errorf("%w: there is no object with a type", ErrMalformed)
	}
	name, err := text(w.Type)
	if err == nil && (name == "" || len(name) > maxTypeBytes) {
		err = fmt.Errorf("%d bytes, want 1 to %d", len(name), maxTypeBytes)
	}
	if err != nil {
		return Frame{}, fmt.Errorf("%w: type: %w", ErrMalformed, err)
	}
	f := Frame{Type: Type(name)}
	if err := f.read(&w); err != nil {
		return Frame{Type: f.Type}, err
	}
	return f, nil
}

// read parses the members of the frame's type.
func (f *Frame) read(w *wire) error {
	switch f.Type {
	case Hello, Goodbye:
		return nil
	case TeamJoin:
		return member("team_id", w.TeamID, true, &f.TeamID, ParseID)
	case TeamLeft:
		return member("team_id", w.TeamID, false, &f.TeamID, ParseID)
	case TeamConnect:
		return errors.Join(
			member("team_id", w.TeamID, true, &f.TeamID, ParseID),
			member("ws_url", w.WSURL, false, &f.WSURL, text))
	case Message:
		return member("text", w.Text, true, &f.Text, text)
	case Ping, Pong:
		return member("unique_id", w.UniqueID, true, &f.UniqueID, ParseID)
	case Error:
		f.Received = w.Received.Clone()
		return errors.Join(
			member("team_id", w.TeamID, false, &f.TeamID, ParseID),
			member("message", w.Message, false, &f.Text, text))
	case Healthcheck:
		return member("stats", w.Stats, false, &f.Stats, stats)
	}
	return fmt.Errorf("%w: %.*q", ErrUnknownType, maxTypeBytes, string(f.Type))
}

// member reads one member with parse. null counts as absent.
func member[T any](name string, value jsontext.Value, required bool, to *T, parse func([]byte) (T, error)) error {
	if value == nil || value.Kind() == 'n' {
		if required {
			return fmt.Errorf("%w: %s is missing", ErrMalformed, name)
		}
		return nil
	}
	v, err := parse(value)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrMalformed, name, err)
	}
	*to = v
	return nil
}

var errNotString = errors.New("want a string")

func text(value []byte) (string, error) {
	if value[0] != '"' {
		return "", errNotString
	}
	s, err := jsontext.AppendUnquote(nil, value)
	return string(s), err
}

func stats(value []byte) ([]Stat, error) {
	all := []Stat{}
	if err := json.Unmarshal(value, &all); err != nil {
		return nil, err
	}
	for _, s := range all {
		if s.ID.IsZero() {
			return nil, errors.New("an entry without id")
		}
	}
	return all, nil
}

// Append appends the frame as one JSON object. It leaves out members that its type lacks, and optional ones that are
// zero. Invalid UTF-8 in a string becomes U+FFFD.
func (f *Frame) Append(dst []byte) []byte {
	dst = AppendString(append(dst, `{"type":`...), string(f.Type))
	if !f.TeamID.IsZero() {
		switch f.Type {
		case TeamJoin, TeamLeft, TeamConnect, Error:
			dst = f.TeamID.Append(append(dst, `,"team_id":`...))
		}
	}
	switch f.Type {
	case TeamConnect:
		if f.WSURL != "" {
			dst = AppendString(append(dst, `,"ws_url":`...), f.WSURL)
		}
	case Message:
		dst = AppendString(append(dst, `,"text":`...), f.Text)
	case Ping, Pong:
		dst = f.UniqueID.Append(append(dst, `,"unique_id":`...))
	case Error:
		dst = AppendString(append(dst, `,"message":`...), f.Text)
		if f.Received != nil {
			dst = append(append(dst, `,"received_message":`...), f.Received...)
		}
	case Healthcheck:
		dst = appendStats(dst, f.Stats)
	}
	return append(dst, '}')
}

func appendStats(dst []byte, stats []Stat) []byte {
	if stats == nil {
		return dst
	}
	dst = append(dst, `,"stats":[`...)
	for i, s := range stats {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = s.ID.Append(append(dst, `{"id":`...))
		dst = strconv.AppendBool(append(dst, `,"connected":`...), s.Connected)
		dst = strconv.AppendUint(append(dst, `,"message_count":`...), s.MessageCount, 10)
		dst = strconv.AppendUint(append(dst, `,"props_count":`...), s.PropsCount, 10)
		dst = append(dst, '}')
	}
	return append(dst, ']')
}

func appendInt(dst []byte, n int64) []byte { return strconv.AppendInt(dst, n, 10) }
