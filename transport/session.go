package transport

import (
	"github.com/mastersocket/mastersocket/internal/handshake"
)

// Request is the opening handshake of a connection.
type Request = handshake.Request

// Rejection is the answer to a handshake that is refused.
type Rejection = handshake.Rejection

// Session handles the messages of one connection. All its methods are called on the goroutine of the connection's loop,
// one at a time; they must not block.
type Session interface {
	// Message handles one complete text or binary message. p is valid, and may be overwritten, during the call only.
	Message(c *Conn, binary bool, p []byte)
	// Violation reports what the transport can't judge alone. Unless the Session closes the connection in the call,
	// the transport does it with a code of its own.
	Violation(c *Conn, v Violation)
	// Sweep is called once every [Options.SweepInterval] while the connection is open, for the Session's deadlines.
	Sweep(c *Conn)
	// Closed is the last call: the client or the transport began to close the connection, or it is gone. It comes also
	// after the Session itself closed it.
	Closed(c *Conn, end End)
}

// Endpoint opens sessions for the connections of one path or one listener.
type Endpoint interface {
	// Open returns the Session of a new connection, or the reason why there is none. It is called on the goroutine of
	// the connection's loop once the opening handshake proved valid, before the answer to it is sent; what it sends
	// to c leaves behind that answer. r is valid during the call only.
	Open(c *Conn, r *Request) (Session, *Rejection)
}

// Violation is a limit that a connection passed.
type Violation uint8

// All values of Violation.
const (
	// TooBig: a message is declared, or has noteGrowth, larger than Options.MaxMessageBytes.
	TooBig Violation = iota
	// SlowConsumer: the unsent backlog passed Options.SendQueueBytes or made no progress for Options.WriteTimeout.
	SlowConsumer
	// NotJSON: the bytes of a TCP stream are no JSON object.
	NotJSON
	// Unfinished: a message of a TCP stream was not complete after Options.MessageTimeout.
	Unfinished
	// QueuesFull: the unsent backlogs of all connections passed Options.SendQueueTotal, and this is one of the largest.
	QueuesFull
	// NoMemory: the buffers of all connections that are not trusted are at Options.UntrustedBytes.
	NoMemory
)

// End is how a connection ended.
type End uint8

// All values of End.
const (
	EndLocal    End = iota // closed by this side: Conn.Close, a protocol violation, Server.Close
	EndPeer                // closed by the client: with a close frame or, over TCP, at the end of its stream
	EndOfStream            // a WebSocket whose stream ended without a close frame
	EndError               // broken: reset or timed out by the network
)
