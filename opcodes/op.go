package opcodes

import "strconv"

// Op is the kind of an envelope, its member "op".
type Op int

// The opcodes. 8 to 15 are reserved for later versions of the protocol.
const (
	Event      Op = iota // both ways: routed by its intent
	Identify             // client: token and groups; hub: the client's id and the terms of the session
	Disconnect           // both ways: a goodbye with its Reason, then the connection closes
	Ping                 // both ways: answered with Pong
	Pong                 // both ways
	Reply                // both ways: like Event, with the id of the Event that it answers
	Error                // hub to client, on request: a message was not delivered, for an ErrorCode
	Ack                  // hub to client, on request: a message was handed over
)

var opNames = [...]string{
	Event: "EVENT", Identify: "IDENTIFY", Disconnect: "DISCONNECT", Ping: "PING", Pong: "PONG", Reply: "REPLY",
	Error: "ERROR", Ack: "ACK",
}

// String returns the opcode's name, or its number where the protocol knows no such opcode.
func (o Op) String() string {
	if o >= 0 && int(o) < len(opNames) {
		return opNames[o]
	}
	return strconv.Itoa(int(o))
}
