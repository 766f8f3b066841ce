package opcodes

// ScanError is why [Envelope.Scan] refused a message. All values are predeclared, so that returning one does not
// allocate. Message never quotes the refused message.
type ScanError struct {
	Reason  Reason // InvalidPayload or UnknownOp
	Message string // for people
}

// Error returns the reason and the message.
func (e *ScanError) Error() string { return e.Reason.String() + ": " + e.Message }

func invalid(message string) *ScanError { return &ScanError{InvalidPayload, message} }

// The message is not JSON, or breaks the protocol's stricter rules (RFC 8259, and valid Unicode throughout).
var (
	errEmpty         = invalid("the message is empty")
	errByteOrderMark = invalid("the message begins with a byte order mark")
	errNotObject     = invalid("the message is not a JSON object")
	errNotArray      = invalid("the text is not a JSON array")
	errTruncated     = invalid("the message ends within its JSON object")
	errTrailing      = invalid("the message goes on after its JSON object")
	errName          = invalid("a string was expected as the name of a member")
	errColon         = invalid("a colon was expected after the name of a member")
	errSeparator     = invalid("a comma or the end of the object or array was expected after a value")
	errValue         = invalid("a JSON value was expected")
	errNumber        = invalid("a number is malformed")
	errControl       = invalid("a string has an unescaped control character")
	errEscape        = invalid("a string has a malformed escape sequence")
	errSurrogate     = invalid("a string has an escaped surrogate that is not one of a pair")
	errUTF8          = invalid("a string is not valid UTF-8")
	errTooDeep       = invalid("values are nested deeper than 64")
)

// The message is a JSON object, but not an envelope.
var (
	errDuplicate       = invalid("two members have the same name")
	errIntentDuplicate = invalid("two members of intent have the same name")
	errNameCase        = invalid("the name of a member differs from one of the protocol only in case")
	errIntentNameCase  = invalid("the name of a member of intent differs from one of the protocol only in case")
	errOpMissing       = invalid("op is missing")
	errOpType          = invalid("op is not an integer")
	errIDType          = invalid("id is neither a string nor null")
	errIDLength        = invalid("id is not 1 to 64 bytes long")
	errIDMissing       = invalid("a REPLY has no id")
	errEventType       = invalid("event is not a string")
	errEventLength     = invalid("event is longer than 128 bytes")
	errForgedSender    = invalid("sender is set by the hub, not by clients")
	errFenceMember     = invalid("a FENCE has a member other than op, id and intent")
)

// The message's intent can't be followed.
var (
	errIntentMissing      = invalid("an EVENT, REPLY or FENCE has no intent")
	errIntentType         = invalid("intent is neither an object nor null")
	errTargetMissing      = invalid("intent.target is missing")
	errTargetType         = invalid("intent.target is not a string")
	errTargetUnknown      = invalid("intent.target is none of GLOBAL, GROUP, DIRECT and ANY")
	errIdentifierType     = invalid("intent.identifier is neither a string nor null")
	errIdentifierMissing  = invalid("intent.identifier is missing")
	errIdentifierGlobal   = invalid("intent.identifier is given for GLOBAL, which takes none")
	errIdentifierEmpty    = invalid("intent.identifier is empty: no group name")
	errIdentifierLength   = invalid("intent.identifier is longer than 128 bytes: no group name")
	errIdentifierReserved = invalid("intent.identifier begins with the reserved $: no group name")
	errIdentifierControl  = invalid("intent.identifier has a control character: no group name")
	errFenceTarget        = invalid("the intent.target of a FENCE is not DIRECT")
	errNamesType          = invalid("intent.identifiers or intent.except is not an array of strings")
	errNamesEmpty         = invalid("intent.identifiers or intent.except is empty")
	errNamesMany          = invalid("intent.identifiers or intent.except has more than 16 names")
	errNamesRepeated      = invalid("intent.identifiers or intent.except has a name twice")
	errIdentifiersMixed   = invalid("intent has both identifier and identifiers")
	errSelectionTarget    = invalid("intent.identifiers is for GROUP and DIRECT, and intent.except for these and GLOBAL")
	errIdentifierUUID     = invalid("intent.identifier is not a UUID of 36 characters: no client id")
)

// The message is a request that can't be tracked as it asks for.
var (
	errExpectID      = invalid("an EVENT with expect has no id")
	errExpectType    = invalid("expect is not an object")
	errExpectTimeout = invalid("expect.timeout_ms is not an integer from 1 to 3600000")
	errExpectRetry   = invalid("expect.retry is not a boolean")
	errExpectKey     = invalid("expect.key is not a string of 1 to 128 bytes")
	errExpectName    = invalid("two members of expect have the same name, or one that differs from the protocol's only in case")
	errExpectTarget  = invalid("expect has retry or key, and the intent.target is not ANY")
	errExpectMany    = invalid("an EVENT with expect has intent.identifiers or intent.except")
	errForgedAttempt = invalid("attempt is set by the hub, not by clients")
)

// The message is an envelope whose op clients must not send.
var (
	errUnknownOp    = &ScanError{UnknownOp, "op is unknown"}
	errOpNotAllowed = &ScanError{UnknownOp, "op may be sent by the hub only"}
)
