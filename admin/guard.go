package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"net/http"
	"net/netip"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/hub"
)

// Bounds of requests.
const (
	maxBodyBytes  = 64 << 10
	maxInFlight   = 32              // concurrent requests, tails not counted
	verifyTimeout = 5 * time.Second // for the verification of a token that an issuer signed
)

// guard lets well-formed requests with an admin credential through to the API and answers all others with a problem
// document. It refuses as early as it can: before the body is read, and before the credential is looked up where possible.
type guard struct {
	api      *api
	routes   *http.ServeMux
	origins  *http.CrossOriginProtection
	inFlight chan struct{}
}

func newGuard(a *api, routes *http.ServeMux) *guard {
	return &guard{api: a, routes: routes, origins: http.NewCrossOriginProtection(), inFlight: make(chan struct{}, maxInFlight)}
}

// callerKey is the context key of a request's caller.
type callerKey struct{}

// caller is the authenticated sender of a request. It belongs to the request's goroutine.
type caller struct {
	grant   *auth.Grant
	subject string    // of a signed token or a certificate; empty for other tokens
	expires time.Time // of a signed token or a certificate; zero for never
	address string
	details []slog.Attr // for the audit log
}

// callerOf returns the caller of the request with that context.
func callerOf(ctx context.Context) *caller {
	c, _ := ctx.Value(callerKey{}).(*caller)
	return c
}

// ended reports whether the caller's credential has expired.
func (c *caller) ended(now time.Time) bool { return !c.expires.IsZero() && !now.Before(c.expires) }

// note adds an attribute to the request's line in the audit log.
func (c *caller) note(name, value string) { c.details = append(c.details, slog.String(name, value)) }

// ServeHTTP implements http.Handler.
func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	seen := &statusWriter{ResponseWriter: w}
	name := "none"
	defer func() { g.api.count(name, seen.code()) }()
	w = seen
	if r.ContentLength != 0 {
		w.Header().Set("Connection", "close") // a refusal must not wait for the rest of the body
	}
	if crossSite(r) || g.origins.Check(r) != nil {
		writeProblem(w, http.StatusForbidden, "the request comes from a page of another site")
		return
	}
	credential, ok := g.authenticate(w, r)
	if !ok {
		return
	}
	handler, pattern := g.find(r)
	if pattern == "" {
		refuse(w, r, handler)
		return
	}
	name = g.api.operations[pattern]
	c := &caller{grant: credential.Grant, subject: credential.Subject, expires: credential.Expires, address: r.RemoteAddr}
	if !isRead(r) {
		defer func() { g.api.audit(c, name, r, seen.code()) }()
	}
	if !g.acceptable(w, r, name) || !g.bodyFits(w, r) {
		return
	}
	if !streams(name) {
		select {
		case g.inFlight <- struct{}{}:
			defer func() { <-g.inFlight }()
		default:
			w.Header().Set("Retry-After", "1")
			writeProblem(w, http.StatusServiceUnavailable, "too many concurrent requests")
			return
		}
	}
	w.Header().Del("Connection")
	g.routes.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, c)))
}

// roleHeader tells the console that its token may only look.
const roleHeader = "Mastersocket-Role"

// isRead reports whether the request changes nothing.
func isRead(r *http.Request) bool { return r.Method == http.MethodGet || r.Method == http.MethodHead }

// crossSite reports whether a browser sends the request for a page of another origin, or because a link of one was
// followed. Browsers add the header over TLS and on loopback. http.CrossOriginProtection lets GET pass, which would answer
// with the rights of the browser's client certificate.
func crossSite(r *http.Request) bool {
	site := r.Header.Get("Sec-Fetch-Site")
	return site != "" && site != "same-origin" && site != "none"
}

