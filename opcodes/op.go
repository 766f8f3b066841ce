package opcodes

import "strconv"

// Op is the kind of an envelope: its member "op".
type Op int

// The opcodes.
const (
	Event       Op = iota // both ways: routed by its intent
	Identify              // client: token and groups; hub: the client's id and the terms of the session
	Disconnect            // both ways: a goodbye with its Reason, then the connection closes
	Ping                  // both ways: answered with Pong
	Pong                  // both ways
	Reply                 // both ways: like Event, with the id of the Event that it answers
	Error                 // hub to client, opt-in: a message was not delivered; has an ErrorCode
	Ack                   // hub to client, opt-in: a message was handed over
	Subscribe             // both ways, with FeatureGroups: the client joins further groups
	Unsubscribe           // both ways, with FeatureGroups: the client leaves groups
	Presence              // hub to client, with FeaturePresence: who is in a group that the client watches
	History               // hub to client, with FeatureHistory: how far the client is in a group with history
)

// The opcodes for moving to another connection, for clients with FeatureDrain.
const (
	Drain Op = 12 // hub to client: open another connection, then leave this one; has a DrainReason
	Fence Op = 13 // both ways: everything sent before it has arrived
)

// The opcodes of tracked requests, for clients with FeatureRequests.
const (
	Settled Op = 14 // hub to client: a request is over; client: nothing more comes from this receiver of a request
	Cancel  Op = 15 // both ways: the answer to a request is not wanted any more
)

var opNames = [...]string{
	Event: "EVENT", Identify: "IDENTIFY", Disconnect: "DISCONNECT", Ping: "PING", Pong: "PONG", Reply: "REPLY",
	Error: "ERROR", Ack: "ACK", Subscribe: "SUBSCRIBE", Unsubscribe: "UNSUBSCRIBE", Presence: "PRESENCE",
	History: "HISTORY", Drain: "DRAIN", Fence: "FENCE", Settled: "SETTLED", Cancel: "CANCEL",
}

// String returns the opcode's name, or its number if the protocol has no such opcode.
func (o Op) String() string {
	if o >= 0 && int(o) < len(opNames) && opNames[o] != "" {
		return opNames[o]
	}
	return strconv.Itoa(int(o))
}
