// Package wire has the frames of the echo protocol, for both of its ends. Each is one WebSocket text message:
//
//	message X   client: give X to a client    server: X was given to you
//	ok X        client: X was received        server: the X that you sent was received
//
// One space ends the word; X is all that follows, any text, the empty one included.
//
// The package is pure: it keeps no state, and all functions are safe for concurrent use.
package wire

import "bytes"

// Path is where a hub serves the protocol.
const Path = "/echo"

// Kind is the kind of a frame.
type Kind uint8

// The kinds of frames.
const (
	Invalid Kind = iota // not a frame of the protocol
	Message             // "message X"
	OK                  // "ok X"
)

var prefixes = [...][]byte{Message: []byte("message "), OK: []byte("ok ")}

// Overhead is the length in bytes of the longest word with its space.
const Overhead = len("message ")

// Parse parses a frame. The text aliases frame.
func Parse(frame []byte) (Kind, []byte) {
	for _, k := range [...]Kind{Message, OK} {
		if text, ok := bytes.CutPrefix(frame, prefixes[k]); ok {
			return k, text
		}
	}
	return Invalid, nil
}

// Append appends the word of a frame of that kind, which must be Message or OK. The text must follow it.
func Append(dst []byte, k Kind) []byte { return append(dst, prefixes[k]...) }

// Frame returns a frame of that kind, which must be Message or OK, in newly allocated memory.
func Frame(k Kind, text string) []byte {
	return append(Append(make([]byte, 0, Overhead+len(text)), k), text...)
}
