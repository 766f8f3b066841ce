package opcodes

// ErrorCode is why the hub did not deliver a message. It is sent in an ERROR; the connection stays open. Clients must
// accept codes that they don't know.
type ErrorCode string

// The codes of ERROR messages.
const (
	CodeNoReceiver        ErrorCode = "NO_RECEIVER"        // no client matches the intent
	CodeReceiverGone      ErrorCode = "RECEIVER_GONE"      // the receiver disconnected before delivery
	CodeForbidden         ErrorCode = "FORBIDDEN"          // the token may not send this intent
	CodeBrokerUnavailable ErrorCode = "BROKER_UNAVAILABLE" // other instances did not get it: the broker is unreachable
	CodeOutcomeUnknown    ErrorCode = "OUTCOME_UNKNOWN"    // the broker failed on the way; other instances may have it
	CodeOverloaded        ErrorCode = "OVERLOADED"         // a bounded buffer of the hub is full
)
