package transport

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"

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
	RemoteAddr netip.AddrPort // who sent it; set by the listener, untouched by parsing

	Method []byte // case-sensitive
	Target []byte // as it was sent
	Path   []byte // begins with a slash; percent-encoded, validly and without control characters
	Query  []byte // what follows the first question mark of the target; its percent-encoding is not checked

	Host          []byte // valid and not empty, perhaps with a port
	Origin        []byte // RFC 6454 §7
	Authorization []byte // never to be logged
	UserAgent     []byte
	ForwardedFor  []byte // the last X-Forwarded-For: anybody can send one, so it means something from a proxy of one's own only
	Key           []byte // Sec-WebSocket-Key, not checked
	Version       []byte // Sec-WebSocket-Version, not checked
	Protocols     []byte // the first Sec-WebSocket-Protocol; subprotocols are not negotiated

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
	*r = Request{RemoteAddr: r.RemoteAddr}
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
	case !r.Upgrade || !r.ConnectionUpgrade:
		return rejectNoUpgrade
	case string(r.Version) != "13":
		return rejectVersion
	case !validKey(r.Key):
		return rejectKey
	case hasCredential(r.Query):
		return rejectTokenInURL
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

// Rejection is an answer to a request that does not become a connection.
type Rejection struct {
	Cause  string // names it in metrics; one of a fixed set
	Status int    // of HTTP
	Line   string // one sentence for whoever reads the answer; it repeats nothing of the request
	fields string // further header lines, each with its CRLF
}

// Error implements error.
func (rej *Rejection) Error() string {
	return "handshake refused with " + strconv.Itoa(rej.Status) + ": " + rej.Line
}

// whatThisIs answers somebody who came with a browser or curl.
const whatThisIs = "mastersocket hub: connect with a WebSocket client; see the protocol documentation"

// upgradeFields are what RFC 9110 §15.5.22 and RFC 6455 §4.4 want of a 426.
const upgradeFields = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"

// Every reason to refuse a handshake.
var (
	rejectRequestLine  = &Rejection{Cause: "request_line", Status: 400, Line: "the request line is not that of an HTTP/1.1 request"}
	rejectHTTPVersion  = &Rejection{Cause: "http_version", Status: 505, Line: "only HTTP/1.1 is spoken here"}
	rejectLineEnd      = &Rejection{Cause: "line_end", Status: 400, Line: "a line of the request does not end with CRLF"}
	rejectTarget       = &Rejection{Cause: "target", Status: 400, Line: "the request target is not a valid path or http URL"}
	rejectField        = &Rejection{Cause: "header_field", Status: 400, Line: "a header line is malformed"}
	rejectDuplicate    = &Rejection{Cause: "duplicate_field", Status: 400, Line: "a header field that may come once came twice"}
	rejectHost         = &Rejection{Cause: "host", Status: 400, Line: "exactly one valid Host header field is needed, equal to that of the target"}
	rejectFraming      = &Rejection{Cause: "framing", Status: 400, Line: "the request says contradictory things about its length"}
	rejectHeadTooLarge = &Rejection{Cause: "head_too_large", Status: 431, Line: "the request line and header fields are larger than 16 KiB"}
	rejectNotFound     = &Rejection{Cause: "not_found", Status: 404, Line: "nothing is served at this path"}
	rejectMethod       = &Rejection{Cause: "method", Status: 405, Line: "a WebSocket handshake is a GET request", fields: "Allow: GET\r\n"}
	rejectBody         = &Rejection{Cause: "body", Status: 400, Line: "a WebSocket handshake has no body"}
	rejectNoUpgrade    = &Rejection{Cause: "no_upgrade", Status: 426, Line: whatThisIs, fields: upgradeFields}
	rejectVersion      = &Rejection{Cause: "websocket_version", Status: 426, Line: whatThisIs + " (Sec-WebSocket-Version must be 13)", fields: upgradeFields}
	rejectKey          = &Rejection{Cause: "websocket_key", Status: 400, Line: "Sec-WebSocket-Key is not the base64 form of 16 bytes"}
	rejectTokenInURL   = &Rejection{Cause: "token_in_url", Status: 400, Line: "a URL is no place for a token: connect without it and send it in IDENTIFY"}
	rejectOrigin       = &Rejection{Cause: "origin", Status: 403, Line: "pages of this origin may not connect; an operator can allow it with --allowed-origins"}
)

// rejections lists them, so that each can be counted from the start.
var rejections = []*Rejection{
	rejectRequestLine, rejectHTTPVersion, rejectLineEnd, rejectTarget, rejectField, rejectDuplicate, rejectHost,
	rejectFraming, rejectHeadTooLarge, rejectNotFound, rejectMethod, rejectBody, rejectNoUpgrade, rejectVersion,
	rejectKey, rejectTokenInURL, rejectOrigin,
}

