package transport

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"net/http"

	"github.com/gobwas/ws"
)

// The opening handshake, as a function of bytes: nothing here reads, writes or waits. A listener gathers bytes and
// asks, in this order,
//
//	parseRequest  is a whole, well-formed request there?   errIncomplete: gather on; *Rejection: 400, 431 or 505
//	(its routes)  is there something at r.Path?            rejectNotFound: 404
//	checkUpgrade  may it become a WebSocket?               *Rejection: 405, 400, 426 or 403
//	appendAccept  the 101
//
// and answers a *Rejection with appendResponse and a close. It is stricter than net/http: whatever two readers of one
// request could understand differently is refused.

// maxHead is the size of the largest request head, the empty line included, in bytes.
const maxHead = 16 << 10

// errIncomplete: the request is well-formed as far as it was looked at, and its end is yet to come.
var errIncomplete = errors.New("parse request: more bytes are needed")

// Request is the head of one HTTP/1.1 request. Its slices are views of the buffer that was parsed, valid as long as
// that is, and must not be written to. A field that the request lacks is nil; one that is there but empty is not.
type Request struct {
	Method []byte // case-sensitive
	Target []byte // as it was sent
	Path   []byte // begins with a slash; percent-encoded, validly and without control characters
	Query  []byte // what follows the first question mark of the target; its percent-encoding is not checked

	Host          []byte // valid and not empty, perhaps with a port
	Origin        []byte // RFC 6454 §7
	Authorization []byte // never to be logged
	UserAgent     []byte
	ForwardedFor  []byte // the last X-Forwarded-For: anybody can send one, so it means something from a proxy of one's own only
	// ForwardedProto is the last X-Forwarded-Proto: the scheme that the client used, according to a proxy, or to the client
	// itself where there is none. It may be a list.
	ForwardedProto []byte
	Key            []byte // Sec-WebSocket-Key, not checked
	Version        []byte // Sec-WebSocket-Version, not checked
	Protocols      []byte // the first Sec-WebSocket-Protocol; subprotocols are not negotiated

	Upgrade           bool // an Upgrade field lists websocket
	ConnectionUpgrade bool // a Connection field lists upgrade
	HasBody           bool // a Content-Length other than 0, or a Transfer-Encoding, announces content

	authority        []byte // of a target in absolute form
	contentLength    []byte
	transferEncoding []byte
}

// parseRequest parses the head of the request that b begins with into r and returns its length, the empty line
// included; what lies behind it in b is the caller's. from says how many bytes of b an earlier call has seen, so that
// a request that drips in is not scanned again and again. The error is errIncomplete or a *Rejection, and the same
// however the bytes were cut into calls. It does not allocate. RFC 9112 §2–§6.
func parseRequest(b []byte, from int, r *Request) (n int, err error) {
	*r = Request{}
	if n, err = headEnd(b, from); err != nil {
		return 0, err
	}
	line, rest := cutLine(b[:n-2])
	if rej := r.parseRequestLine(line); rej != nil {
		return 0, rej
	}
	for len(rest) > 0 {
		line, rest = cutLine(rest)
		if rej := r.parseField(line); rej != nil {
			return 0, rej
		}
	}
	if rej := r.checkSyntax(); rej != nil {
		return 0, rej
	}
	return n, nil
}

// headEnd returns the length of the head, of which from bytes were searched before.
func headEnd(b []byte, from int) (int, error) {
	if len(b) > 0 && !tokenChars[b[0]] { // no method begins so: a TLS client, say, need not wait for the deadline
		return 0, rejectRequestLine
	}
	head := b[:min(len(b), maxHead)]
	for i := min(max(from, 0), len(head)); ; i++ {
		j := bytes.IndexByte(head[i:], '\n')
		if j < 0 {
			break
		}
		i += j
		if head[i-1] != '\r' {
			return 0, rejectLineEnd
		}
		if i > 1 && head[i-2] == '\n' {
			return i + 1, nil
		}
	}
	if len(b) >= maxHead {
		return 0, rejectHeadTooLarge
	}
	return 0, errIncomplete
}

// cutLine cuts b behind its first CRLF, which neither part keeps. headEnd saw to it that there is one.
func cutLine(b []byte) (line, rest []byte) {
	i := bytes.IndexByte(b, '\n')
	return b[:i-1], b[i+1:]
}

// parseRequestLine parses "method SP request-target SP HTTP-version" (RFC 9112 §3).
func (r *Request) parseRequestLine(line []byte) *Rejection {
	method, rest, ok := bytes.Cut(line, space)
	target, version, ok2 := bytes.Cut(rest, space)
	if !ok || !ok2 || !all(method, &tokenChars) {
		return rejectRequestLine
	}
	if string(version) != "HTTP/1.1" {
		// RFC 9110 §15.6.6 speaks of the major version: 1.0 is understood, but can't be upgraded.
		if len(version) == 8 && string(version[:5]) == "HTTP/" && version[5] != '1' && isDigit(version[5]) &&
			version[6] == '.' && isDigit(version[7]) {
			return rejectHTTPVersion
		}
		return rejectRequestLine
	}
	r.Method, r.Target = method, target
	if !r.parseTarget() {
		return rejectTarget
	}
	return nil
}

