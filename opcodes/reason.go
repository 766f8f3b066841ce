package opcodes

// Reason is why a connection ends. The hub sends its name in DISCONNECT and again in the WebSocket close frame that
// follows (RFC 6455, section 5.5.1).
type Reason uint8

// The reasons of the protocol.
const (
	NoReason          Reason = iota // 1000: the client said DISCONNECT, or closed
	MessageTooBig                   // 1009: a message exceeds max_message_bytes
	ServerRestart                   // 1012: the hub is draining
	TryAgainLater                   // 1013: a limit of connections, memory or file descriptors is reached
	UnknownError                    // 4000: a fault of the hub
	UnknownOp                       // 4001: an integer op that is unknown, or that clients may not send
	InvalidPayload                  // 4002: a message that is not a valid envelope
	Unauthorized                    // 4003: a message before IDENTIFY, or an intent that the token may not send
	IdentifyFailed                  // 4004: wrong token, no group, or one that the token may not join
	AlreadyIdentified               // 4005: a second IDENTIFY
	PingTimeout                     // 4006: silent, and still silent after a PING
	IdentifyTimeout                 // 4007: no IDENTIFY in time
	SlowConsumer                    // 4008: it does not read what it is sent
	RateLimited                     // 4009: more messages than its token may send
	Kicked                          // 4010: by an operator

	NumReasons = iota // reasons run from 0 to NumReasons-1
)

var reasonTable = [NumReasons]struct {
	name string
	code uint16
}{
	NoReason:          {"NO_REASON", 1000},
	MessageTooBig:     {"MESSAGE_TOO_BIG", 1009},
	ServerRestart:     {"SERVER_RESTART", 1012},
	TryAgainLater:     {"TRY_AGAIN_LATER", 1013},
	UnknownError:      {"UNKNOWN_ERROR", 4000},
	UnknownOp:         {"UNKNOWN_OP", 4001},
	InvalidPayload:    {"INVALID_PAYLOAD", 4002},
	Unauthorized:      {"UNAUTHORIZED", 4003},
	IdentifyFailed:    {"IDENTIFY_FAILED", 4004},
	AlreadyIdentified: {"ALREADY_IDENTIFIED", 4005},
	PingTimeout:       {"PING_TIMEOUT", 4006},
	IdentifyTimeout:   {"IDENTIFY_TIMEOUT", 4007},
	SlowConsumer:      {"SLOW_CONSUMER", 4008},
	RateLimited:       {"RATE_LIMITED", 4009},
	Kicked:            {"KICKED", 4010},
}

// String returns the reason's name on the wire, such as PING_TIMEOUT; UNKNOWN_ERROR for a value that is no reason.
func (r Reason) String() string { return reasonTable[r.known()].name }

// CloseCode returns the status code of the WebSocket close frame (RFC 6455, section 7.4) that goes with the reason.
func (r Reason) CloseCode() uint16 { return reasonTable[r.known()].code }

// goingAway is the status code of RFC 6455, section 7.4.1, for an endpoint that is going away.
const goingAway = 1001

// LegacyCloseCode returns the status code for WebSocket libraries of unknown age: 1001 (going away) for 1012 and 1013, which
// were registered after RFC 6455 and which many libraries treat as a protocol error; otherwise CloseCode.
func (r Reason) LegacyCloseCode() uint16 {
	switch r {
	case ServerRestart, TryAgainLater:
		return goingAway
	}
	return r.CloseCode()
}

func (r Reason) known() Reason {
	if r < NumReasons {
		return r
	}
	return UnknownError
}

// Reasons returns every reason, ordered by value. The slice is the caller's.
func Reasons() []Reason {
	all := make([]Reason, NumReasons)
	for r := range all {
		all[r] = Reason(r)
	}
	return all
}