// appendResponse appends a whole HTTP/1.1 response: at most 320 bytes, the line and the fields of rej aside. The connection is to be closed behind it. r is the request that is
// refused; where it could not be parsed, whatever parseRequest left in it.
func appendResponse(dst []byte, rej *Rejection, r *Request, now time.Time) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(rej.Status), 10)
	dst = append(append(dst, ' '), http.StatusText(rej.Status)...)
	dst = append(dst, "\r\nDate: "...)
	dst = now.UTC().AppendFormat(dst, http.TimeFormat)
	dst = append(dst, "\r\nContent-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\nContent-Length: "...)
	dst = strconv.AppendInt(dst, int64(len(rej.Line)+1), 10)
	dst = append(append(dst, "\r\n"...), rej.fields...)
	if rej.Status == http.StatusUpgradeRequired {
		dst = append(dst, "Connection: Upgrade, close\r\n\r\n"...)
	} else {
		dst = append(dst, "Connection: close\r\n\r\n"...)
	}
	if string(r.Method) == http.MethodHead { // RFC 9110 §9.3.2
		return dst
	}
	return append(append(dst, rej.Line...), '\n')
}

// OriginPolicy says which pages may connect from a browser besides those of the hub's own host. It is immutable; nil
// allows none.
type OriginPolicy struct {
	all, null bool
	rules     []originRule
}

// originRule allows one origin, or those of all hosts below a domain.
type originRule struct {
	scheme, host string // lower case; with wildcard, host begins with a dot
	port         int
	wildcard     bool
}

// ParseOrigins makes a policy of a list of
//
//	https://app.example.com[:port]  that origin
//	https://*.example.com[:port]    the hosts below example.com, at any depth; not example.com itself
//	null                            the opaque origin, which sandboxed frames and local files have
//	*                               every origin
//
// Its error names the first entry that is none of these and says what to write instead.
func ParseOrigins(list []string) (*OriginPolicy, error) {
	p := &OriginPolicy{}
	for _, entry := range list {
		switch entry {
		case "*":
			p.all = true
			continue
		case "null":
			p.null = true
			continue
		}
		rule, hint := parseOriginRule(entry)
		if hint != "" {
			return nil, fmt.Errorf("parse allowed origin %q: %s", entry, hint)
		}
		p.rules = append(p.rules, rule)
	}
	return p, nil
}

// parseOriginRule parses one entry; hint says what is wrong with it.
func parseOriginRule(entry string) (rule originRule, hint string) {
	scheme, authority, ok := strings.Cut(strings.ToLower(entry), "://")
	if !ok {
		return rule, "write scheme://host, such as https://app.example.com, or null or *"
	}
	if strings.ContainsAny(authority, "/?#") {
		return rule, "an origin ends with its host and port: leave out the slash and what follows it"
	}
	if scheme == "ws" || scheme == "wss" {
		return rule, "an origin is that of a page: write http or https"
	}
	wildcard := strings.HasPrefix(authority, "*.")
	if wildcard {
		authority = authority[1:]
	}
	o, ok := parseOrigin([]byte(scheme + "://" + strings.TrimPrefix(authority, ".")))
	if !ok || wildcard && (o.host[0] == '[' || strings.HasPrefix(authority, "..")) || !wildcard && authority[0] == '.' {
		return rule, "write scheme://host[:port] with a host name (in ASCII), an address, or a name behind *."
	}
	rule = originRule{scheme: string(o.scheme), host: string(o.host), port: o.port, wildcard: wildcard}
	if wildcard {
		rule.host = "." + rule.host
	}
	return rule, ""
}

// allows reports whether a page of the origin may connect to host. A client that is no browser sends no Origin.
func (p *OriginPolicy) allows(header, host []byte) bool {
	if header == nil || p != nil && p.all {
		return true
	}
	if string(header) == "null" {
		return p != nil && p.null
	}
	o, ok := parseOrigin(header)
	if !ok {
		return false
	}
	return o.isHost(host) || p != nil && slices.ContainsFunc(p.rules, o.matches)
}

// origin is a scheme, host and port of RFC 6454 §4. Its slices are views.
type origin struct {
	scheme, host []byte
	port         int // the scheme's own where none is given; noPort where it has none
}

// parseOrigin parses a serialized origin (RFC 6454 §6.2).
func parseOrigin(b []byte) (o origin, ok bool) {
	scheme, authority, ok := bytes.Cut(b, schemeEnd)
	if !ok || len(scheme) == 0 || !all(scheme, &schemeChars) {
		return o, false
	}
	o.scheme = scheme
	if o.host, o.port, ok = splitAuthority(authority); ok && o.port == noPort {
		o.port = defaultPort(scheme)
	}
	return o, ok
}

// isHost reports whether a page of o comes from the host that it connects to. The scheme of the connection is
// unknown (a proxy may have ended TLS), so a Host without a port stands for the default port of the origin's scheme.
func (o origin) isHost(hostport []byte) bool {
	host, port, ok := splitAuthority(hostport)
	if port == noPort {
		port = defaultPort(o.scheme)
	}
	return ok && port != noPort && port == o.port && defaultPort(o.scheme) != noPort && equalFold(o.host, host)
}

