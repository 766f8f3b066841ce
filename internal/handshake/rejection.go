package handshake

import (
	"net/http"
	"strconv"
	"time"
)

// Rejection is the answer to a request that does not become a connection.
type Rejection struct {
	Cause  string // its label in metrics; one of a fixed set
	Status int    // of HTTP
	Line   string // the body: one sentence, which repeats nothing of the request
	fields string // further header lines, each with its CRLF
}

// Error implements error.
func (rej *Rejection) Error() string {
	return "handshake refused with " + strconv.Itoa(rej.Status) + ": " + rej.Line
}

// whatThisIs is what a browser or curl gets.
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
	// RejectNotFound: no endpoint has the path.
	RejectNotFound   = &Rejection{Cause: "not_found", Status: 404, Line: "nothing is served at this path"}
	rejectMethod     = &Rejection{Cause: "method", Status: 405, Line: "a WebSocket handshake is a GET request", fields: "Allow: GET\r\n"}
	rejectBody       = &Rejection{Cause: "body", Status: 400, Line: "a WebSocket handshake has no body"}
	rejectNoUpgrade  = &Rejection{Cause: "no_upgrade", Status: 426, Line: whatThisIs, fields: upgradeFields}
	rejectVersion    = &Rejection{Cause: "websocket_version", Status: 426, Line: whatThisIs + " (Sec-WebSocket-Version must be 13)", fields: upgradeFields}
	rejectKey        = &Rejection{Cause: "websocket_key", Status: 400, Line: "Sec-WebSocket-Key is not the base64 form of 16 bytes"}
	RejectTokenInURL = &Rejection{Cause: "token_in_url", Status: 400, Line: "a URL is no place for a token: connect without it and send it in IDENTIFY"}
	// RejectOrigin answers a page that may not connect.
	RejectOrigin         = &Rejection{Cause: "origin", Status: 403, Line: "pages of this origin may not connect; an operator can allow it with --allowed-origins"}
	rejectTransferCoding = &Rejection{Cause: "transfer_coding", Status: 501, Line: "chunked is the only transfer coding that is known here"}
	// RejectBodyTooLarge answers a request with more content than a message may have.
	RejectBodyTooLarge = &Rejection{Cause: "body_too_large", Status: 413, Line: "the content of the request is larger than a message may be"}
	// RejectChunk answers a request whose content is not in chunks though it says so.
	RejectChunk = &Rejection{Cause: "chunk", Status: 400, Line: "the content of the request is not in chunks as RFC 9112 has them"}
	// RejectMisdirected answers a request for a host that the listener does not answer.
	RejectMisdirected = &Rejection{Cause: "misdirected", Status: 421, Line: "this listener does not answer that Host; an operator can allow it with --allowed-hosts"}
	// RejectNotTLS answers a request in plain text on a listener of TLS.
	RejectNotTLS = &Rejection{Cause: "not_tls", Status: 400, Line: "TLS is spoken here: connect with wss:// or https://"}
	// RejectOverload answers a handshake for which there is no memory.
	RejectOverload = &Rejection{Cause: "overload", Status: 503, Line: "too many requests are under way; try again later"}
)

// Rejections returns all of them, in a fixed order, so that each can be counted from the start.
func Rejections() []*Rejection { return rejections }

var rejections = []*Rejection{
	rejectRequestLine, rejectHTTPVersion, rejectLineEnd, rejectTarget, rejectField, rejectDuplicate, rejectHost,
	rejectFraming, rejectHeadTooLarge, RejectNotFound, rejectMethod, rejectBody, rejectNoUpgrade, rejectVersion,
	rejectKey, RejectTokenInURL, RejectOrigin, rejectTransferCoding, RejectBodyTooLarge, RejectChunk, RejectMisdirected, RejectNotTLS, RejectOverload,
}

// ResponseBytes is the most that AppendResponse appends for rej.
func ResponseBytes(rej *Rejection) int { return 320 + len(rej.Line) + len(rej.fields) }

// AppendResponse appends a whole HTTP/1.1 response, behind which the connection must be closed. r is the refused
// request; where Parse failed, what it left in r.
func AppendResponse(dst []byte, rej *Rejection, r *Request, now time.Time) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(rej.Status), 10)
	dst = append(append(dst, ' '), http.StatusText(rej.Status)...)
	dst = append(dst, "\r\nDate: "...)
	dst = now.UTC().AppendFormat(dst, http.TimeFormat)
	dst = append(dst, "\r\nContent-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\nContent-Length: "...)
	dst = strconv.AppendInt(dst, int64(len(rej.Line)+1), 10)
	dst = append(append(dst, "\r\n"...), rej.fields...)
	if rej.Status == http.StatusUnauthorized { // RFC 9110 §11.6.1
		dst = append(dst, "WWW-Authenticate: Bearer\r\n"...)
	}
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
