//go:build linux

package load

// Role is what a client is there for.
type Role uint8

// The roles of clients.
const (
	// Subscriber receives what is published.
	Subscriber Role = iota
	// Publisher publishes and receives nothing.
	Publisher
	// Member is one of a ring, in which clients send messages to each other.
	Member
	// Stalled subscribes, and reads nothing more once it has.
	Stalled
)

// Receives reports whether a client with the role is subscribed to what is published.
func (r Role) Receives() bool { return r == Subscriber || r == Stalled }

// WireBytes is the usual size of a delivered message on the wire, frame header included.
const WireBytes = 230

// A Shape is what messages are like, as far as a server's format lets a dialect choose.
type Shape struct {
	Wire   int // bytes of a delivered message on the wire, frame header included: 130 to 65,539
	Groups int // subscribers are spread over so many groups
}

// Usual is the shape of most measures.
var Usual = Shape{Wire: WireBytes, Groups: 1}

// Payload returns the bytes of a delivered message behind its frame header.
func (s Shape) Payload() int { return s.Wire - 4 }

// GroupOf returns the number of the group that a client subscribes to.
func (s Shape) GroupOf(c *Client) int { return c.Subscription % max(s.Groups, 1) }

// A Counter counts the deliveries in a frame's payload: see Dialect.
type Counter func(payload []byte) (n int, reply []byte, err error)

// A Dialect is how one kind of server wants to be spoken to: by WebSocket, each with messages of its own. Its methods
// are called by one Loop's goroutine; the slices that they return are not changed by the Loop.
type Dialect interface {
	// Request returns the client's opening handshake.
	Request(c *Client) []byte

	// Join returns what the client sends right behind a successful handshake, or nil.
	Join(c *Client) []byte

	// Message looks at a message of the server: at every one until c.Ready, and after that at those that are too short
	// to be a delivery (MinDelivery). It sets c.Ready once the client is subscribed, and c.ID if it is addressed by
	// one. What it returns, if anything, is sent. It must not keep the payload.
	Message(c *Client, payload []byte) ([]byte, error)

	// MinDelivery is the least length of the payload of a frame with deliveries. Whatever is shorter goes to Message.
	MinDelivery() int

	// Count returns how many deliveries a frame's payload holds, and what to answer if something else is among them. If
	// it is nil, frames hold one each.
	Count() Counter

	// Publish returns the bytes that publish one message from c to all subscribers of a group.
	Publish(c *Client, group int) []byte

	// Direct returns the bytes that send one message from one client to another.
	Direct(from, to *Client) []byte
}
