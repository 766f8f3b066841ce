package admin

import (
	"encoding/json"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
)

// writeProblem answers with a problem document (RFC 9457).
func writeProblem(w http.ResponseWriter, status int, detail string) {
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Del("Content-Length")
	w.WriteHeader(status)
	p := huma.ErrorModel{Status: status, Title: http.StatusText(status), Detail: detail}
	_ = json.NewEncoder(w).Encode(&p) // fails only if the connection is gone
}

// problem returns an error that becomes a response with that status.
func problem(status int, detail string, errs ...error) error {
	return huma.NewError(status, detail, errs...)
}

// retryLater returns a problem that passes by itself: it asks the caller to repeat the request.
func retryLater(status int, detail string) error {
	return huma.ErrorWithHeaders(problem(status, detail), http.Header{"Retry-After": {"1"}})
}
