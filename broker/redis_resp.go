package broker

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync/atomic"
)

// Measures of the reader, in bytes.
const (
	respBuffer  = 64 << 10
	respSpare   = 1 << 20  // a buffer grown beyond this is given back
	respLine    = 4 << 10  // the longest line that is accepted
	maxIncoming = 16 << 20 // the largest message that is taken; a larger one is skipped
)

var errProtocol = errors.New("not the Redis protocol")

// serverError is an error reply, such as "MOVED 1 127.0.0.1:7001".
type serverError string

func (e serverError) Error() string { return "Redis says: " + string(e) }

// respReader reads RESP2 from a connection. What its methods return is valid until the next call.
type respReader struct {
	src   io.Reader
	heard *hearing
	buf   []byte
	r, w  int
}

// hearing is what others may know of a reader.
type hearing struct {
	reads   atomic.Uint64 // grows with each read that brought something
	waiting atomic.Bool   // it waits for more
}

func newRespReader(src io.Reader, heard *hearing) *respReader {
	return &respReader{src: src, heard: heard, buf: make([]byte, respBuffer)}
}

// buffered says whether bytes are left that need no wait.
func (r *respReader) buffered() bool { return r.w > r.r }

// fill reads more behind what is there, having made room for need bytes in all.
func (r *respReader) fill(need int) error {
	if r.r == r.w {
		r.r, r.w = 0, 0
		if len(r.buf) > respSpare && need <= respBuffer {
			r.buf = make([]byte, respBuffer)
		}
	}
	if r.r+max(need, respLine) > len(r.buf) {
		buf := r.buf
		if need > len(buf) {
			buf = make([]byte, max(need, 2*len(buf)))
		}
		r.w = copy(buf, r.buf[r.r:r.w])
		r.buf, r.r = buf, 0
	}
	r.heard.waiting.Store(true)
	n, err := r.src.Read(r.buf[r.w:])
	r.heard.waiting.Store(false)
	if n > 0 {
		r.w += n
		r.heard.reads.Add(1)
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// line returns the next line without its end.
func (r *respReader) line() ([]byte, error) {
	for scanned := 0; ; {
		if i := bytes.IndexByte(r.buf[r.r+scanned:r.w], '\n'); i >= 0 {
			line := r.buf[r.r : r.r+scanned+i]
			r.r += scanned + i + 1
			if n := len(line); n > 1 && line[n-1] == '\r' {
				return line[:n-1], nil
			}
			return nil, errProtocol
		}
		if scanned = r.w - r.r; scanned > respLine {
			return nil, errProtocol
		}
		if err := r.fill(scanned + 1); err != nil {
			return nil, err
		}
	}
}

// number reads a line that is kind and a number. An error reply in its place is a serverError.
func (r *respReader) number(kind byte) (int, error) {
	line, err := r.line()
	if err != nil {
		return 0, err
	}
	if line[0] == '-' {
		return 0, serverError(line[1:])
	}
	if line[0] != kind {
		return 0, fmt.Errorf("%w: %q where %q should begin", errProtocol, line[:1], string(kind))
	}
	n, ok := parseInt(line[1:])
	if !ok {
		return 0, errProtocol
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

// bulk reads a bulk string. One larger than maxIncoming is skipped, and nil is returned for it; so is a null.
func (r *respReader) bulk() ([]byte, error) {
	n, err := r.number('$')
	if err != nil || n < 0 {
		return nil, err
	}
	if n > maxIncoming {
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

func (r *respReader) skip(n int) error {
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

// pushKind is what a subscribed connection is told.
type pushKind uint8

const (
	pushMessage pushKind = 1 + iota
	pushSubscribed
	pushUnsubscribed
)

// push reads the next push. what is the channel of a pushSubscribed and a pushUnsubscribed, and the payload of a
// pushMessage, nil where that was too large.
func (r *respReader) push() (kind pushKind, what []byte, err error) {
	n, err := r.number('*')
	if err != nil {
		return 0, nil, err
	}
	name, err := r.bulk()
	if err != nil {
		return 0, nil, err
	}
	switch string(name) {
	case "message", "smessage":
		kind = pushMessage
	case "subscribe", "ssubscribe":
		kind = pushSubscribed
	case "unsubscribe", "sunsubscribe":
		kind = pushUnsubscribed
	}
	if kind == 0 || n != 3 {
		return 0, nil, fmt.Errorf("%w: unexpected push %s of %d", errProtocol, strconv.Quote(string(name)), n)
	}
	what, err = r.bulk() // the channel
	if err != nil {
		return 0, nil, err
	}
	if kind == pushMessage {
		what, err = r.bulk()
		return kind, what, err
	}
	what = bytes.Clone(what)
	_, err = r.number(':')
	return kind, what, err
}
