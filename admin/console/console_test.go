package console

import (
	"bytes"
	"compress/gzip"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func get(t *testing.T, method, target string, headers ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	Handler().ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// files returns the embedded files by the path at which they are served.
func files(t *testing.T) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := fs.WalkDir(dist, "dist", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := fs.ReadFile(dist, name)
		all[strings.TrimPrefix(name, "dist")] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestPathsOfPages(t *testing.T) {
	t.Parallel()
	page := files(t)["/index.html"]
	for _, target := range []string{
		"/", "/clients", "/clients?group=a", "/clients/2d109e7c-0100-895b-8400-009d5d0d1e98", "/groups", "/groups/a",
		"/groups/a%2Fb", "/groups/%3Cimg%20src=x%3E", "/groups/..%2F..%2Fetc", "/tail?group=a", "/publish", "/teams", "/fleets",
		"/requests", "/operate", "/index.html",
	} {
		r := get(t, http.MethodGet, target)
		if got := body(t, r); r.StatusCode != http.StatusOK || got != page {
			t.Errorf("GET %s: %d with %d bytes, want 200 with the page", target, r.StatusCode, len(got))
		}
		if got := r.Header.Get("Cache-Control"); got != "no-cache" {
			t.Errorf("GET %s: Cache-Control %q: browsers would not load a new release", target, got)
		}
	}
}

func TestWhatIsNotThere(t *testing.T) {
	t.Parallel()
	for _, target := range []string{
		"/nowhere", "/v1", "/v1/nowhere", "/assets", "/assets/", "/assets/nowhere.js", "/assets/../index.html", "/dist/index.html",
		"/tail/more", "/requests/more", "/clientsx", "/..%2f..%2fetc%2fpasswd", "/console.go", "/web/package.json", "//", "/%00",
	} {
		r := get(t, http.MethodGet, target)
		if r.StatusCode != http.StatusNotFound || r.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("GET %s: %d %s, want 404 as a problem document", target, r.StatusCode, r.Header.Get("Content-Type"))
		}
		if got := body(t, r); !strings.Contains(got, `"status":404`) || strings.Contains(got, "nowhere") {
			t.Errorf("GET %s: %s", target, got)
		}
	}
}

func TestMethods(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"} {
		r := get(t, method, "/clients")
		if r.StatusCode != http.StatusMethodNotAllowed || r.Header.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: %d, Allow %q", method, r.StatusCode, r.Header.Get("Allow"))
		}
	}
	r := get(t, http.MethodHead, "/")
	if got := body(t, r); r.StatusCode != http.StatusOK || got != "" || r.Header.Get("Content-Length") == "0" {
		t.Errorf("HEAD: %d, length %s, body %q", r.StatusCode, r.Header.Get("Content-Length"), got)
	}
}

// TestHeaders: every response restricts the browser to the console's own files.
func TestHeaders(t *testing.T) {
	t.Parallel()
	for _, target := range []string{"/", "/clients/x", "/licenses.txt", "/nowhere"} {
		h := get(t, http.MethodGet, target).Header
		for name, want := range map[string]string{
			"X-Content-Type-Options":       "nosniff",
			"X-Frame-Options":              "DENY",
			"Referrer-Policy":              "no-referrer",
			"Cross-Origin-Opener-Policy":   "same-origin",
			"Cross-Origin-Resource-Policy": "same-origin",
		} {
			if got := h.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", target, name, got, want)
			}
		}
		csp := h.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "form-action 'none'", "frame-ancestors 'none'", "base-uri 'none'"} {
			if !strings.Contains(csp, want) {
				t.Errorf("%s: policy %q lacks %s", target, csp, want)
			}
		}
		if strings.Contains(csp, "unsafe") || strings.Contains(csp, "data:") || strings.Contains(csp, "*") {
			t.Errorf("%s: policy %q is too wide", target, csp)
		}
	}
}

