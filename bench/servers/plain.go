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
//	D########…  direct: the server sends the whole message to the client with that number
//
// All messages are binary, so that no server has to look for invalid UTF-8.
type plainDialect struct{}

func (plainDialect) Request(*load.Client) []byte { return request("/", "") }

func (plainDialect) Join(c *load.Client) []byte {
	if c.Role == load.Publisher {
		// A publisher is ready at once: it waits for no answer.
		c.Ready = true
		return nil
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

func (plainDialect) MinDelivery() int { return deliveredPayload }

func (plainDialect) Count() load.Counter { return nil }

func (plainDialect) Publish(*load.Client) []byte { return plainMessage("P") }

func (plainDialect) Direct(_, to *load.Client) []byte { return plainMessage("D" + to.ID) }

func plainMessage(begin string) []byte {
	pad := padding(len(begin), deliveredPayload)
	return load.AppendFrame(nil, load.BinaryFrame, append([]byte(begin), pad...))
}

// errNotInstalled is what adapters report whose server is made by peers/install.
var errNotInstalled = errors.New("not installed: run bench/peers/install")
