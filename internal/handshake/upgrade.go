package handshake

import (
	"bytes"
	"encoding/base64"
	"io"
	"net/http"

	"github.com/gobwas/ws"
)

// CheckUpgrade says why r, whose path is known, can't become a WebSocket connection; nil if it can. RFC 6455 §4.2.1.
func CheckUpgrade(r *Request, origins *OriginPolicy) *Rejection {
	switch {
	case string(r.Method) != http.MethodGet:
		return rejectMethod
	case r.HasBody:
		return rejectBody
	case hasCredential(r.Query):
		return RejectTokenInURL
	case !r.Upgrade || !r.ConnectionUpgrade:
		return rejectNoUpgrade
	case string(r.Version) != "13":
		return rejectVersion
	case !validKey(r.Key):
		return rejectKey
	case !origins.allows(r.Origin, r.Host):
		return RejectOrigin
	}
	return nil
}

// validKey reports whether key is the base64 form of 16 bytes. Bits behind the 128th are ignored: the example that
// RFC 6455 §4.1 gives has one set.
func validKey(key []byte) bool {
	var nonce [18]byte
	if len(key) != 24 {
		return false
	}
	n, err := base64.StdEncoding.Decode(nonce[:], key)
	return err == nil && n == 16
}

// hasCredential reports whether a parameter of the query is named like a credential. Names are compared as services
// understand them: percent-decoded, without regard to case, separators and brackets.
func hasCredential(query []byte) bool {
	for len(query) > 0 {
		var pair []byte
		if i := bytes.IndexAny(query, "&;"); i >= 0 {
			pair, query = query[:i], query[i+1:]
		} else {
			pair, query = query, nil
		}
		name, _, _ := bytes.Cut(pair, equals)
		var buf [16]byte
		switch string(appendPlain(buf[:0], name)) {
		case "token", "accesstoken", "authtoken", "bearertoken", "idtoken", "auth", "authorization", "bearer", "jwt",
			"key", "apikey", "apitoken", "accesskey", "password", "passwd", "secret", "clientsecret":
			return true
		}
	}
	return false
}

// appendPlain appends the letters and digits of a percent-encoded name, in lower case, as far as dst has room.
func appendPlain(dst, name []byte) []byte {
	for i := 0; i < len(name) && len(dst) < cap(dst); i++ {
		c := name[i]
		if c == '%' && i+2 < len(name) && isHex(name[i+1]) && isHex(name[i+2]) {
			c = unhex(name[i+1])<<4 | unhex(name[i+2])
			i += 2
		}
		if c = lower(c); 'a' <= c && c <= 'z' || isDigit(c) {
			dst = append(dst, c)
		}
	}
	return dst
}

// upgrader negotiates no extension and no subprotocol, whatever is offered.
var upgrader ws.Upgrader

// AcceptBytes is the length of what AppendAccept appends, in bytes.
const AcceptBytes = 129

// AppendAccept appends the response that turns r's connection into a WebSocket (RFC 6455 §4.2.2). It
// panics if CheckUpgrade did not pass r.
//
// The upgrader reads the request as far as it was found to matter, rather than the bytes that came: it would refuse
// "Upgrade: h2c, websocket", which RFC 6455 allows. docs/adr/0002-handshake.md has the figures.
func AppendAccept(dst []byte, r *Request) []byte {
	p := &headPipe{out: dst}
	p.in = append(p.buf[:0], "GET / HTTP/1.1\r\nHost: hub\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "...)
	p.in = append(append(p.in, r.Key...), "\r\n\r\n"...)
	if _, err := upgrader.Upgrade(p); err != nil {
		panic("handshake: accept a request that was not checked: " + err.Error()) // nothing but the key is the client's
	}
	return p.out
}

// headPipe is the connection that the upgrader sees: it ends behind the head, and what is written to it is kept.
type headPipe struct {
	in, out []byte
	buf     [160]byte // of in
}

// Read implements io.Reader.
func (p *headPipe) Read(b []byte) (int, error) {
	if len(p.in) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.in)
	p.in = p.in[n:]
	return n, nil
}

// Write implements io.Writer.
func (p *headPipe) Write(b []byte) (int, error) {
	p.out = append(p.out, b...)
	return len(b), nil
}
