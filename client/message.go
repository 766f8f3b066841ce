package client

import (
	"bytes"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/mastersocket/mastersocket/intent"
	"github.com/mastersocket/mastersocket/opcodes"
)

// Message is a message from another client. Its receiver may keep it; no memory of it is reused.
type Message struct {
	Op     opcodes.Op         // opcodes.Event or opcodes.Reply
	ID     string             // correlates an EVENT with its REPLYs
	Event  string             // the event's name
	Data   stdjson.RawMessage // one JSON value as the sender wrote it; nil if absent
	Sender string             // the sender's id, set by the hub
	Intent Intent             // how it was addressed
	Raw    stdjson.RawMessage // the whole envelope as it arrived

	// Attempt is how often the request was handed to a member: 2 and more where an earlier one did not answer it, and may
	// have begun to work on it. 0 and 1 are the first.
	Attempt int
	// Offset is the message's number in a group with history; 0 for any other message.
	Offset uint64
	// More is true for a REPLY that another one of the same client follows.
	More bool
	// Err is the error of the handler, in a REPLY that brings one instead of an answer.
	Err *RemoteError

	client  *Client
	duty    *duty    // to answer a request; nil for a message that is none
	history *history // a HISTORY, which takes its place among the messages; nil for a message
}

// Unmarshal decodes the data into v, as [encoding/json.Unmarshal] does.
func (m *Message) Unmarshal(v any) error {
	if err := stdjson.Unmarshal(m.Data, v); err != nil {
		return fmt.Errorf("data of event %q: %w", m.Event, err)
	}
	return nil
}

// wireMessage is an envelope from the hub. The hub has checked the envelope, but not its data.
type wireMessage struct {
	Op     opcodes.Op     `json:"op"`
	ID     string         `json:"id"`
	Event  string         `json:"event"`
	Data   jsontext.Value `json:"data"`
	Intent wireIntent     `json:"intent"`
	Sender string         `json:"sender"`

	Expect  jsontext.Value `json:"expect"`
	Attempt jsontext.Value `json:"attempt"`
	More    jsontext.Value `json:"more"`
	Failure jsontext.Value `json:"error"`
	Offset  jsontext.Value `json:"offset"`
}

type wireIntent struct {
	Target     string `json:"target"`
	Identifier string `json:"identifier"`

	Identifiers jsontext.Value `json:"identifiers"`
	Except      jsontext.Value `json:"except"`
}

// intent returns what the message was addressed to.
func (w *wireIntent) intent(target intent.Target) Intent {
	i := Intent{Target: target, Identifier: w.Identifier}
	if w.Identifiers == nil && w.Except == nil {
		return i
	}
	s := new(selection)
	_ = json.Unmarshal(w.Identifiers, &s.targets) // a hub of an earlier release forwards anything under these names
	_ = json.Unmarshal(w.Except, &s.except)
	if s.targets != nil || s.except != nil {
		i.selection = s
	}
	return i
}

// readOptions allow duplicate names, which are valid within data.
var readOptions = json.JoinOptions(jsontext.AllowDuplicateNames(true))

func parseWire(raw []byte) (*wireMessage, error) {
	var w wireMessage
	if err := json.Unmarshal(raw, &w, readOptions); err != nil {
		return nil, fmt.Errorf("malformed message from the hub: %w", err)
	}
	return &w, nil
}

// message returns w as a Message; raw is its text.
func (w *wireMessage) message(raw []byte, c *Client) *Message {
	target, _ := intent.ParseTarget([]byte(w.Intent.Target))
	m := &Message{
		Op: w.Op, ID: w.ID, Event: w.Event, Data: stdjson.RawMessage(w.Data), Sender: w.Sender,
		Intent: w.Intent.intent(target), Raw: raw, client: c,
	}
	if n, err := strconv.ParseUint(string(w.Offset), 10, 64); err == nil { // others may put there what they like
		m.Offset = n
	}
	if w.Op == opcodes.Reply {
		m.More = string(w.More) == "true"
		if w.Failure != nil {
			m.Err = &RemoteError{Code: codeError, Sender: w.Sender, Event: w.Event}
			_ = json.Unmarshal(w.Failure, m.Err, readOptions) // others may put there what they like
		}
	} else if w.Attempt != nil {
		_ = json.Unmarshal(w.Attempt, &m.Attempt)
	}
	return m
}

// identify is the data of IDENTIFY.
type identify struct {
	Token    string            `json:"token"`
	Group    string            `json:"group"`
	Groups   []string          `json:"groups,omitempty"`
	Name     string            `json:"name,omitempty"`
	Version  string            `json:"version,omitempty"`
	Meta     map[string]string `json:"meta,omitempty"`
	Weight   *int              `json:"weight,omitempty"`
	Watch    []string          `json:"watch,omitempty"`
	Replaces string            `json:"replaces,omitempty"`
	Features []string          `json:"features"`
	Echo     *bool             `json:"echo,omitempty"`

	Recover map[string]Position `json:"recover,omitempty"`
}

