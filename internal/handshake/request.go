package handshake

import (
	"bytes"
	"errors"
)

// maxHead is the size of the largest request head, the empty line included, in bytes.
const maxHead = 16 << 10

// ErrIncomplete: the request is well-formed so far, and its end has not arrived.
var ErrIncomplete = errors.New("parse request: more bytes are needed")

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
	ForwardedFor  []byte // the last X-Forwarded-For: any client can send one, so only that of a trusted proxy means something
	// ForwardedProto is the last X-Forwarded-Proto: the scheme that the client used, according to a proxy, or to the client
	// itself where there is none. It may be a list.
	ForwardedProto []byte
	Key            []byte // Sec-WebSocket-Key, not checked
	Version        []byte // Sec-WebSocket-Version, not checked
	Protocols      []byte // the first Sec-WebSocket-Protocol; subprotocols are not negotiated
	ContentType    []byte // the first Content-Type
	// AskedFields is the last Access-Control-Request-Headers: a list of field names, if the browser that sent it is one.
	AskedFields []byte

	Upgrade           bool // an Upgrade field lists websocket
	ConnectionUpgrade bool // a Connection field lists upgrade
	ConnectionClose   bool // a Connection field lists close
	ExpectContinue    bool // Expect: 100-continue
	HasBody           bool // a Content-Length other than 0, or a Transfer-Encoding, announces content

	authority        []byte // of a target in absolute form
	contentLength    []byte
	transferEncoding []byte
}

// Parse parses the head of the request that b begins with into r and returns its length, the empty line
// included; what lies behind it in b is the caller's. from says how many bytes of b an earlier call has seen, so that
// a request that drips in is not scanned again and again. The error is ErrIncomplete or a *Rejection, and the same
// however the bytes were cut into calls. It does not allocate. RFC 9112 §2–§6.
func Parse(b []byte, from int, r *Request) (n int, err error) {
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

// headEnd returns the length of the head. The first from bytes of b were searched before.
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
	return 0, ErrIncomplete
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
		once = &r.transferEncoding
	case equalFold(name, "expect"):
		r.ExpectContinue = equalFold(value, "100-continue")
	case equalFold(name, "access-control-request-headers"):
		r.AskedFields = value
	case equalFold(name, "content-type") && r.ContentType == nil:
		r.ContentType = value
	case equalFold(name, "upgrade"):
		r.Upgrade = r.Upgrade || listHas(value, "websocket")
	case equalFold(name, "connection"):
		r.ConnectionUpgrade = r.ConnectionUpgrade || listHas(value, "upgrade")
		r.ConnectionClose = r.ConnectionClose || listHas(value, "close")
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
