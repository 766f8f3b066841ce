//go:build linux

package servers

import (
	"errors"
	"fmt"

	"github.com/mastersocket/mastersocket/bench/load"
)

// plainDialect is spoken by the servers that were written for the benchmark on top of a WebSocket library, and by the
// floors. A client's message begins with a letter:
//
//	S           subscribe; the server answers with S and the client's number, eight hexadecimal digits
//	P…          publish: the server sends the whole message to every subscriber
//	T####       subscribe to the group of that number, four decimal digits; answered as S is
//	G####…      publish to the group of that number
//	D########…  direct: the server sends the whole message to the client with that number
//
// Groups are for the servers that have them: uWebSockets. All messages are binary, so that no server has to look for invalid UTF-8.
type plainDialect struct{ load.Shape }

func (plainDialect) Request(*load.Client) []byte { return request("/", "") }

func (d plainDialect) Join(c *load.Client) []byte {
	if c.Role == load.Publisher {
		// A publisher is ready at once: it waits for no answer.
		c.Ready = true
		return nil
	}
	if d.Groups > 1 {
		return load.AppendFrame(nil, load.BinaryFrame, fmt.Appendf(nil, "T%04d", d.GroupOf(c)))
	}
	return load.AppendFrame(nil, load.BinaryFrame, []byte("S"))
}

const numberDigits = 8

func (plainDialect) Message(c *load.Client, payload []byte) ([]byte, error) {
	if c.Ready || len(payload) != 1+numberDigits || payload[0] != 'S' {
		return nil, fmt.Errorf("unexpected message %q", payload)
	}
	c.ID, c.Ready = string(payload[1:]), true
	return nil, nil
}

func (d plainDialect) MinDelivery() int { return d.Payload() }

func (plainDialect) Count() load.Counter { return nil }

func (d plainDialect) Publish(_ *load.Client, group int) []byte {
	if d.Groups > 1 {
		return d.message(fmt.Sprintf("G%04d", group))
	}
	return d.message("P")
}

func (d plainDialect) Direct(_, to *load.Client) []byte { return d.message("D" + to.ID) }

func (d plainDialect) message(begin string) []byte {
	pad := padding(len(begin), d.Payload())
	return load.AppendFrame(nil, load.BinaryFrame, append([]byte(begin), pad...))
}

// errNotInstalled is what adapters report whose server is made by peers/install.
var errNotInstalled = errors.New("not installed: run bench/peers/install")
