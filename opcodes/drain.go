package opcodes

import (
	"strconv"
	"time"

	"github.com/google/uuid"
)

// DrainReason is why the hub sends a DRAIN. Clients must accept reasons that they don't know.
type DrainReason string

// The reasons of DRAIN.
const (
	DrainRestart   DrainReason = "restart"   // the instance leaves service; at the deadline: ServerRestart
	DrainRebalance DrainReason = "rebalance" // other instances have fewer clients; there is no deadline
	DrainExpiry    DrainReason = "expiry"    // the token expires; at the deadline: Unauthorized
)

// DrainSize is the most that [AppendDrain] appends for one of the reasons above, in bytes.
const DrainSize = 128

// AppendDrain appends the DRAIN that asks a client to open another connection once after has passed since its arrival,
// and then to leave this one. deadline is when the hub ends the connection; 0 means never and omits the member. Both
// are whole milliseconds on the wire.
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

// FenceSize is what [AppendFence] appends, in bytes.
const FenceSize = len(`{"op":13`) + len(memberSender) + uuidBytes + len(`"}`)

// AppendFence appends a FENCE as its receiver gets it. It holds none of the bytes that its sender wrote.
func AppendFence(dst []byte, sender uuid.UUID) []byte {
	dst = append(dst, `{"op":13`...)
	dst = append(dst, memberSender...)
	dst = appendUUID(dst, sender)
	return append(dst, `"}`...)
}
