package httpapi

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

// The content types of answers.
const (
	jsonType    = "application/json"
	problemType = "application/problem+json" // RFC 9457
)

// fail answers a call with a problem.
func (l *loop) fail(x *transport.Exchange, status int, detail string) {
	if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable {
		x.Fields += "Retry-After: 1\r\n"
	}
	p := append(l.answer[:0], '{')
	l.answer = append(appendProblem(p, status, detail), '}')
	x.Respond(status, problemType, l.answer)
}

// appendProblem appends the members of a problem.
func appendProblem(dst []byte, status int, detail string) []byte {
	dst = append(dst, `"title":"`...)
	dst = append(dst, http.StatusText(status)...)
	dst = append(dst, `","status":`...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(dst, `,"detail":`...)
	return appendJSON(dst, detail)
}

// appendJSON appends a string as JSON. Invalid UTF-8 becomes U+FFFD; the error of AppendQuote reports only that.
func appendJSON(dst []byte, s string) []byte {
	dst, _ = jsontext.AppendQuote(dst, s)
	return dst
}

// appendReceipt appends the members of a receipt.
func appendReceipt(dst []byte, r *hub.Receipt) []byte {
	dst = append(dst, `"id":`...)
	dst = appendJSON(dst, r.ID)
	dst = append(dst, `,"instances":`...)
	dst = appendNumber(dst, r.Instances)
	dst = append(dst, `,"clients":`...)
	dst = appendNumber(dst, r.Clients)
	dst = append(dst, `,"dropped":{`...)
	for reason, n := range r.Dropped {
		if dst[len(dst)-1] != '{' {
			dst = append(dst, ',')
		}
		dst = append(appendJSON(dst, reason), ':')
		dst = strconv.AppendInt(dst, int64(n), 10)
	}
	return append(dst, '}')
}

// appendNumber appends a number, or null where it is unknown.
func appendNumber(dst []byte, n *int) []byte {
	if n == nil {
		return append(dst, "null"...)
	}
	return strconv.AppendInt(dst, int64(*n), 10)
}

// refusal returns the status and the explanation for an event or request that the hub does not take, whose body is raw.
func refusal(err error, raw []byte) (status int, detail string) {
	if scan, ok := errors.AsType[*opcodes.ScanError](err); ok {
		status = http.StatusUnprocessableEntity
		if !json.Valid(raw) {
			status = http.StatusBadRequest
		}
		return status, "not a valid envelope without op: " + scan.Message
	}
	for _, k := range []struct {
		err    error
		status int
	}{
		{hub.ErrForbidden, http.StatusForbidden},
		{hub.ErrTooBig, http.StatusRequestEntityTooLarge},
		{hub.ErrRateLimited, http.StatusTooManyRequests},
		{hub.ErrTooManyRequests, http.StatusTooManyRequests},
	} {
		if errors.Is(err, k.err) {
			return k.status, err.Error()
		}
	}
	return http.StatusServiceUnavailable, err.Error()
}
