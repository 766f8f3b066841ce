package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/hub"
)

// Bounds of requests.
const (
	maxBodyBytes = 64 << 10
	maxInFlight  = 32 // requests at the same time, tails not counted
	// verifyTimeout is how long it may take to tell what is to be thought of a token that an issuer signed.
	verifyTimeout = 5 * time.Second
)

// guard stands before the API: nothing passes that is not a well-formed request of somebody who may administer. What it
// refuses it answers with a problem document, and no more is done for it than was needed to tell.
type guard struct {
	api      *api
	routes   *http.ServeMux
	origins  *http.CrossOriginProtection
	inFlight chan struct{}
}

func newGuard(a *api, routes *http.ServeMux) *guard {
	return &guard{api: a, routes: routes, origins: http.NewCrossOriginProtection(), inFlight: make(chan struct{}, maxInFlight)}
}

// callerKey is the key of a request's caller in its context.
type callerKey struct{}

// caller is who sent a request. It belongs to the request's goroutine.
type caller struct {
	grant   *auth.Grant
	subject string    // whom a signed token is about; empty for other tokens
	expires time.Time // when a signed token ends; zero for never
	address string
	details []slog.Attr // of what was asked for, for the audit log
}

// callerOf returns who sent the request whose context this is.
func callerOf(ctx context.Context) *caller {
	c, _ := ctx.Value(callerKey{}).(*caller)
	return c
}

// ended reports whether the caller's token has ended.
func (c *caller) ended(now time.Time) bool { return !c.expires.IsZero() && !now.Before(c.expires) }

// note adds to what the audit log says of the request.
func (c *caller) note(name, value string) { c.details = append(c.details, slog.String(name, value)) }

// ServeHTTP implements http.Handler.
func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	seen := &statusWriter{ResponseWriter: w}
	name := "none"
	defer func() { g.api.count(name, seen.code()) }()
	w = seen
	if err := g.origins.Check(r); err != nil {
		writeProblem(w, http.StatusForbidden, "requests from pages of other sites are refused")
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
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		defer func() { g.api.audit(c, name, r, seen.code()) }()
	}
	if !g.acceptable(w, r, name) || !g.bodyFits(w, r) {
		return
	}
	if name != tailOperation {
		select {
		case g.inFlight <- struct{}{}:
			defer func() { <-g.inFlight }()
		default:
			w.Header().Set("Retry-After", "1")
			writeProblem(w, http.StatusServiceUnavailable, "too many requests at the same time")
			return
		}
	}
	g.routes.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, c)))
}

// find returns the handler of a request, with an empty pattern where there is none. A path that is not clean has none: it
// is not redirected.
func (g *guard) find(r *http.Request) (http.Handler, string) {
	escaped := r.URL.EscapedPath()
	if path.Clean(escaped) != escaped {
		return http.NotFoundHandler(), ""
	}
	return g.routes.Handler(r)
}

// refuse answers a request for which there is no handler, as the mux would, in words of ours.
func refuse(w http.ResponseWriter, r *http.Request, handler http.Handler) {
	probe := &probe{header: make(http.Header)}
	handler.ServeHTTP(probe, r)
	if probe.status == http.StatusMethodNotAllowed {
		allow := probe.header.Get("Allow")
		w.Header().Set("Allow", allow)
		writeProblem(w, http.StatusMethodNotAllowed, "the methods here are "+allow)
		return
	}
	writeProblem(w, http.StatusNotFound, "there is nothing here; GET /v1/openapi.json says what there is")
}

// authenticate returns what the request's token may do. It compares in constant time, and says the same whatever is
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
	credential, err := g.api.hub.Authenticate(ctx, token)
	if err != nil {
		g.turnAway(w, r, err)
		return hub.Credential{}, false
	}
	return g.admit(w, r, credential)
}

