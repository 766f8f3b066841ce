package client

import (
	"errors"
	"fmt"
	"net/http"
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
	// ErrNoGroups: the hub is of a release whose clients can't change their groups.
	ErrNoGroups = errors.New("the hub does not change groups of connected clients")
	// ErrNoExclusive: the hub is of a release without exclusive groups.
	ErrNoExclusive = errors.New("the hub has no exclusive groups")
	// ErrHeld: the Client holds the group, or waits for it, already.
	ErrHeld = errors.New("this client holds or awaits the group already")
	// ErrHoldLost: a [Hold] has ended, or the hub did not confirm it in time.
	ErrHoldLost = errors.New("the group is not held any more")
	// ErrHoldReleased: [Hold.Release] was called.
	ErrHoldReleased = errors.New("the group was released")
	// ErrSilent: the hub was silent for too long and did not answer PINGs. The connection was ended.
	ErrSilent = errors.New("the hub is silent")
	// ErrTooManyReplies: more than [Options.ReceiveQueue] replies to a request were unread.
	ErrTooManyReplies = errors.New("too many unread replies")

	// ErrRequestOver: the answer was not sent, because the request was answered, or cancelled, its time is over, or the
	// connection that it came from has ended.
	ErrRequestOver = errors.New("the request is over")
	// ErrTooManyRequests: the client, or the hub, has too many open requests, or this one would have too many receivers.
	ErrTooManyRequests = errors.New("too many requests")

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
	case opcodes.CodeDuplicateID:
		return ErrDuplicateID
	case opcodes.CodeTooManyRequests:
		return ErrTooManyRequests
	}
	return nil
}

// GroupError is the hub's refusal of [Client.Subscribe], [Client.Unsubscribe] or [Client.Hold]. It unwraps to [ErrForbidden],
// [ErrBrokerUnavailable] or [ErrOverloaded] for their codes; else to nil.
type GroupError struct {
	Op    opcodes.Op        // Subscribe or Unsubscribe
	Code  opcodes.ErrorCode // such as TOO_MANY_GROUPS
	Group string            // the one at fault; empty if the hub names none
	// Message is the hub's explanation, for people.
	Message string
}

// Error names the group, and returns the code and the explanation.
func (e *GroupError) Error() string {
	text := fmt.Sprintf("%v refused by the hub: %s", e.Op, e.Code)
	if e.Group != "" {
		text = fmt.Sprintf("%v: group %.150q refused by the hub: %s", e.Op, e.Group, e.Code)
	}
	if e.Message != "" {
		text += ": " + e.Message
	}
	return text
}

// Unwrap returns the error for the code.
func (e *GroupError) Unwrap() error {
	switch e.Code {
	case opcodes.CodeForbidden:
		return ErrForbidden
	case opcodes.CodeBrokerUnavailable:
		return ErrBrokerUnavailable
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

// HandshakeError is an HTTP answer other than 101 Switching Protocols to the handshake (RFC 6455, section 4.1), or other than
// 2xx to CONNECT. Before the first connection, an answer to the handshake that shows a wrong URL ends the Client: any
// redirect, 400, 401, 403, 404, 405 and 410. All others are temporary.
type HandshakeError struct {
	Status int    // the HTTP status, such as 404
	Server string // the header of that name, which shows what has answered; empty if there is none
	Body   string // the first bytes of the answer's body
	Proxy  string // the host of the forward proxy that refused CONNECT; empty for an answer to the handshake
}

// Error returns the status, what has answered, the body, and a likely cause.
func (e *HandshakeError) Error() string {
	var b strings.Builder
	b.WriteString("refused")
	if e.Proxy != "" {
		b.WriteString(" by the proxy " + e.Proxy)
	}
	fmt.Fprintf(&b, " with HTTP status %d", e.Status)
	if e.Server != "" {
		fmt.Fprintf(&b, " by %.80q", e.Server)
	}
	if e.Body != "" {
		fmt.Fprintf(&b, ": %q", e.Body)
	}
	if cause := e.cause(); cause != "" {
		b.WriteString("; " + cause)
	}
	return b.String()
}

// cause returns the likely cause of a status, if there is one.
func (e *HandshakeError) cause() string {
	switch {
	case e.Status == http.StatusProxyAuthRequired:
		return "the proxy requires credentials in its URL"
	case e.Proxy != "":
		return "the proxy may not allow CONNECT to this host and port"
	case e.Status == http.StatusUpgradeRequired:
		return "a proxy on the way may have removed the upgrade to WebSocket"
	case e.Status/100 == 2:
		return "this is an HTTP server without WebSocket, such as a proxy's login page"
	case e.Status/100 == 3:
		return "redirects are not followed"
	}
	return ""
}

// permanent reports whether the answer shows a wrong URL, so that another attempt would most likely get the same answer.
func (e *HandshakeError) permanent() bool {
	switch e.Status {
	case 400, 401, 403, 404, 405, 410:
		return e.Proxy == ""
	}
	return e.Proxy == "" && e.Status/100 == 3
}
