package client

import (
	"errors"
	"fmt"

	"github.com/mastersocket/mastersocket/opcodes"
)

// What a caller may want to tell apart, with [errors.Is].
var (
	// ErrClosed: the Client was closed, or ended by itself; the error then wraps the cause too, as [Client.Err] has it.
	ErrClosed = errors.New("client closed")
	// ErrOptions: the [Options] can't be used.
	ErrOptions = errors.New("bad options")
	// ErrOutcomeUnknown: the connection, or the hub's own to another instance, broke with the message on its way. Its
	// receivers may have got it.
	ErrOutcomeUnknown = errors.New("outcome unknown")
	// ErrTooBig: the message has more bytes than the hub takes. It was not sent.
	ErrTooBig = errors.New("message too big")
	// ErrDuplicateID: the id of the message is that of another one whose outcome is still awaited. It was not sent.
	ErrDuplicateID = errors.New("id already in use")
	// ErrNoAcks: the hub does not acknowledge messages, or [Options.NoAcks] is set. The message was not sent.
	ErrNoAcks = errors.New("the hub grants no acks")
	// ErrSilent: the hub sent nothing for longer than it promised, so the connection was given up.
	ErrSilent = errors.New("the hub is silent")
	// ErrTooManyReplies: more replies to a request arrived than [Options.ReceiveQueue], faster than they were taken.
	ErrTooManyReplies = errors.New("too many unread replies")

	// The refusals of the hub, each the code of a [HubError]. The message was not delivered.
	ErrNoReceiver        = errors.New("no receiver")
	ErrReceiverGone      = errors.New("receiver gone")
	ErrForbidden         = errors.New("forbidden")
	ErrBrokerUnavailable = errors.New("broker unavailable")
	ErrOverloaded        = errors.New("hub overloaded")
)

// HubError is the hub's answer to a message that it did not deliver. It unwraps to the sentinel of its code, such as
// [ErrNoReceiver]; a code that this version doesn't know unwraps to nothing.
type HubError struct {
	ID      string // of the message
	Code    opcodes.ErrorCode
	Message string // the hub's words
}

// Error returns the code and the hub's words.
func (e *HubError) Error() string {
	if e.Message == "" {
		return fmt.Sprintf("refused by the hub: %s", e.Code)
	}
	return fmt.Sprintf("refused by the hub: %s: %s", e.Code, e.Message)
}

// Unwrap returns the sentinel of the code.
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

// DisconnectError is why the hub ended a connection.
type DisconnectError struct {
	Reason string // such as SERVER_RESTART; empty if the hub gave none
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

// is tells whether the hub gave that reason.
func (e *DisconnectError) is(r opcodes.Reason) bool { return e.Reason == r.String() }

// HandshakeError is an HTTP answer other than 101 Switching Protocols (RFC 6455, section 4.1).
type HandshakeError struct {
	Status int    // the HTTP status, such as 404
	Body   string // the beginning of the answer's text
}

// Error returns the status and the text.
func (e *HandshakeError) Error() string {
	if e.Body == "" {
		return fmt.Sprintf("refused with HTTP status %d", e.Status)
	}
	return fmt.Sprintf("refused with HTTP status %d: %q", e.Status, e.Body)
}

// permanent tells whether asking again would most likely get the same answer.
func (e *HandshakeError) permanent() bool {
	switch e.Status {
	case 408, 425, 429:
		return false
	}
	return e.Status < 500
}