// turnAway answers a request whose token is not in force, or for which that can't be told. Why a signed token is not
// stands in the log alone.
func (g *guard) turnAway(w http.ResponseWriter, r *http.Request, err error) {
	from := slog.String("from", r.RemoteAddr)
	if refused, ok := errors.AsType[*hub.RefusedToken](err); ok {
		g.api.warn.Warn("signed token refused", refused.Verdict.String(), from, aboutWhom(refused.Subject))
	} else {
		g.api.warn.Warn("admin request refused", "no valid token", from)
	}
	if errors.Is(err, hub.ErrNotKnown) {
		w.Header().Set("Retry-After", "1")
		writeProblem(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	w.Header().Set("WWW-Authenticate", `Bearer realm="mastersocket"`)
	writeProblem(w, http.StatusUnauthorized, "send the header Authorization: Bearer TOKEN, with a token that is in force")
}

// admit lets in who may administer.
func (g *guard) admit(w http.ResponseWriter, r *http.Request, credential hub.Credential) (hub.Credential, bool) {
	if grant := credential.Grant; !grant.Admin {
		g.api.warn.Warn("admin request refused", "not an admin token", slog.String("from", r.RemoteAddr),
			slog.String("token", grant.Name), aboutWhom(credential.Subject))
		w.Header().Set("WWW-Authenticate", `Bearer realm="mastersocket", error="insufficient_scope"`)
		writeProblem(w, http.StatusForbidden, fmt.Sprintf("the token %q may not administer (admin: true in the tokens file)", grant.Name))
		return hub.Credential{}, false
	}
	return credential, true
}

// aboutWhom is the subject in a line of the log, which has none where it is empty.
func aboutWhom(subject string) slog.Attr {
	if subject == "" {
		return slog.Attr{}
	}
	return slog.String("subject", subject)
}

// acceptable refuses requests that would not take what the operation answers with.
func (g *guard) acceptable(w http.ResponseWriter, r *http.Request, operation string) bool {
	offered := "application/json"
	if operation == tailOperation {
		offered = "text/event-stream"
	}
	accept := r.Header.Values("Accept")
	if len(accept) == 0 || accepts(strings.Join(accept, ","), offered) {
		r.Header.Set("Accept", "application/json")
		return true
	}
	writeProblem(w, http.StatusNotAcceptable, "the answer is "+offered+", which the header Accept leaves out")
	return false
}

// accepts reports whether an Accept header allows the media type (RFC 9110 section 12.5.1).
func accepts(header, offered string) bool {
	kind, _, _ := strings.Cut(offered, "/")
	best, allowed := -1, false // the most precise of the ranges that match decides
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

// bodyFits refuses bodies that are too large, before they are read, and those that are not JSON.
func (g *guard) bodyFits(w http.ResponseWriter, r *http.Request) bool {
	if r.ContentLength > maxBodyBytes {
		w.Header().Set("Connection", "close")
		writeProblem(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("a body may have %d bytes", maxBodyBytes))
		return false
	}
	kind := r.Header.Get("Content-Type")
	media, _, err := mime.ParseMediaType(kind)
	if (kind != "" || r.ContentLength != 0) && (err != nil || media != "application/json") {
		w.Header().Set("Accept-Post", "application/json")
		writeProblem(w, http.StatusUnsupportedMediaType, "the body must be application/json, and the header Content-Type say so")
		return false
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBodyBytes+1)
	return true
}

// statusWriter notes the status of an answer.
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

// probe is a ResponseWriter that keeps the head of the answer alone.
type probe struct {
	header http.Header
	status int
}

func (p *probe) Header() http.Header { return p.header }
func (p *probe) WriteHeader(s int)   { p.status = s }

func (p *probe) Write(b []byte) (int, error) {
	if p.status == 0 {
		p.status = http.StatusOK
	}
	return len(b), nil
}

// audit writes who changed what. What a caller chose is quoted by the log's handler.
func (a *api) audit(c *caller, operation string, r *http.Request, status int) {
	result := "done"
	if status >= 400 {
		result = "refused"
	}
	attrs := []slog.Attr{
		slog.String("operation", operation), slog.String("path", r.URL.EscapedPath()), slog.String("token", c.grant.Name),
		slog.String("from", c.address), slog.String("result", result), slog.Int("status", status),
		aboutWhom(c.subject),
	}
	a.log.LogAttrs(r.Context(), slog.LevelInfo, "admin", append(attrs, c.details...)...)
}

// secure sets the headers that every answer of the listener has. A page may replace the policy by its own.
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
