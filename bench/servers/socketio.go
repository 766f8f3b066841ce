//go:build linux

package servers

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/mastersocket/mastersocket/bench/load"
)

// SocketIO is Socket.IO: peers/socketio.js.
type SocketIO struct{ node }

// NewSocketIO returns the adapter. The folder peers has the script and its packages.
func NewSocketIO(peers string) SocketIO {
	return SocketIO{node{peers: peers, script: "socketio.js", module: "socket.io"}}
}

// Name implements Adapter.
func (SocketIO) Name() string { return "socket.io" }

// Covers implements Limited: its server has no groups, and is not compared at a rate that it may not reach.
func (SocketIO) Covers(measure string) bool { return measure != "groups" && measure != "latency-same" }

// Dialect implements Adapter.
func (SocketIO) Dialect(s load.Shape) load.Dialect { return socketIODialect{s} }

// MastersocketSocketIO is mastersocket for clients of Socket.IO.
type MastersocketSocketIO struct{ Mastersocket }

// NewMastersocketSocketIO returns the adapter of the binary at path.
func NewMastersocketSocketIO(path string) MastersocketSocketIO {
	return MastersocketSocketIO{Mastersocket{Label: "mastersocket-socketio", Path: path, Args: []string{"--enable=socketio"}}}
}

// Dialect implements Adapter.
func (MastersocketSocketIO) Dialect(s load.Shape) load.Dialect {
	return hubSocketIODialect{socketIODialect{s}}
}

// Covers implements Limited: it stands beside socket.io alone.
func (m MastersocketSocketIO) Covers(measure string) bool { return SocketIO{}.Covers(measure) }

// socketIODialect is Engine.IO 4 and Socket.IO 5 as text. A packet begins with the type of each: 0 is Engine.IO's open
// packet, 2 its ping, 3 its pong, and 4 a message, whose own type follows: 40 connects, 42 is an event and 43 an
// acknowledgement.
type socketIODialect struct{ load.Shape }

func (socketIODialect) Request(*load.Client) []byte {
	return request("/socket.io/?EIO=4&transport=websocket", "")
}

func (socketIODialect) Join(*load.Client) []byte {
	return socketIOFrame("40")
}

func (socketIODialect) Message(c *load.Client, payload []byte) ([]byte, error) {
	switch {
	case bytes.HasPrefix(payload, []byte("0{")):
		return nil, nil
	case string(payload) == "2":
		return socketIOFrame("3"), nil
	case bytes.HasPrefix(payload, []byte("40{")) && c.ID == "":
		var connected struct{ SID string }
		if err := json.Unmarshal(payload[2:], &connected); err != nil {
			return nil, fmt.Errorf("reading %q: %w", payload, err)
		}
		c.ID = connected.SID
		if c.Role == load.Publisher {
			c.Ready = true
			return nil, nil
		}
		return socketIOFrame(`420["subscribe"]`), nil
	case string(payload) == "430[]" && !c.Ready:
		c.Ready = true
		return nil, nil
	}
	return nil, fmt.Errorf("unexpected packet %q", payload)
}

func (d socketIODialect) MinDelivery() int { return d.Payload() }

func (socketIODialect) Count() load.Counter { return nil }

// data is what fills a delivered packet up to its size.
func (d socketIODialect) data() []byte { return padding(len(`42["m",""]`), d.Payload()) }

func (d socketIODialect) Publish(*load.Client, int) []byte {
	return socketIOFrame(fmt.Sprintf(`42["publish",%q]`, d.data()))
}

func (d socketIODialect) Direct(_, to *load.Client) []byte {
	return socketIOFrame(fmt.Sprintf(`42["direct",%q,%q]`, to.ID, d.data()))
}

func socketIOFrame(packet string) []byte {
	return load.AppendFrame(nil, load.TextFrame, []byte(packet))
}

// hubSocketIODialect is the same with the hub's targets. A client is in its group once it is connected. What is delivered is
// the same packet, byte for byte.
type hubSocketIODialect struct{ socketIODialect }

func (d hubSocketIODialect) Join(c *load.Client) []byte {
	group := "others"
	if c.Role.Receives() {
		group = groupName(d.GroupOf(c))
	}
	return socketIOFrame(fmt.Sprintf(`40{"token":%q,"group":%q}`, benchToken, group))
}

func (d hubSocketIODialect) Message(c *load.Client, payload []byte) ([]byte, error) {
	subscribe, err := d.socketIODialect.Message(c, payload)
	if c.ID == "" || c.Ready {
		return subscribe, err
	}
	c.Ready = true
	return nil, nil
}

func (d hubSocketIODialect) Publish(_ *load.Client, group int) []byte {
	return socketIOFrame(fmt.Sprintf(`42["GROUP:%s","m",%q]`, groupName(group), d.data()))
}

func (d hubSocketIODialect) Direct(_, to *load.Client) []byte {
	return socketIOFrame(fmt.Sprintf(`42["DIRECT:%s","m",%q]`, to.ID, d.data()))
}