// parseTarget splits a target in origin form or absolute form (RFC 9112 §3.2.1, §3.2.2).
func (r *Request) parseTarget() bool {
	rest := r.Target
	if len(rest) == 0 || !all(rest, &targetChars) {
		return false
	}
	if rest[0] != '/' {
		scheme, after, ok := bytes.Cut(rest, schemeEnd)
		if !ok || !equalFold(scheme, "http") && !equalFold(scheme, "https") {
			return false
		}
		end := bytes.IndexAny(after, "/?")
		if end < 0 {
			end = len(after)
		}
		r.authority, rest = after[:end], after[end:]
	}
	r.Path, r.Query = rest, nil
	if i := bytes.IndexByte(rest, '?'); i >= 0 {
		r.Path, r.Query = rest[:i], rest[i+1:]
	}
	if len(r.Path) == 0 {
		r.Path = slash
	}
	return validEscapes(r.Path)
}

// parseField parses "field-name : OWS field-value OWS" (RFC 9112 §5). A continuation line (obs-fold) and white space
// before the colon are no token.
func (r *Request) parseField(line []byte) *Rejection {
	name, value, ok := bytes.Cut(line, colon)
	if !ok || !all(name, &tokenChars) || len(name) == 0 || !all(value, &valueChars) {
		return rejectField
	}
	value = trimOWS(value)
	var once *[]byte
	switch {
	case equalFold(name, "host"):
		once = &r.Host
	case equalFold(name, "origin"):
		once = &r.Origin
	case equalFold(name, "authorization"):
		once = &r.Authorization
	case equalFold(name, "sec-websocket-key"):
		once = &r.Key
	case equalFold(name, "sec-websocket-version"):
		once = &r.Version
	case equalFold(name, "content-length"):
		once = &r.contentLength
	case equalFold(name, "transfer-encoding"):
		r.transferEncoding = value
	case equalFold(name, "upgrade"):
		r.Upgrade = r.Upgrade || listHas(value, "websocket")
	case equalFold(name, "connection"):
		r.ConnectionUpgrade = r.ConnectionUpgrade || listHas(value, "upgrade")
	case equalFold(name, "user-agent"):
		r.UserAgent = value
	case equalFold(name, "x-forwarded-for"):
		r.ForwardedFor = value
	case equalFold(name, "x-forwarded-proto"):
		r.ForwardedProto = value
	case equalFold(name, "sec-websocket-protocol") && r.Protocols == nil:
		r.Protocols = value
	}
	if once == nil {
		return nil
	}
	if *once != nil {
		return rejectDuplicate
	}
	*once = value
	return nil
}

// checkSyntax checks what takes more than one line to see.
func (r *Request) checkSyntax() *Rejection {
	if _, _, ok := splitAuthority(r.Host); !ok {
		return rejectHost
	}
	if r.authority != nil && !bytes.Equal(r.authority, r.Host) { // RFC 9112 §3.2: a client sends them identical
		return rejectHost
	}
	if r.contentLength != nil {
		if len(r.contentLength) == 0 || !all(r.contentLength, &digitChars) || r.transferEncoding != nil {
			return rejectFraming
		}
	}
	r.HasBody = r.transferEncoding != nil || len(bytes.TrimLeft(r.contentLength, "0")) > 0
	return nil
}

// checkUpgrade says why r, whose path is known, can't become a WebSocket connection; nil if it can. RFC 6455 §4.2.1.
func checkUpgrade(r *Request, origins *OriginPolicy) *Rejection {
	switch {
	case string(r.Method) != http.MethodGet:
		return rejectMethod
	case r.HasBody:
		return rejectBody
	case hasCredential(r.Query):
		return rejectTokenInURL
	case !r.Upgrade || !r.ConnectionUpgrade:
		return rejectNoUpgrade
	case string(r.Version) != "13":
		return rejectVersion
	case !validKey(r.Key):
		return rejectKey
	case !origins.allows(r.Origin, r.Host):
		return rejectOrigin
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

// maxAccept is the length of what appendAccept appends, in bytes.
const maxAccept = 129

// appendAccept appends the response that turns r's connection into a WebSocket (RFC 6455 §4.2.2). It
// panics if r is none that checkUpgrade passed.
//
// The upgrader reads the request as far as it was found to matter, rather than the bytes that came: it would refuse
// "Upgrade: h2c, websocket", which RFC 6455 allows. docs/adr/0002-handshake.md has the figures.
func appendAccept(dst []byte, r *Request) []byte {
	p := &headPipe{out: dst}
	p.in = append(p.buf[:0], "GET / HTTP/1.1\r\nHost: hub\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "...)
	p.in = append(append(p.in, r.Key...), "\r\n\r\n"...)
	if _, err := upgrader.Upgrade(p); err != nil {
		panic("transport: accept a handshake that was not checked: " + err.Error()) // nothing but the key is the client's
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
