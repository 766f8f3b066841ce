package client

import (
	"errors"
	"fmt"
	"strings"

	"github.com/mastersocket/mastersocket/intent"
	"github.com/mastersocket/mastersocket/opcodes"
)

// The errors of this package, for [errors.Is].
var (
	// ErrClosed: the Client was closed or has ended by itself. In the second case the error also wraps the cause; see
	// [Client.Err].
	ErrClosed = errors.New("client closed")
	// ErrOptions: the [Options] are invalid.
	ErrOptions = errors.New("bad options")
	// ErrOutcomeUnknown: a connection broke with the message on its way, either the client's or one between instances of
	// the hub. Receivers may have got the message.
	ErrOutcomeUnknown = errors.New("outcome unknown")
	// ErrTooBig: the message is larger than the hub accepts. It was not sent.
	ErrTooBig = errors.New("message too big")
	// ErrDuplicateID: another message with the same id awaits its outcome. The message was not sent.
	ErrDuplicateID = errors.New("id already in use")
	// ErrNoAcks: the hub does not acknowledge messages, or [Options.NoAcks] is set. The message was not sent.
	ErrNoAcks = errors.New("the hub grants no acks")
	// ErrSilent: the hub was silent for too long and did not answer PINGs. The connection was ended.
	ErrSilent = errors.New("the hub is silent")
	// ErrTooManyReplies: more than [Options.ReceiveQueue] replies to a request were unread.
	ErrTooManyReplies = errors.New("too many unread replies")

	// The hub's refusals, each for one code of a [HubError]. The message was not delivered.
	ErrNoReceiver        = errors.New("no receiver")
	ErrReceiverGone      = errors.New("receiver gone")
	ErrForbidden         = errors.New("forbidden")
	ErrBrokerUnavailable = errors.New("broker unavailable")
	ErrOverloaded        = errors.New("hub overloaded")
)

// HubError is the hub's answer to a message that it did not deliver. It unwraps to the error for its code, such as
// [ErrNoReceiver]; an unknown code unwraps to nil.
type HubError struct {
	ID     string // of the message
	Event  string // of the message
	Intent Intent // of the message; the zero Intent if the message is one of many and long past
	Code   opcodes.ErrorCode
	// Message is the hub's explanation, for people.
	Message string
}

// Error names event and target, and returns the code and the explanation.
func (e *HubError) Error() string {
	var b strings.Builder
	switch {
	case e.Intent.Target != intent.None:
		fmt.Fprintf(&b, "event %.80q to %.150s: ", e.Event, e.Intent)
	case e.ID != "":
		fmt.Fprintf(&b, "message %.80q: ", e.ID)
	}
	fmt.Fprintf(&b, "refused by the hub: %s", e.Code)
	if e.Message != "" {
		b.WriteString(": " + e.Message)
	}
	return b.String()
}

// Unwrap returns the error for the code.
func (e *HubError) Unwrap() error {
	switch e.Code {
	case opcodes.CodeNoReceiver:
		return ErrNoReceiver
	case opcodes.CodeReceiverGone:
		return ErrReceiverGone
	case opcodes.CodeForbidden:
		return ErrForbidden
	case opcodes.CodeBrokerUnavailable:
		return ErrBrokerUnavailable
	case opcodes.CodeOutcomeUnknown:
		return ErrOutcomeUnknown
	case opcodes.CodeOverloaded:
		return ErrOverloaded
	}
	return nil
}

// DisconnectError is the hub's reason for ending a connection.
type DisconnectError struct {
	Reason string // such as SERVER_RESTART; empty if there was none
	Code   int    // of the WebSocket close frame (RFC 6455, section 7.4); 0 if there was none
}

// Error returns the reason and the code.
func (e *DisconnectError) Error() string {
	switch {
	case e.Reason == "":
		return fmt.Sprintf("disconnected by the hub with code %d", e.Code)
	case e.Code == 0:
		return fmt.Sprintf("disconnected by the hub: %s", e.Reason)
	}
	return fmt.Sprintf("disconnected by the hub: %s (%d)", e.Reason, e.Code)
}

// is reports whether the hub gave the reason r.
func (e *DisconnectError) is(r opcodes.Reason) bool { return e.Reason == r.String() }

// HandshakeError is an HTTP answer other than 101 Switching Protocols (RFC 6455, section 4.1).
type HandshakeError struct {
	Status int    // the HTTP status, such as 404
	Body   string // the first bytes of the answer's body
}

// Error returns the status and the body.
func (e *HandshakeError) Error() string {
	if e.Body == "" {
		return fmt.Sprintf("refused with HTTP status %d", e.Status)
	}
	return fmt.Sprintf("refused with HTTP status %d: %q", e.Status, e.Body)
}

// permanent reports whether another attempt would most likely get the same answer.
func (e *HandshakeError) permanent() bool {
	switch e.Status {
	case 408, 425, 429:
		return false
	}
	return e.Status < 500
}
