// Package resp reads and writes RESP2, the protocol of Redis, as far as a publisher and a subscriber need it: commands
// as bytes, replies and pushes without garbage.
package resp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync/atomic"
)

// Measures of the reader, in bytes.
const (
	bufferSize = 64 << 10
	spareSize  = 1 << 20 // a buffer grown beyond this is given back
	maxLine    = 4 << 10 // the longest line that is accepted
)

// MaxBulk is the largest bulk string that is taken, in bytes; a larger one is skipped.
const MaxBulk = 16 << 20

// ErrProtocol is wrapped by the error for bytes that are not RESP2.
var ErrProtocol = errors.New("not the Redis protocol")

// ServerError is an error reply, such as "MOVED 1 127.0.0.1:7001".
type ServerError string

// Error implements error.
func (e ServerError) Error() string { return "Redis says: " + string(e) }

// Code returns the first word, such as MOVED.
func (e ServerError) Code() string {
	code, _, _ := strings.Cut(string(e), " ")
	return code
}

// Transient says whether the same command may succeed later or elsewhere, so that it should be sent again.
func (e ServerError) Transient() bool {
	switch e.Code() {
	case "MOVED", "ASK", "CLUSTERDOWN", "TRYAGAIN", "LOADING", "MASTERDOWN", "READONLY", "BUSY", "NOSCRIPT":
		return true
	}
	return false
}

// Reader reads RESP2 from a connection. What its methods return is valid until the next call.
type Reader struct {
	src   io.Reader
	heard *Hearing
	buf   []byte
	r, w  int
}

// Hearing is what others may know of a reader.
type Hearing struct {
	Reads   atomic.Uint64 // grows with each read that brought something
	Waiting atomic.Bool   // it waits for more
}

// NewReader makes a Reader of src, which counts in heard what it does.
func NewReader(src io.Reader, heard *Hearing) *Reader {
	return &Reader{src: src, heard: heard, buf: make([]byte, bufferSize)}
}

// Buffered says whether bytes are left that need no wait.
func (r *Reader) Buffered() bool { return r.w > r.r }

// fill reads more behind what is there, having made room for need bytes in all.
func (r *Reader) fill(need int) error {
	if r.r == r.w {
		r.r, r.w = 0, 0
		if len(r.buf) > spareSize && need <= bufferSize {
			r.buf = make([]byte, bufferSize)
		}
	}
	if r.r+max(need, maxLine) > len(r.buf) {
		buf := r.buf
		if need > len(buf) {
			buf = make([]byte, max(need, 2*len(buf)))
		}
		r.w = copy(buf, r.buf[r.r:r.w])
		r.buf, r.r = buf, 0
	}
	r.heard.Waiting.Store(true)
	n, err := r.src.Read(r.buf[r.w:])
	r.heard.Waiting.Store(false)
	if n > 0 {
		r.w += n
		r.heard.Reads.Add(1)
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// line returns the next line without its end.
func (r *Reader) line() ([]byte, error) {
	for scanned := 0; ; {
		if i := bytes.IndexByte(r.buf[r.r+scanned:r.w], '\n'); i >= 0 {
			line := r.buf[r.r : r.r+scanned+i]
			r.r += scanned + i + 1
			if n := len(line); n > 1 && line[n-1] == '\r' {
				return line[:n-1], nil
			}
			return nil, ErrProtocol
		}
		if scanned = r.w - r.r; scanned > maxLine {
			return nil, ErrProtocol
		}
		if err := r.fill(scanned + 1); err != nil {
			return nil, err
		}
	}
}

// Number reads a line of kind and a number. An error reply in its place is a serverError.
func (r *Reader) Number(kind byte) (int, error) {
	line, err := r.line()
	if err != nil {
		return 0, err
	}
	if line[0] == '-' {
		return 0, ServerError(line[1:])
	}
	if line[0] != kind {
		return 0, fmt.Errorf("%w: %q where %q should begin", ErrProtocol, line[:1], string(kind))
	}
	n, ok := parseInt(line[1:])
	if !ok {
		return 0, ErrProtocol
	}
	return n, nil
}

// parseInt is strconv.Atoi for short numbers, without garbage.
func parseInt(b []byte) (n int, ok bool) {
	digits, negative := b, false
	if len(b) > 0 && b[0] == '-' {
		digits, negative = b[1:], true
	}
	if len(digits) == 0 || len(digits) > 18 {
		return 0, false
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int(c-'0')
	}
	if negative {
		n = -n
	}
	return n, true
}

// Bulk reads a bulk string. One larger than maxIncoming is skipped, and nil is returned for it; so is a null.
func (r *Reader) Bulk() ([]byte, error) {
	n, err := r.Number('$')
	if err != nil || n < 0 {
		return nil, err
	}
	if n > MaxBulk {
		return nil, r.skip(n + 2)
	}
	for r.w-r.r < n+2 {
		if err := r.fill(n + 2); err != nil {
			return nil, err
		}
	}
	b := r.buf[r.r : r.r+n : r.r+n]
	r.r += n + 2
	return b, nil
}

func (r *Reader) skip(n int) error {
	for {
		k := min(n, r.w-r.r)
		r.r += k
		if n -= k; n == 0 {
			return nil
		}
		if err := r.fill(1); err != nil {
			return err
		}
	}
}

// PushKind is what a subscribed connection is told.
type PushKind uint8

const (
	PushMessage PushKind = 1 + iota
	PushSubscribed
	pushUnsubscribed
)

// Push reads the next push. what is the channel of a pushSubscribed and a pushUnsubscribed, and the payload of a
// pushMessage, nil where that was too large.
func (r *Reader) Push() (kind PushKind, what []byte, err error) {
	n, err := r.Number('*')
	if err != nil {
		return 0, nil, err
	}
	name, err := r.Bulk()
	if err != nil {
		return 0, nil, err
	}
	switch string(name) {
	case "message", "smessage":
		kind = PushMessage
	case "subscribe", "ssubscribe":
		kind = PushSubscribed
	case "unsubscribe", "sunsubscribe":
		kind = pushUnsubscribed
	}
	if kind == 0 || n != 3 {
		return 0, nil, fmt.Errorf("%w: unexpected push %s of %d", ErrProtocol, strconv.Quote(string(name)), n)
	}
	what, err = r.Bulk() // the channel
	if err != nil {
		return 0, nil, err
	}
	if kind == PushMessage {
		what, err = r.Bulk()
		return kind, what, err
	}
	what = bytes.Clone(what)
	_, err = r.Number(':')
	return kind, what, err
}