func TestFiles(t *testing.T) {
	t.Parallel()
	hashed := regexp.MustCompile(`^/assets/.+-[\w-]{8}\.(js|css|svg)$`)
	for name, want := range files(t) {
		r := get(t, http.MethodGet, name)
		if got := body(t, r); r.StatusCode != http.StatusOK || got != want {
			t.Errorf("%s: %d, %d bytes", name, r.StatusCode, len(got))
		}
		if strings.HasPrefix(name, "/assets/") {
			if !hashed.MatchString(name) || r.Header.Get("Cache-Control") != cacheForever {
				t.Errorf("%s: Cache-Control %q", name, r.Header.Get("Cache-Control"))
			}
		}
		zipped := get(t, http.MethodGet, name, "Accept-Encoding", "br, gzip")
		if zipped.Header.Get("Content-Encoding") != "gzip" || zipped.Header.Get("Vary") != "Accept-Encoding" || zipped.Header.Get("ETag") == r.Header.Get("ETag") {
			t.Errorf("%s: headers of the gzip form: %v", name, zipped.Header)
		}
		reader, err := gzip.NewReader(zipped.Body)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(reader); err != nil || string(got) != want {
			t.Errorf("%s: the gzip form differs (%v)", name, err)
		}
		for _, again := range []string{r.Header.Get("ETag"), `"other", W/` + r.Header.Get("ETag"), "*"} {
			if r := get(t, http.MethodGet, name, "If-None-Match", again); r.StatusCode != http.StatusNotModified || body(t, r) != "" {
				t.Errorf("%s: If-None-Match %s: %d", name, again, r.StatusCode)
			}
		}
	}
}

func TestAcceptsGzip(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]bool{
		"": false, "gzip": true, "GZIP": true, "deflate, gzip;q=0.5": true, "gzip;q=0": false, "gzip; q=0.0": false,
		"br": false, "xgzip": false, "gzip;q=x": false,
	} {
		if got := acceptsGzip(http.Header{"Accept-Encoding": {value}}); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}

// TestPageIsSelfContained: the page has no inline script or style and loads nothing from other hosts.
func TestPageIsSelfContained(t *testing.T) {
	t.Parallel()
	all := files(t)
	page := all["/index.html"]
	refs := regexp.MustCompile(`(?:src|href)="([^"]*)"`).FindAllStringSubmatch(page, -1)
	if len(refs) < 3 {
		t.Fatalf("the page refers to %d files: %s", len(refs), page)
	}
	for _, ref := range refs {
		if _, ok := all[ref[1]]; !ok {
			t.Errorf("the page refers to %s, which is not here", ref[1])
		}
	}
	if bad := regexp.MustCompile(`(?i)<script[^>]*>[^<]|<style|\son\w+=|style=|javascript:`).FindString(page); bad != "" {
		t.Errorf("the page has %q, which its policy forbids", bad)
	}
	for name, text := range all {
		for _, url := range regexp.MustCompile(`https?://[\w.-]+`).FindAllString(text, -1) {
			if url != "http://www.w3.org" && name != "/licenses.txt" { // names of XML namespaces
				t.Errorf("%s mentions %s", name, url)
			}
		}
		if bad := regexp.MustCompile(`localStorage|document\.cookie|indexedDB|\beval\(|new Function`).FindString(text); bad != "" {
			t.Errorf("%s uses %s", name, bad)
		}
	}
}

// budget bounds the compressed bytes of all files.
const budget = 120_000

func TestSizeStaysSmall(t *testing.T) {
	t.Parallel()
	total := 0
	for name, text := range files(t) {
		var zipped bytes.Buffer
		w := gzip.NewWriter(&zipped)
		_, _ = w.Write([]byte(text))
		_ = w.Close()
		total += zipped.Len()
		t.Logf("%s: %d bytes, %d compressed", name, len(text), zipped.Len())
	}
	t.Logf("all: %d bytes compressed", total)
	if total > budget {
		t.Errorf("the console is %d bytes compressed, more than %d", total, budget)
	}
}