// matches reports whether rule allows o.
func (o origin) matches(rule originRule) bool {
	if o.port != rule.port || !equalFold(o.scheme, rule.scheme) {
		return false
	}
	if below := len(o.host) - len(rule.host); rule.wildcard {
		return below > 0 && o.host[0] != '.' && equalFold(o.host[below:], rule.host)
	}
	return equalFold(o.host, rule.host)
}

const noPort = -1

// defaultPort returns the port of a URL that names none, or noPort.
func defaultPort(scheme []byte) int {
	switch {
	case equalFold(scheme, "http"), equalFold(scheme, "ws"):
		return 80
	case equalFold(scheme, "https"), equalFold(scheme, "wss"):
		return 443
	}
	return noPort
}

// splitAuthority splits "host[:port]" (RFC 3986 §3.2 without user information) and reports whether it is valid: a
// name of letters, digits, hyphens, dots and underscores, an IPv4 address, or an IPv6 address in brackets.
func splitAuthority(b []byte) (host []byte, port int, ok bool) {
	host, port = b, noPort
	if i := bytes.LastIndexByte(b, ':'); i > bytes.LastIndexByte(b, ']') {
		digits := b[i+1:]
		if host = b[:i]; len(digits) > 5 || !all(digits, &digitChars) {
			return nil, noPort, false
		}
		if len(digits) > 0 {
			port = 0
		}
		for _, c := range digits {
			port = port*10 + int(c-'0')
		}
	}
	return host, port, port <= 65535 && validHost(host)
}

func validHost(host []byte) bool {
	if len(host) == 0 || len(host) > 255 {
		return false
	}
	if host[0] != '[' {
		return all(host, &hostChars)
	}
	inner := bytes.TrimSuffix(host[1:], []byte("]"))
	if len(inner) != len(host)-2 || bytes.IndexByte(inner, '%') >= 0 || len(inner) == 0 {
		return false
	}
	ip, err := netip.ParseAddr(unsafe.String(&inner[0], len(inner))) // only an error, dropped here, keeps the string
	return err == nil && ip.Is6()
}

var (
	space, colon, equals = []byte(" "), []byte(":"), []byte("=")
	slash, schemeEnd     = []byte("/"), []byte("://")
	digitChars           = charTable(isDigit)
	hostChars            = charTable(func(c byte) bool { return isAlnum(c) || strings.IndexByte("-._", c) >= 0 })
	schemeChars          = charTable(func(c byte) bool { return isAlnum(c) || strings.IndexByte("+-.", c) >= 0 })
	tokenChars           = charTable(func(c byte) bool { return isAlnum(c) || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0 })
	targetChars          = charTable(func(c byte) bool { return ' ' < c && c < 0x7f && c != '#' })
	valueChars           = charTable(func(c byte) bool { return c >= ' ' && c != 0x7f || c == '\t' })
)

// charTable tabulates a class of bytes.
func charTable(in func(byte) bool) (t [256]bool) {
	for c := range t {
		t[c] = in(byte(c))
	}
	return t
}

// all reports whether every byte of b is in the class.
func all(b []byte, class *[256]bool) bool {
	for _, c := range b {
		if !class[c] {
			return false
		}
	}
	return true
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
func isAlnum(c byte) bool { return isDigit(c) || 'a' <= lower(c) && lower(c) <= 'z' }
func isHex(c byte) bool   { return isDigit(c) || 'a' <= lower(c) && lower(c) <= 'f' }

// lower returns the lower case of an ASCII letter and other bytes as they are.
func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c |= 0x20
	}
	return c
}

// unhex returns the value of a hexadecimal digit.
func unhex(c byte) byte {
	if isDigit(c) {
		return c - '0'
	}
	return lower(c) - 'a' + 10
}

// validEscapes reports whether each percent sign begins an escape, none of which hides a control character.
func validEscapes(path []byte) bool {
	for i := 0; i < len(path); i++ {
		if path[i] != '%' {
			continue
		}
		if i+2 >= len(path) || !isHex(path[i+1]) || !isHex(path[i+2]) {
			return false
		}
		if c := unhex(path[i+1])<<4 | unhex(path[i+2]); c < ' ' || c == 0x7f {
			return false
		}
		i += 2
	}
	return true
}

// equalFold reports whether a and b are equal without regard to the case of ASCII letters. bytes.EqualFold would take
// U+017F for an s and U+212A for a k.
func equalFold[T string | []byte](a []byte, b T) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] && lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

// listHas reports whether a comma-separated list has token, which is lower case (RFC 9110 §5.6.1).
func listHas(list []byte, token string) bool {
	for len(list) > 0 {
		var item []byte
		if i := bytes.IndexByte(list, ','); i >= 0 {
			item, list = list[:i], list[i+1:]
		} else {
			item, list = list, nil
		}
		if equalFold(trimOWS(item), token) {
			return true
		}
	}
	return false
}

// trimOWS cuts optional white space off both ends (RFC 9110 §5.6.3).
func trimOWS(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}
