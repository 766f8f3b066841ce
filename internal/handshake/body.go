package handshake

import (
	"bytes"
	"strconv"
)

// maxLengthDigits is how many digits of a Content-Length are read. A longer one is larger than any limit.
const maxLengthDigits = 18

// BodyFrame returns how the end of the request's content is told: by a length in bytes, or by chunks (RFC 9112 §6).
func (r *Request) BodyFrame() (length int64, chunked bool, rej *Rejection) {
	if r.transferEncoding != nil {
		if !equalFold(r.transferEncoding, "chunked") {
			return 0, false, rejectTransferCoding
		}
		return 0, true, nil
	}
	digits := bytes.TrimLeft(r.contentLength, "0")
	if len(digits) > maxLengthDigits {
		return 0, false, RejectBodyTooLarge
	}
	length, _ = strconv.ParseInt(string(digits), 10, 64) // digits alone, or nothing: checkSyntax
	return length, false, nil
}

// Allows reports whether a page of the request's Origin may read the answer, or connect.
func (p *OriginPolicy) Allows(r *Request) bool { return p.allows(r.Origin, r.Host) }

// HasCredential reports whether a parameter of the query is named like a credential. URLs end up in logs.
func (r *Request) HasCredential() bool { return hasCredential(r.Query) }