// find returns the handler of a request and its pattern, which is empty for an unknown path. A path that is not clean is
// unknown: it is not redirected.
func (g *guard) find(r *http.Request) (http.Handler, string) {
	escaped := r.URL.EscapedPath()
	if path.Clean(escaped) != escaped {
		return http.NotFoundHandler(), ""
	}
	return g.routes.Handler(r)
}

// refuse answers a request without a handler: the status of the mux, in a problem document.
func refuse(w http.ResponseWriter, r *http.Request, handler http.Handler) {
	answer := &head{header: make(http.Header)}
	handler.ServeHTTP(answer, r)
	if answer.status == http.StatusMethodNotAllowed {
		allow := answer.header.Get("Allow")
		w.Header().Set("Allow", allow)
		writeProblem(w, http.StatusMethodNotAllowed, "allowed methods: "+allow)
		return
	}
	writeProblem(w, http.StatusNotFound, "unknown path; GET /v1/openapi.json lists the paths")
}

// authenticate returns the request's credential. The comparison takes constant time, and the answer does not tell what is
// wrong with a token.
func (g *guard) authenticate(w http.ResponseWriter, r *http.Request) (hub.Credential, bool) {
	values := r.Header.Values("Authorization")
	if len(values) == 0 {
		if credential, ok := g.certified(r); ok {
			return g.admit(w, r, credential)
		}
	}
	token := ""
	if len(values) == 1 {
		if scheme, rest, ok := strings.Cut(values[0], " "); ok && strings.EqualFold(scheme, "Bearer") {
			token = strings.TrimSpace(rest)
		}
	}
	ctx, cancel := context.WithTimeout(r.Context(), verifyTimeout)
	defer cancel()
	credential, err := g.api.hub.Authenticate(ctx, remoteAddress(r), token)
	if err != nil {
		g.turnAway(w, r, err)
		return hub.Credential{}, false
	}
	return g.admit(w, r, credential)
}

// remoteAddress returns the address that the request came from; zero if it has none.
func remoteAddress(r *http.Request) netip.Addr {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return from.Addr()
}

