package oidc

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
	"unicode"

	"github.com/mastersocket/mastersocket/auth"
)

// Bounds of what is read.
const (
	maxAnswerBytes = 1 << 20
	maxCABytes     = 4 << 20
	maxRedirects   = 3
	wellKnown      = "/.well-known/openid-configuration"
)

// source is where keys come from. It belongs to the goroutine of its Verifier.
type source interface {
	// fetch returns the keys as they are now.
	fetch(ctx context.Context, now time.Time) (*keySet, error)
	// changed reports whether fetch would certainly return something else.
	changed() bool
}

// newSource returns the source that the options name. The options have been checked.
func newSource(o *Options) source {
	if len(o.LocalKeys) > 0 {
		return &localSource{paths: o.LocalKeys}
	}
	if o.Keys != "" && !isAddress(o.Keys) {
		return &fileSource{path: o.Keys}
	}
	return &webSource{opts: o}
}

// fileSource is a file with keys.
type fileSource struct {
	path string
	last []byte // what was read
}

func (s *fileSource) fetch(_ context.Context, now time.Time) (k *keySet, err error) {
	if s.last, err = readFile(s.path, maxAnswerBytes); err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	if k, err = parseKeys(s.last, now); err != nil {
		return nil, fmt.Errorf("read keys: %s: %w", s.path, err)
	}
	return k, nil
}

// changed reads the file. It is small, and the time of a symbolic link's target says nothing about a changed link.
func (s *fileSource) changed() bool {
	now, err := readFile(s.path, maxAnswerBytes)
	return err == nil && !bytes.Equal(now, s.last)
}

// CheckFiles tells what is wrong now with the files that the options name. Nothing is fetched.
func CheckFiles(o *Options) []error {
	var wrong []error
	switch s := newSource(o).(type) {
	case *fileSource, *localSource:
		if _, err := s.fetch(context.Background(), time.Now()); err != nil {
			wrong = append(wrong, err)
		}
		return wrong
	}
	web := webSource{opts: o}
	if _, err := web.client(); err != nil {
		wrong = append(wrong, err)
	}
	if _, err := web.bearer(); err != nil {
		wrong = append(wrong, err)
	}
	return wrong
}

// readFile reads a file of at most so many bytes.
func readFile(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(b)) > most {
		err = fmt.Errorf("%s has more than %d bytes", path, most)
	}
	return b, err
}

// webSource is an address with keys.
type webSource struct{ opts *Options }

func (*webSource) changed() bool { return false }

func (s *webSource) fetch(ctx context.Context, now time.Time) (*keySet, error) {
	text, err := s.read(ctx)
	if err != nil {
		return nil, err
	}
	return parseKeys(text, now)
}

func (s *webSource) read(ctx context.Context) ([]byte, error) {
	client, err := s.client()
	if err != nil {
		return nil, err
	}
	defer client.CloseIdleConnections()
	address := s.opts.Keys
	if address == "" {
		if address, err = s.discover(ctx, client); err != nil {
			return nil, fmt.Errorf("discover keys: %w", err)
		}
	}
	b, err := s.get(ctx, client, address)
	if err != nil {
		return nil, fmt.Errorf("fetch keys: %w", err)
	}
	return b, nil
}

// discover asks the issuer where its keys are (OpenID Connect Discovery 1.0 section 4).
func (s *webSource) discover(ctx context.Context, client *http.Client) (string, error) {
	b, err := s.get(ctx, client, strings.TrimSuffix(s.opts.Issuer, "/")+wellKnown)
	if err != nil {
		return "", err
	}
	var document struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	if err := json.Unmarshal(b, &document); err != nil {
		return "", errors.New("the answer is no configuration of an issuer")
	}
	if document.Issuer != s.opts.Issuer {
		return "", fmt.Errorf("it says that it is the issuer %.200q, not %q", document.Issuer, s.opts.Issuer)
	}
	if err := checkAddress("jwks_uri", document.Keys); err != nil {
		return "", err
	}
	return document.Keys, nil
}

// get returns what is at an address.
func (s *webSource) get(ctx context.Context, client *http.Client, address string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/json, application/jwk-set+json")
	token, err := s.bearer()
	if err != nil {
		return nil, err
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %d %s", address, response.StatusCode, http.StatusText(response.StatusCode))
	}
	b, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes+1))
	if err == nil && len(b) > maxAnswerBytes {
		err = fmt.Errorf("%s answered more than %d bytes", address, maxAnswerBytes)
	}
	return b, err
}

// bearer returns the token to fetch with; empty for none.
func (s *webSource) bearer() (string, error) {
	if s.opts.BearerFile == "" {
		return "", nil
	}
	b, err := readFile(s.opts.BearerFile, auth.MaxSignedBytes+2)
	if err != nil {
		return "", fmt.Errorf("read the token to fetch keys with: %w", err)
	}
	token := strings.TrimSpace(string(b))
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) || unicode.Is(unicode.Cf, r) }) {
		return "", fmt.Errorf("read the token to fetch keys with: %s must hold one token and nothing else", s.opts.BearerFile)
	}
	return token, nil
}

// client returns what fetches, with the certificates as they are now.
func (s *webSource) client() (*http.Client, error) {
	t := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DisableKeepAlives:      true, // minutes pass before the next fetch
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    5 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		ForceAttemptHTTP2:      true,
	}
	if s.opts.CAFile != "" {
		pem, err := readFile(s.opts.CAFile, maxCABytes)
		if err != nil {
			return nil, fmt.Errorf("read certificates: %w", err)
		}
		t.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !t.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read certificates: %s has none in PEM", s.opts.CAFile)
		}
	}
	return &http.Client{Transport: t, CheckRedirect: s.checkRedirect}, nil
}

// checkRedirect bounds the redirects of an answer.
func (s *webSource) checkRedirect(next *http.Request, before []*http.Request) error {
	if len(before) > maxRedirects {
		return fmt.Errorf("more than %d redirects", maxRedirects)
	}
	if err := checkAddress("the address of a redirect", next.URL.String()); err != nil {
		return err
	}
	if s.opts.BearerFile != "" && !sameHost(next.URL, before[0].URL) {
		return fmt.Errorf("it redirects to %.200q, and the token is not for that host", next.URL.Host)
	}
	return nil
}

func sameHost(a, b *url.URL) bool { return a.Scheme == b.Scheme && a.Host == b.Host }
