// Package wire is the frames of the echo protocol, for both of its ends. Each is one WebSocket text message:
//
//	message X   client: give X to somebody    server: X was given to you
//	ok X        client: X was received        server: somebody received the X that you sent
//
// One space ends the word; X is all that follows, any text, the empty one included.
//
// The package is pure: it keeps no state, and all functions may be called from any goroutine.
package wire

import "bytes"

// Path is where a hub serves the protocol.
const Path = "/echo"

// Kind is what a frame says of its text.
type Kind uint8

// The kinds of frames.
const (
	Invalid Kind = iota // not a frame of the protocol
	Message             // "message X"
	OK                  // "ok X"
)

var prefixes = [...][]byte{Message: []byte("message "), OK: []byte("ok ")}

// Overhead is how many bytes the longest word adds to a text.
const Overhead = len("message ")

// Parse takes a frame apart. The text is a part of frame, not a copy.
func Parse(frame []byte) (Kind, []byte) {
	for _, k := range [...]Kind{Message, OK} {
		if text, ok := bytes.CutPrefix(frame, prefixes[k]); ok {
			return k, text
		}
	}
	return Invalid, nil
}

// Append appends the beginning of a frame of that kind, which must be Message or OK: the text is to follow it.
func Append(dst []byte, k Kind) []byte { return append(dst, prefixes[k]...) }

// Frame returns a frame of that kind, which must be Message or OK, in memory of its own.
func Frame(k Kind, text string) []byte {
	return append(Append(make([]byte, 0, Overhead+len(text)), k), text...)
}
