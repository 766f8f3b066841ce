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
)

// WireBytes is the size that a dialect gives each delivered message on the wire, frame header included, as far as its
// server's format lets it choose.
const WireBytes = 230

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

	// Publish returns the bytes that publish one message from c to all subscribers.
	Publish(c *Client) []byte

	// Direct returns the bytes that send one message from one client to another.
	Direct(from, to *Client) []byte
}
