// Package console serves the operators' web console: a single-page application, embedded in the binary, that loads
// nothing from other hosts. In the browser it calls the admin API below /v1 of the same listener.
//
// The package is independent of the hub. Its files are public and the same for every visitor; the page asks for the admin
// token and sends it to the API only.
//
// The sources are in web; `make console` builds dist from them.
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

// policy is the Content-Security-Policy of every response. It permits the page's own scripts, styles, images and
// requests; it forbids inline scripts and styles, eval, native form submission and framing. require-trusted-types-for
// makes the browser refuse every assignment that would be parsed as HTML.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// Values of Cache-Control. A file below /assets has a hash of its content in its name and never changes.
const (
	cacheForever = "public, max-age=31536000, immutable"
	cacheChecked = "no-cache"
)

// contentTypes has the types of all embedded files, independent of the MIME tables of the machine.
var contentTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".svg":  "image/svg+xml",
	".txt":  "text/plain; charset=utf-8",
}

// asset is an embedded file with its response headers.
type asset struct {
	contentType string
	cache       string
	etag        string
	plain       []byte
	zipped      []byte // gzip
}

// handler serves the files. It is immutable.
type handler struct {
	files map[string]*asset // by path: /assets/index-….js
	page  *asset
}

// Handler returns the handler of the console for the path /. It answers GET and HEAD: with 200 or 304 for its files and
// the paths of its pages, and with 404 for every other path. It is safe for concurrent use.
func Handler() http.Handler {
	files, err := load(dist)
	if err != nil {
		panic(fmt.Sprintf("console: %v", err)) // the embedded files are at fault, and a test loads them
	}
	return &handler{files: files, page: files["/index.html"]}
}

// load reads and compresses all files below dist.
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
		return nil, fmt.Errorf("%s: no content type for this extension", name)
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
		refuse(w, http.StatusNotFound, "unknown path")
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		header.Set("Allow", "GET, HEAD")
		refuse(w, http.StatusMethodNotAllowed, "allowed methods: GET, HEAD")
	default:
		a.serve(w, r)
	}
}

// find returns the asset at a path, decoded as in URL.Path; nil for an unknown path.
func (h *handler) find(p string) *asset {
	if p == "/" || isPage(p) {
		return h.page
	}
	return h.files[p]
}

// isPage reports whether the application has a page at that path. Names of clients and groups may contain any character,
// slashes included.
func isPage(p string) bool {
	switch p {
	case "/clients", "/groups", "/teams", "/fleets", "/requests", "/tail", "/publish", "/operate":
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
	if matchesETag(r.Header.Get("If-None-Match"), etag) {
		header.Del("Content-Encoding")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	header.Set("Content-Length", strconv.Itoa(len(body)))
	if r.Method == http.MethodGet {
		_, _ = w.Write(body) // fails only if the connection is gone
	}
}

// matchesETag reports whether an If-None-Match header names the ETag, by weak comparison (RFC 9110, section 13.1.2).
func matchesETag(list, etag string) bool {
	for one := range strings.SplitSeq(list, ",") {
		one = strings.TrimPrefix(strings.TrimSpace(one), "W/")
		if one == etag || one == "*" {
			return true
		}
	}
	return false
}

// acceptsGzip reports whether Accept-Encoding permits gzip (RFC 9110, section 12.5.3). A malformed header means no.
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

// refuse answers with a problem document (RFC 9457).
func refuse(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "{\"title\":%q,\"status\":%d,\"detail\":%q}\n", http.StatusText(status), status, detail)
}
