package opcodes

import (
	"strconv"
	"time"

	"github.com/google/uuid"
)

// DrainReason says, in a DRAIN, why the client is to connect anew. Clients must expect reasons that they don't know.
type DrainReason string

// The reasons of DRAIN.
const (
	DrainRestart   DrainReason = "restart"   // the instance leaves service; at the deadline: ServerRestart
	DrainRebalance DrainReason = "rebalance" // other instances have fewer clients; there is no deadline
	DrainExpiry    DrainReason = "expiry"    // the token expires; at the deadline: Unauthorized
)

// DrainReasons returns every reason that the hub gives. The slice is the caller's.
func DrainReasons() []DrainReason { return []DrainReason{DrainRestart, DrainRebalance, DrainExpiry} }

// DrainSize is how many bytes [AppendDrain] appends at most for one of the reasons above.
const DrainSize = 128

// AppendDrain appends the DRAIN that asks a client to connect anew when after has passed since it arrived, and to leave
// this connection then. deadline is when the hub ends the connection; 0 for never, which leaves it out. Both are whole
// milliseconds on the wire.
func AppendDrain(dst []byte, after, deadline time.Duration, reason DrainReason) []byte {
	dst = append(dst, `{"op":12,"data":{"after_ms":`...)
	dst = strconv.AppendInt(dst, max(after, 0).Milliseconds(), 10)
	if deadline > 0 {
		dst = append(dst, `,"deadline_ms":`...)
		dst = strconv.AppendInt(dst, deadline.Milliseconds(), 10)
	}
	dst = append(dst, `,"reason":`...)
	dst = appendString(dst, string(reason))
	return append(dst, `}}`...)
}

// FenceSize is how many bytes [AppendFence] appends.
const FenceSize = len(`{"op":13`) + len(memberSender) + uuidBytes + len(`"}`)

// AppendFence appends a FENCE as its receiver gets it: nothing of what the sender wrote is in it.
func AppendFence(dst []byte, sender uuid.UUID) []byte {
	dst = append(dst, `{"op":13`...)
	dst = append(dst, memberSender...)
	dst = appendUUID(dst, sender)
	return append(dst, `"}`...)
}
