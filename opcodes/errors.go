package opcodes

// ScanError is why [Envelope.Scan] refused a message. All of them are predeclared below, so that they can be compared
// with == and cost nothing to return. Message never repeats any of the message's bytes.
type ScanError struct {
	Reason  Reason // InvalidPayload or UnknownOp
	Message string // what is wrong, for a human
}

// Error returns the reason and the message.
func (e *ScanError) Error() string { return e.Reason.String() + ": " + e.Message }

func invalid(message string) *ScanError { return &ScanError{InvalidPayload, message} }

// A message is not JSON, or not JSON as strict as the protocol wants it (RFC 8259, and valid Unicode throughout).
var (
	ErrEmpty         = invalid("the message is empty")
	ErrByteOrderMark = invalid("the message begins with a byte order mark")
	ErrNotObject     = invalid("the message is not a JSON object")
	ErrTruncated     = invalid("the message ends within its JSON object")
	ErrTrailing      = invalid("the message goes on after its JSON object")
	ErrName          = invalid("a string was expected as the name of a member")
	ErrColon         = invalid("a colon was expected after the name of a member")
	ErrSeparator     = invalid("a comma or the end of the object or array was expected after a value")
	ErrValue         = invalid("a JSON value was expected")
	ErrNumber        = invalid("a number is malformed")
	ErrControl       = invalid("a string has an unescaped control character")
	ErrEscape        = invalid("a string has a malformed escape sequence")
	ErrSurrogate     = invalid("a string has an escaped surrogate that is not one of a pair")
	ErrUTF8          = invalid("a string is not valid UTF-8")
	ErrTooDeep       = invalid("values are nested deeper than 64")
)

// A message is a JSON object, but not an envelope.
var (
	ErrDuplicate       = invalid("two members have the same name")
	ErrIntentDuplicate = invalid("two members of intent have the same name")
	ErrOpMissing       = invalid("op is missing")
	ErrOpType          = invalid("op is not an integer")
	ErrIDType          = invalid("id is neither a string nor null")
	ErrIDLength        = invalid("id is not 1 to 64 bytes long")
	ErrIDMissing       = invalid("a REPLY has no id")
	ErrEventType       = invalid("event is not a string")
	ErrEventLength     = invalid("event is longer than 128 bytes")
	ErrForgedSender    = invalid("sender is set by the hub, not by clients")
	ErrFenceMember     = invalid("a FENCE has a member other than op, id and intent")
)

// A message's intent is of no use.
var (
	ErrIntentMissing      = invalid("an EVENT, REPLY or FENCE has no intent")
	ErrIntentType         = invalid("intent is neither an object nor null")
	ErrTargetMissing      = invalid("intent.target is missing")
	ErrTargetType         = invalid("intent.target is not a string")
	ErrTargetUnknown      = invalid("intent.target is none of GLOBAL, GROUP, DIRECT and ANY")
	ErrIdentifierType     = invalid("intent.identifier is neither a string nor null")
	ErrIdentifierMissing  = invalid("intent.identifier is missing")
	ErrIdentifierGlobal   = invalid("intent.identifier is given for GLOBAL, which takes none")
	ErrIdentifierEmpty    = invalid("intent.identifier is empty: no group name")
	ErrIdentifierLength   = invalid("intent.identifier is longer than 128 bytes: no group name")
	ErrIdentifierReserved = invalid("intent.identifier begins with the reserved $: no group name")
	ErrIdentifierControl  = invalid("intent.identifier has a control character: no group name")
	ErrFenceTarget        = invalid("the intent.target of a FENCE is not DIRECT")
	ErrIdentifierUUID     = invalid("intent.identifier is not a UUID of 36 characters: no client id")
)

// A message is an envelope, but its op is not for clients to send.
var (
	ErrUnknownOp    = &ScanError{UnknownOp, "op is unknown"}
	ErrOpNotAllowed = &ScanError{UnknownOp, "op may be sent by the hub only"}
)