// turnAway answers a request whose token is not in force or can't be verified now. Only the log has the reason for
// refusing a signed token.
func (g *guard) turnAway(w http.ResponseWriter, r *http.Request, err error) {
	from := slog.String("from", r.RemoteAddr)
	if errors.Is(err, hub.ErrTooMany) {
		g.api.warn.Warn("admin request refused", "too many wrong tokens from this address", from)
		w.Header().Set("Retry-After", "1")
		writeProblem(w, http.StatusTooManyRequests, err.Error())
		return
	}
	if refused, ok := errors.AsType[*hub.RefusedToken](err); ok {
		g.api.warn.Warn("signed token refused", refused.Verdict.String(), from, subjectAttr(refused.Subject))
	} else {
		g.api.warn.Warn("admin request refused", "no valid token", from)
	}
	if errors.Is(err, hub.ErrNotKnown) {
		w.Header().Set("Retry-After", "1")
		writeProblem(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	w.Header().Set("WWW-Authenticate", `Bearer realm="mastersocket"`)
	writeProblem(w, http.StatusUnauthorized, "the header Authorization: Bearer TOKEN is missing, or the token is not in force")
}

// admit refuses a credential without admin rights, and one that may only look where the request is to change something.
func (g *guard) admit(w http.ResponseWriter, r *http.Request, credential hub.Credential) (hub.Credential, bool) {
	grant, why, detail := credential.Grant, "", ""
	switch {
	case grant.Admin == auth.NoAdmin:
		why, detail = "not an admin token", fmt.Sprintf("the token %q has no admin rights (admin: true in the tokens file)", grant.Name)
	case grant.Admin == auth.AdminRead && !isRead(r):
		why, detail = "a token that may only look", fmt.Sprintf("the token %q may only look (admin: read in the tokens file)", grant.Name)
	}
	if why == "" {
		if grant.Admin == auth.AdminRead {
			w.Header().Set(roleHeader, "read")
		}
		return credential, true
	}
	g.api.warn.Warn("admin request refused", why, slog.String("from", r.RemoteAddr), slog.String("token", grant.Name),
		subjectAttr(credential.Subject))
	w.Header().Set("WWW-Authenticate", `Bearer realm="mastersocket", error="insufficient_scope"`)
	writeProblem(w, http.StatusForbidden, detail)
	return hub.Credential{}, false
}

// subjectAttr returns the log attribute of a subject; an empty attribute for an empty subject.
func subjectAttr(subject string) slog.Attr {
	if subject == "" {
		return slog.Attr{}
	}
	return slog.String("subject", subject)
}

// acceptable refuses requests whose Accept header excludes the operation's media type.
func (g *guard) acceptable(w http.ResponseWriter, r *http.Request, operation string) bool {
	offered := "application/json"
	if streams(operation) {
		offered = "text/event-stream"
	}
	accept := r.Header.Values("Accept")
	if len(accept) == 0 || accepts(strings.Join(accept, ","), offered) {
		r.Header.Set("Accept", "application/json")
		return true
	}
	writeProblem(w, http.StatusNotAcceptable, "the response is "+offered+", which the header Accept excludes")
	return false
}

// accepts reports whether an Accept header allows the media type (RFC 9110 section 12.5.1).
func accepts(header, offered string) bool {
	kind, _, _ := strings.Cut(offered, "/")
	best, allowed := -1, false // the most precise matching range decides
	for item := range strings.SplitSeq(header, ",") {
		media, params, err := mime.ParseMediaType(item)
		if err != nil {
			continue
		}
		precision := slices.Index([]string{"*/*", kind + "/*", offered}, media)
		if precision >= 0 && precision >= best {
			q := params["q"]
			best, allowed = precision, strings.Trim(q, "0.") != "" || q == ""
		}
	}
	return allowed
}

// bodyFits refuses bodies that are too large, before they are read, and bodies that are not JSON.
func (g *guard) bodyFits(w http.ResponseWriter, r *http.Request) bool {
	if r.ContentLength > maxBodyBytes {
		writeProblem(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d bytes", maxBodyBytes))
		return false
	}
	kind := r.Header.Get("Content-Type")
	media, _, err := mime.ParseMediaType(kind)
	if (kind != "" || r.ContentLength != 0) && (err != nil || media != "application/json") {
		w.Header().Set("Accept-Post", "application/json")
		writeProblem(w, http.StatusUnsupportedMediaType, "the header Content-Type must be application/json")
		return false
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBodyBytes+1)
	return true
}

// statusWriter records the status of a response.
type statusWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController find the connection.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *statusWriter) code() int {
	if w.status == 0 {
		return http.StatusOK
	}
	return w.status
}

// head is a ResponseWriter that keeps status and header and discards the body.
type head struct {
	header http.Header
	status int
}

func (h *head) Header() http.Header { return h.header }
func (h *head) WriteHeader(s int)   { h.status = s }

func (h *head) Write(b []byte) (int, error) {
	if h.status == 0 {
		h.status = http.StatusOK
	}
	return len(b), nil
}

// audit logs a request that changes something. The log's handler quotes values that the caller chose.
func (a *api) audit(c *caller, operation string, r *http.Request, status int) {
	result := "done"
	if status >= 400 {
		result = "refused"
	}
	attrs := []slog.Attr{
		slog.String("operation", operation), slog.String("path", r.URL.EscapedPath()), slog.String("token", c.grant.Name),
		slog.String("from", c.address), slog.String("result", result), slog.Int("status", status),
		subjectAttr(c.subject),
	}
	a.log.LogAttrs(r.Context(), slog.LevelInfo, "admin", append(attrs, c.details...)...)
	a.record(operation, r.URL.EscapedPath(), result, c.grant.Name)
}

// secure sets the headers of every response of the listener. The console replaces the policy by its own.
func secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		next.ServeHTTP(w, r)
	})
}
