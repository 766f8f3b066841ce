package httpapi

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http"
	"strings"

	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

// loop is the service type's share of one loop.
type loop struct {
	all   *Type
	on    *hub.ServiceLoop
	count *counters

	envelope opcodes.Envelope // scratch
	message  []byte           // scratch: one message
	answer   []byte           // scratch: one answer
}

// keptScratch is how much scratch memory a loop keeps, in bytes.
const keptScratch = 256 << 10

// Open implements hub.LoopService: a connection is opened for a request alone. Upgrades are refused.
func (l *loop) Open(p *hub.Peer, _ *transport.Request) (hub.PeerHandler, *transport.Rejection) {
	if !p.IsDetached() {
		l.count.refusedCalls.Add(1)
		return nil, &transport.Rejection{Cause: "http", Status: http.StatusMethodNotAllowed, Line: "this path takes POST; WebSocket clients connect to /"}
	}
	return &request{loop: l, peer: p}, nil
}

// Serve implements hub.RequestLoop.
func (l *loop) Serve(x *transport.Exchange) {
	r := x.Request
	if !l.all.hub.Origins().Allows(r) {
		l.refuse(x, http.StatusForbidden, "the request comes from a web page that may not connect (--allowed-origins)")
		return
	}
	if r.Origin != nil {
		x.Fields = "Access-Control-Allow-Origin: " + string(r.Origin) + "\r\nVary: Origin\r\n"
	}
	switch string(r.Method) {
	case http.MethodPost:
	case http.MethodOptions:
		x.Fields += "Allow: OPTIONS, POST\r\n" + preflightFields(r)
		x.Respond(http.StatusNoContent, "", nil)
		return
	default:
		x.Fields += "Allow: OPTIONS, POST\r\n"
		l.refuse(x, http.StatusMethodNotAllowed, "the method must be POST")
		return
	}
	if !isJSON(r.ContentType) {
		x.Fields += "Accept-Post: application/json\r\n"
		l.refuse(x, http.StatusUnsupportedMediaType, "the header Content-Type must be application/json")
		return
	}
	token, ok := bearer(r.Authorization)
	if !ok {
		l.turnAway(x, hub.ErrNoGrant)
		return
	}
	asks := string(r.Path) == requestsPath
	l.on.Call(x.RemoteAddr().Addr(), token, x.Conn().PeerCertificate(), func(caller *hub.Caller, err error) {
		switch {
		case !x.IsOpen(): // its client has gone
		case err != nil:
			l.turnAway(x, err)
		case asks:
			l.request(x, caller)
		default:
			l.publish(x, caller)
		}
	})
}

// preflightFields returns the header lines that answer what a browser asks before it sends a call.
func preflightFields(r *transport.Request) string {
	if r.Origin == nil {
		return ""
	}
	return "Access-Control-Allow-Methods: POST\r\nAccess-Control-Allow-Headers: Authorization, Content-Type\r\n" +
		"Access-Control-Max-Age: 600\r\n"
}

// isJSON reports whether a Content-Type is application/json. Parameters mean nothing there (RFC 8259 §11).
func isJSON(contentType []byte) bool {
	media, _, _ := bytes.Cut(contentType, []byte(";"))
	return strings.EqualFold(string(bytes.TrimSpace(media)), "application/json")
}

// bearer returns the token of an Authorization header (RFC 6750 §2.1). It is empty where there is no header.
func bearer(authorization []byte) (token string, ok bool) {
	if authorization == nil {
		return "", true
	}
	scheme, rest, _ := strings.Cut(string(authorization), " ")
	token = strings.TrimSpace(rest)
	return token, strings.EqualFold(scheme, "Bearer") && token != ""
}

// turnAway answers a caller whose token is not in force, or can't be verified now. Only the log has the reason for refusing
// a signed token.
func (l *loop) turnAway(x *transport.Exchange, err error) {
	from := slog.Any("from", x.RemoteAddr())
	refused, _ := errors.AsType[*hub.RefusedToken](err)
	switch {
	case refused != nil:
		l.on.Warn("signed token refused", refused.Verdict.String(), from, slog.String("subject", refused.Subject))
	case errors.Is(err, hub.ErrTooMany):
		l.on.Warn("http call refused", "too many wrong tokens from this address", from)
	default:
		l.on.Warn("http call refused", "no valid token", from)
	}
	switch {
	case errors.Is(err, hub.ErrTooMany):
		l.refuse(x, http.StatusTooManyRequests, err.Error())
	case errors.Is(err, hub.ErrNotKnown):
		l.refuse(x, http.StatusServiceUnavailable, err.Error())
	default:
		x.Fields += "WWW-Authenticate: Bearer realm=\"mastersocket\"\r\n"
		l.refuse(x, http.StatusUnauthorized, "the header Authorization: Bearer TOKEN is missing, or the token is not in force")
	}
}

// refuse answers a call that is refused as a whole.
func (l *loop) refuse(x *transport.Exchange, status int, detail string) {
	l.count.refusedCalls.Add(1)
	l.fail(x, status, detail)
}
