package rawclient

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
)

// Key is the default Sec-WebSocket-Key of requests: the example of RFC 6455, section 1.3.
const Key = "dGhlIHNhbXBsZSBub25jZQ=="

// Request is the text of an HTTP request. Its methods return a changed copy.
type Request struct {
	line  string
	lines []string
	body  string
}

// NewRequest returns a valid opening handshake for path at host (RFC 6455, section 4.1).
func NewRequest(host, path string) Request {
	return Request{
		line: "GET " + path + " HTTP/1.1",
		lines: []string{
			"Host: " + host,
			"Upgrade: websocket",
			"Connection: Upgrade",
			"Sec-WebSocket-Key: " + Key,
			"Sec-WebSocket-Version: 13",
		},
	}
}

// Line replaces the request line.
func (r Request) Line(line string) Request {
	r.line = line
	return r
}

// Add adds header lines as they are.
func (r Request) Add(lines ...string) Request {
	r.lines = append(append([]string(nil), r.lines...), lines...)
	return r
}

// Drop removes all headers with that name.
func (r Request) Drop(name string) Request {
	var kept []string
	for _, l := range r.lines {
		if n, _, ok := strings.Cut(l, ":"); !ok || !strings.EqualFold(n, name) {
			kept = append(kept, l)
		}
	}
	r.lines = kept
	return r
}

// Set replaces all headers with that name by one.
func (r Request) Set(name, value string) Request { return r.Drop(name).Add(name + ": " + value) }

// Body sets the bytes behind the headers.
func (r Request) Body(b string) Request {
	r.body = b
	return r
}

// Bytes returns the encoded request.
func (r Request) Bytes() []byte { return r.BytesWith("\r\n") }

// BytesWith returns the request encoded with another line end.
func (r Request) BytesWith(eol string) []byte {
	return []byte(r.line + eol + strings.Join(r.lines, eol) + eol + eol + r.body)
}

// Response is the answer to a request.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
	Closed bool // the server closed the connection behind the answer
}

// maxHead bounds the response head, in bytes.
const maxHead = 64 << 10

// ReadResponse reads the answer to a request with the given method: its head and, unless it is 101 or answers HEAD, its
// body. A body without Content-Length ends with the connection.
func (c *Conn) ReadResponse(method string) (*Response, error) {
	c.arm()
	head, err := c.readHead()
	if err != nil {
		return nil, err
	}
	r, err := parseHead(head)
	if err != nil || r.Status == http.StatusSwitchingProtocols || method == http.MethodHead {
		return r, err
	}
	if length := r.Header.Get("Content-Length"); length != "" {
		n, err := strconv.Atoi(length)
		if err != nil || n < 0 || n > 1<<20 {
			return r, violation("Content-Length %q", length)
		}
		r.Body = make([]byte, n)
		return r, c.readFull(r.Body)
	}
	r.Body, err = io.ReadAll(io.LimitReader(c.br, 1<<20))
	r.Closed = err == nil
	return r, translate(err)
}

func (c *Conn) readHead() ([]byte, error) {
	var head []byte
	for !bytes.HasSuffix(head, []byte("\r\n\r\n")) {
		b, err := c.br.ReadByte()
		if err != nil {
			if len(head) > 0 && err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return head, translate(err)
		}
		if head = append(head, b); len(head) > maxHead {
			return head, violation("response head without an end: %.80q", head)
		}
	}
	return head, nil
}

func parseHead(head []byte) (*Response, error) {
	text := string(head[:len(head)-2])
	if strings.Count(text, "\n") != strings.Count(text, "\r\n") || strings.Count(text, "\r") != strings.Count(text, "\r\n") {
		return nil, violation("response head has bare line ends: %q", head)
	}
	status, _, _ := strings.Cut(text, "\r\n")
	proto, rest, _ := strings.Cut(status, " ")
	code, _, _ := strings.Cut(rest, " ")
	n, err := strconv.Atoi(code)
	if proto != "HTTP/1.1" || err != nil || len(code) != 3 {
		return nil, violation("status line %q", status)
	}
	header, err := textproto.NewReader(bufio.NewReader(bytes.NewReader(head[len(status)+2:]))).ReadMIMEHeader()
	if err != nil {
		return nil, violation("response headers %q: %v", head, err)
	}
	return &Response{Status: n, Header: http.Header(header)}, nil
}

// Upgrade performs a valid opening handshake on path with additional header lines, and checks the answer.
func (c *Conn) Upgrade(path string, lines ...string) error {
	if err := c.Write(NewRequest(c.tcp.RemoteAddr().String(), path).Add(lines...).Bytes()); err != nil {
		return fmt.Errorf("upgrade: %w", err)
	}
	return c.Upgraded()
}

// Upgraded reads the answer to an opening handshake with the key Key and checks it (RFC 6455, section 4.1).
func (c *Conn) Upgraded() error {
	r, err := c.ReadResponse(http.MethodGet)
	if err != nil {
		return fmt.Errorf("upgrade: %w", err)
	}
	if r.Status != http.StatusSwitchingProtocols {
		return fmt.Errorf("upgrade: status %d, %q", r.Status, r.Body)
	}
	if err := checkAccepted(r.Header); err != nil {
		return fmt.Errorf("upgrade: %w", err)
	}
	c.ws = true
	return nil
}

func checkAccepted(h http.Header) error {
	sum := sha1.Sum([]byte(Key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	want := map[string]string{
		"Upgrade":              "websocket",
		"Connection":           "upgrade",
		"Sec-Websocket-Accept": base64.StdEncoding.EncodeToString(sum[:]),
	}
	for name, value := range want {
		got := h[name]
		if len(got) != 1 || got[0] != value && (name == "Sec-Websocket-Accept" || !strings.EqualFold(got[0], value)) {
			return violation("%s is %q, want %q", name, got, value)
		}
	}
	for _, name := range []string{"Sec-Websocket-Extensions", "Sec-Websocket-Protocol"} {
		if got := h[name]; len(got) > 0 {
			return violation("%s %q was not asked for", name, got)
		}
	}
	return nil
}