// Identity is the hub's answer to IDENTIFY. Each connection has its own.
type Identity struct {
	ID              string        // the client's id, which others can address with [Direct]
	Node            string        // the name of the hub's instance
	Ping            time.Duration // the hub sends a PING to a client that was silent for this long
	SessionStarted  time.Time
	MaxMessageBytes int      // the largest message that the hub accepts; 0 if unknown
	Features        []string // granted by the hub, such as "errors" and "requests"

	history map[string]Position // where the client joined its groups with history
}

func (id Identity) has(feature string) bool { return slices.Contains(id.Features, feature) }

type wireIdentity struct {
	ID              string    `json:"id"`
	Ping            int64     `json:"ping"` // ms
	Node            string    `json:"node"`
	SessionStarted  time.Time `json:"session_started"`
	MaxMessageBytes int       `json:"max_message_bytes"`
	Features        []string  `json:"features"`

	History map[string]Position `json:"history"`
}

func parseIdentity(data []byte) (Identity, error) {
	var w wireIdentity
	if err := json.Unmarshal(data, &w, readOptions); err != nil {
		return Identity{}, fmt.Errorf("malformed answer to IDENTIFY: %w", err)
	}
	if w.ID == "" || w.Ping < 0 || w.MaxMessageBytes < 0 {
		return Identity{}, fmt.Errorf("malformed answer to IDENTIFY: no id, or a negative number")
	}
	return Identity{
		w.ID, w.Node, time.Duration(w.Ping) * time.Millisecond, w.SessionStarted, w.MaxMessageBytes, w.Features, w.History,
	}, nil
}

var scanners = sync.Pool{New: func() any { return new(opcodes.Envelope) }}

// appendEnvelope appends a message in its wire format and checks it by the hub's rules.
func appendEnvelope(dst []byte, op opcodes.Op, id string, to Intent, event string, data []byte, members string) ([]byte, error) {
	if err := to.check(); err != nil {
		return dst, fmt.Errorf("to %.80q: %w", to, err)
	}
	var err error
	quote := func(s string) {
		var e error
		if dst, e = jsontext.AppendQuote(dst, s); e != nil {
			err = e
		}
	}
	dst = fmt.Appendf(dst, `{"op":%d,"id":`, op)
	quote(id)
	dst = append(dst, `,"event":`...)
	quote(event)
	dst = append(dst, `,"intent":{"target":`...)
	quote(to.Target.String())
	if to.Identifier != "" {
		dst = append(dst, `,"identifier":`...)
		quote(to.Identifier)
	}
	if s := to.selection; s != nil {
		list := func(member string, names []string) {
			for i, name := range names {
				if i > 0 {
					member = `,`
				}
				dst = append(dst, member...)
				quote(name)
			}
			if len(names) > 0 {
				dst = append(dst, ']')
			}
		}
		list(`,"identifiers":[`, s.targets)
		list(`,"except":[`, s.except)
	}
	dst = append(dst, '}')
	if data != nil {
		dst = append(append(dst, `,"data":`...), data...)
	}
	dst = append(append(dst, members...), '}')
	if err != nil {
		return dst, fmt.Errorf("event %.80q: %w", event, err)
	}
	if err := checkEnvelope(dst, data); err != nil {
		return dst, fmt.Errorf("event %.80q: %w", event, err)
	}
	return dst, nil
}

func checkEnvelope(msg, data []byte) error {
	scanner := scanners.Get().(*opcodes.Envelope)
	defer scanners.Put(scanner)
	if err := scanner.Scan(msg); err != nil {
		return err
	}
	// Raw data such as 1,"x":2 would add members to the envelope.
	if len(scanner.Data) != len(data) {
		return errors.New("the data is not one JSON value")
	}
	return nil
}

// encodeData returns data as JSON without surrounding white space; nil for nil.
func encodeData(data any) ([]byte, error) {
	switch v := data.(type) {
	case nil:
		return nil, nil
	case stdjson.RawMessage:
		return trimRaw(v), nil
	case jsontext.Value:
		return trimRaw(v), nil
	}
	var buf bytes.Buffer
	enc := stdjson.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(data); err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte{'\n'}), nil
}

// trimRaw strips surrounding white space (RFC 8259, section 2). It returns nil if nothing is left.
func trimRaw(raw []byte) []byte {
	if raw = bytes.Trim(raw, " \t\r\n"); len(raw) == 0 {
		return nil
	}
	return raw
}
