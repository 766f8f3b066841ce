package opcodes

// ErrorCode is why the hub did not deliver a message, or did not carry out a change of groups. It is sent in an ERROR, or in
// the answer to the change; the connection stays open. Clients must accept codes that they don't know.
type ErrorCode string

// The codes.
const (
	CodeNoReceiver        ErrorCode = "NO_RECEIVER"        // no client matches the intent
	CodeReceiverGone      ErrorCode = "RECEIVER_GONE"      // the receiver disconnected before delivery
	CodeForbidden         ErrorCode = "FORBIDDEN"          // the token may not send this intent
	CodeBrokerUnavailable ErrorCode = "BROKER_UNAVAILABLE" // other instances did not get it: the broker is unreachable
	CodeOutcomeUnknown    ErrorCode = "OUTCOME_UNKNOWN"    // the broker failed on the way; other instances may have it
	CodeOverloaded        ErrorCode = "OVERLOADED"         // a bounded buffer of the hub is full

	CodeOldRelease ErrorCode = "OLD_RELEASE" // an instance of an earlier release has receivers, and can't select them; nothing was sent

	// The codes of requests that are refused.
	CodeDuplicateID     ErrorCode = "DUPLICATE_ID"      // the client has an open request with the same id
	CodeTooManyRequests ErrorCode = "TOO_MANY_REQUESTS" // the client, or the hub, has too many open, or this one too many receivers

	// The code of messages to groups with history.
	CodeReservedMember ErrorCode = "RESERVED_MEMBER" // the message has a member offset, which the hub adds

	// The codes of answers to SUBSCRIBE and UNSUBSCRIBE alone.
	CodeTooManyGroups ErrorCode = "TOO_MANY_GROUPS" // the client would be in more groups than it may
	CodePrimaryGroup  ErrorCode = "PRIMARY_GROUP"   // the member group of IDENTIFY is for the whole connection
	CodeConflict      ErrorCode = "CONFLICT"        // a group is asked for as a plain and as an exclusive one
)
