package opcodes

// ErrorCode says, in an ERROR message, why the hub did not do what a message asked. The connection goes on. Clients
// must expect codes that they don't know.
type ErrorCode string

// The codes of ERROR messages.
const (
	CodeNoReceiver        ErrorCode = "NO_RECEIVER"        // nobody matches the intent
	CodeReceiverGone      ErrorCode = "RECEIVER_GONE"      // the receiver drawn or addressed left before delivery
	CodeForbidden         ErrorCode = "FORBIDDEN"          // the token may not send this intent
	CodeBrokerUnavailable ErrorCode = "BROKER_UNAVAILABLE" // not handed to other instances: the broker is away
	CodeOutcomeUnknown    ErrorCode = "OUTCOME_UNKNOWN"    // the broker went away halfway; other instances may have it
	CodeOverloaded        ErrorCode = "OVERLOADED"         // a bounded buffer of the hub is full
)

// ErrorCodes returns every code that the hub sends. The slice is the caller's.
func ErrorCodes() []ErrorCode {
	return []ErrorCode{
		CodeNoReceiver, CodeReceiverGone, CodeForbidden, CodeBrokerUnavailable, CodeOutcomeUnknown, CodeOverloaded,
	}
}
