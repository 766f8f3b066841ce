// Package console serves the operators' pages: a single page application that is embedded in the binary and needs
// nothing from elsewhere. It talks to the admin API below /v1 of the same listener, from the browser.
//
// The package knows nothing of the hub. What it serves is public and the same for everybody; the browser asks for the
// admin token, keeps it in the page's memory, and sends it to the API alone.
//
// The sources are in web, and `make console` turns them into dist.
package console

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
)

//go:embed dist
var dist embed.FS

// policy is the Content-Security-Policy of every answer. The page's own scripts, styles, pictures and requests, and
// nothing else: no inline script or style, no eval, no form that the browser sends by itself, no frame around it. With
// require-trusted-types-for the browser refuses every assignment that would be parsed as HTML.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// What a cache may do. A file below /assets has a hash of its content in its name and never changes.
const (
	cacheForever = "public, max-age=31536000, immutable"
	cacheChecked = "no-cache"
)

// contentTypes are those of the files that there are. They don't depend on what the machine knows of types.
var contentTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".svg":  "image/svg+xml",
	".txt":  "text/plain; charset=utf-8",
}

// asset is a file, ready to be sent.
type asset struct {
	contentType string
	cache       string
	etag        string
	plain       []byte
	zipped      []byte // gzip
}

// handler serves the files. It never changes once it is made.
type handler struct {
	files map[string]*asset // by path: /assets/index-….js
	page  *asset
}

// Handler returns the console, to be served at /. It answers GET and HEAD, with 200 or 304 for its files and for the
// paths of its pages, and with 404 for everything else: it does not pretend that an unknown path is a page. Any number
// of requests may be served at the same time.
func Handler() http.Handler {
	files, err := load(dist)
	if err != nil {
		panic(fmt.Sprintf("console: %v", err)) // embedded when the binary was built, and read by the tests
	}
	return &handler{files: files, page: files["/index.html"]}
}

// load reads and compresses all files.
func load(from fs.FS) (map[string]*asset, error) {
	files := make(map[string]*asset)
	err := fs.WalkDir(from, "dist", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		b, err := fs.ReadFile(from, name)
		if err != nil {
			return err
		}
		a, err := newAsset(name, b)
		files[strings.TrimPrefix(name, "dist")] = a
		return err
	})
	if err == nil && files["/index.html"] == nil {
		err = fs.ErrNotExist
	}
	return files, err
}

func newAsset(name string, b []byte) (*asset, error) {
	contentType, ok := contentTypes[path.Ext(name)]
	if !ok {
		return nil, fmt.Errorf("%s: no content type for such a file", name)
	}
	var zipped bytes.Buffer
	w, err := gzip.NewWriterLevel(&zipped, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(b); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(b)
	a := &asset{
		contentType: contentType,
		cache:       cacheChecked,
		etag:        base64.RawURLEncoding.EncodeToString(sum[:12]),
		plain:       b,
		zipped:      zipped.Bytes(),
	}
	if strings.HasPrefix(name, "dist/assets/") {
		a.cache = cacheForever
	}
	return a, nil
}

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Security-Policy", policy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("X-Frame-Options", "DENY")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	header.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
	a := h.find(r.URL.Path)
	switch {
	case a == nil:
		refuse(w, http.StatusNotFound, "there is nothing at this address")
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		header.Set("Allow", "GET, HEAD")
		refuse(w, http.StatusMethodNotAllowed, "the console can only be read")
	default:
		a.serve(w, r)
	}
}

// find returns what is at a path, decoded as in URL.Path; nil if nothing is.
func (h *handler) find(p string) *asset {
	if p == "/" || isPage(p) {
		return h.page
	}
	return h.files[p]
}

// isPage reports whether the application has a page at that path. Names of clients and groups may contain anything, a
// slash too.
func isPage(p string) bool {
	switch p {
	case "/clients", "/groups", "/teams", "/tail", "/publish", "/operate":
		return true
	}
	return strings.HasPrefix(p, "/clients/") || strings.HasPrefix(p, "/groups/")
}

func (a *asset) serve(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	body, etag := a.plain, `"`+a.etag+`"`
	if acceptsGzip(r.Header) {
		body, etag = a.zipped, `"`+a.etag+`-gzip"`
		header.Set("Content-Encoding", "gzip")
	}
	header.Set("Content-Type", a.contentType)
	header.Set("Cache-Control", a.cache)
	header.Set("Vary", "Accept-Encoding")
	header.Set("ETag", etag)
	if has(r.Header.Get("If-None-Match"), etag) {
		header.Del("Content-Encoding")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	header.Set("Content-Length", strconv.Itoa(len(body)))
	if r.Method == http.MethodGet {
		_, _ = w.Write(body) // whoever asked has gone away
	}
}

// has reports whether an If-None-Match names the ETag. A weak one is as good (RFC 9110, section 13.1.2).
func has(list, etag string) bool {
	for one := range strings.SplitSeq(list, ",") {
		one = strings.TrimPrefix(strings.TrimSpace(one), "W/")
		if one == etag || one == "*" {
			return true
		}
	}
	return false
}

// acceptsGzip reports whether the client takes gzip (RFC 9110, section 12.5.3). In doubt it gets the plain file.
func acceptsGzip(h http.Header) bool {
	for one := range strings.SplitSeq(strings.Join(h.Values("Accept-Encoding"), ","), ",") {
		coding, weight, weighted := strings.Cut(strings.TrimSpace(one), ";")
		if !strings.EqualFold(strings.TrimSpace(coding), "gzip") {
			continue
		}
		q, err := strconv.ParseFloat(strings.TrimPrefix(strings.ToLower(strings.TrimSpace(weight)), "q="), 64)
		return !weighted || err == nil && q > 0
	}
	return false
}

// refuse answers with a problem document (RFC 9457), as the API does.
func refuse(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "{\"title\":%q,\"status\":%d,\"detail\":%q}\n", http.StatusText(status), status, detail)
}
