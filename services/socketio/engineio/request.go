package engineio

import (
	"bytes"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// Transport is how the packets of a session travel.
type Transport uint8

// The transports.
const (
	Polling Transport = iota
	WebSocket
)

// Query is what the query of a request's URL says. Parameters that the server doesn't know, such as t, are ignored.
type Query struct {
	Transport Transport
	SID       []byte // of an open session; empty to open one
	Relayed   bool   // another instance sends the request, for a client of it: see RelayedQuery
}

// Error is the answer to a request that the server refuses: an HTTP status and a JSON body with a code of the protocol.
type Error struct {
	Status  int
	Code    int
	Message string
}

func (e *Error) Error() string { return "engine.io: " + e.Message }

// AppendBody appends the JSON body of the answer.
func (e *Error) AppendBody(dst []byte) []byte {
	dst = append(dst, `{"code":`...)
	dst = strconv.AppendInt(dst, int64(e.Code), 10)
	dst = append(dst, `,"message":`...)
	dst, _ = jsontext.AppendQuote(dst, e.Message) // it replaces what is no UTF-8
	return append(dst, '}')
}

// The errors of a request, with the codes that clients of the protocol know.
var (
	ErrTransport  = &Error{400, 0, "Transport unknown"}
	ErrSession    = &Error{400, 1, "Session ID unknown"}
	ErrMethod     = &Error{400, 2, "Bad handshake method"}
	ErrBadRequest = &Error{400, 3, "Bad request"}
	ErrForbidden  = &Error{403, 4, "Forbidden"}
	ErrRevision   = &Error{400, 5, "Unsupported protocol version"}
)

// maxSIDBytes bounds the sid of a request; longer ones are unknown.
const maxSIDBytes = 128

// relayedName is the parameter of a request that one instance relays to another. It marks the hop: such a request is not relayed
// again.
const relayedName = "mastersocket-relayed"

// RelayedQuery returns the query of a request that is relayed to the instance of its session. sid is valid: it is not escaped.
func RelayedQuery(sid []byte) string {
	return "EIO=" + Revision + "&transport=polling&sid=" + string(sid) + "&" + relayedName + "=1"
}

// SID returns the sid that a query names, empty for none. The rest of the query is not looked at.
func SID(query []byte) []byte {
	for len(query) > 0 {
		pair, rest, _ := bytes.Cut(query, []byte{'&'})
		if value, ok := bytes.CutPrefix(pair, []byte("sid=")); ok {
			return value
		}
		query = rest
	}
	return nil
}

// ParseQuery returns what the query says, without its leading question mark. A parameter that is given twice is refused:
// two readers could understand it differently. Values are plain: the protocol's need no percent-encoding, so that an
// encoded one is none of them.
func ParseQuery(raw []byte) (Query, *Error) {
	var q Query
	var transport, revision []byte
	var seen uint8
	for len(raw) > 0 {
		pair := raw
		if i := bytes.IndexByte(raw, '&'); i >= 0 {
			pair, raw = raw[:i], raw[i+1:]
		} else {
			raw = nil
		}
		name, value, _ := bytes.Cut(pair, []byte{'='})
		var bit uint8
		switch string(name) {
		case "EIO":
			bit, revision = 1, value
		case "transport":
			bit, transport = 2, value
		case "sid":
			bit, q.SID = 4, value
		case relayedName:
			bit, q.Relayed = 8, true
		}
		if bit&seen != 0 {
			return Query{}, ErrBadRequest
		}
		seen |= bit
	}
	switch string(transport) {
	case "polling":
	case "websocket":
		q.Transport = WebSocket
	default:
		return Query{}, ErrTransport
	}
	switch {
	case string(revision) != Revision:
		return Query{}, ErrRevision
	case len(q.SID) > maxSIDBytes:
		return Query{}, ErrSession
	}
	return q, nil
}
