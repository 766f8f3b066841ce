package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/mastersocket/mastersocket/client"
	"github.com/mastersocket/mastersocket/internal/localtoken"
)

// defaultAdminURL is the admin listener of a hub that was started without flags.
const defaultAdminURL = "http://127.0.0.1:42070"

// Bounds of a response of the admin API.
const (
	apiTimeout  = 15 * time.Second
	maxAPIBytes = 64 << 20
)

// adminAPI has the flags of every command that calls the admin API.
type adminAPI struct {
	Admin     string `group:"Admin API" placeholder:"URL" help:"Where the admin listener is: http://HOST:PORT, or https:// with --admin-tls (default: $$MASTERSOCKET_ADMIN_URL, else http://127.0.0.1:42070). Any instance answers for all."`
	Token     string `group:"Admin API" placeholder:"TOKEN" help:"A token with admin rights (default: $$MASTERSOCKET_TOKEN). Every user of this machine can see a flag (ps): better the variable or a file."`
	TokenFile string `group:"Admin API" placeholder:"FILE" help:"File that holds the token in one line (default: $$MASTERSOCKET_TOKEN_FILE)."`
	CA        string `name:"ca" group:"Admin API" placeholder:"FILE" help:"With https://: PEM file with the authorities for the certificate of the hub, besides those that the system trusts."`
	Cert      string `name:"cert" group:"Admin API" placeholder:"FILE" help:"With https://: PEM file with a client certificate, which the hub may take instead of a token."`
	Key       string `name:"key" group:"Admin API" placeholder:"FILE" help:"PEM file with the key of --cert."`
	Output    string `short:"o" enum:"text,json" default:"text" help:"What to print: text for people, or json, one JSON value per line, as the admin API has it (${enum}; default: ${default})."`
}

// call is a request of the admin API.
type call struct {
	method, path string
	query        url.Values
	body         any // JSON; nil for none
	accept       string
}

// api sends requests with the credential of the flags.
type api struct {
	url   string
	token string // empty: the client certificate authenticates
	http  *http.Client
}

// open reads the flags.
func (f *adminAPI) open(ctx context.Context) (*api, error) {
	a := &api{url: strings.TrimSuffix(cmp.Or(f.Admin, os.Getenv("MASTERSOCKET_ADMIN_URL"), defaultAdminURL), "/")}
	u, err := url.Parse(a.url)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, usageError{errors.New("--admin, or MASTERSOCKET_ADMIN_URL: want http://HOST:PORT or https://HOST:PORT")}
	}
	tls := tlsFlags{f.CA, f.Cert, f.Key}
	c := connection{Token: f.Token, TokenFile: f.TokenFile, tlsFlags: tls}
	var o client.Options
	if err := tls.set(&o); err != nil {
		return nil, usageError{err}
	}
	o.URL = a.url
	if _, local := localtoken.IsLocal("ws" + strings.TrimPrefix(a.url, "http")); local {
		o.URL = c.url() // a hub stores its own token by the port of its listener for clients
	}
	if _, err := c.setToken(&o); err != nil {
		return nil, err
	}
	if a.token = o.Token; o.TokenSource != nil {
		if a.token, err = o.TokenSource(ctx); err != nil {
			return nil, fmt.Errorf("read the token: %w", err)
		}
	}
	a.http = &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: o.TLSConfig}}
	a.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse } // the token is for this host
	return a, nil
}

// send sends a request and returns the response to it if that is a success.
func (a *api) send(ctx context.Context, c call) (*http.Response, error) {
	var body io.Reader
	if c.body != nil {
		b, err := json.Marshal(c.body)
		if err != nil {
			return nil, fmt.Errorf("encode the request: %w", err)
		}
		body = bytes.NewReader(b)
	}
	target := a.url + c.path
	if len(c.query) > 0 {
		target += "?" + c.query.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, c.method, target, body)
	if err != nil {
		return nil, usageError{fmt.Errorf("--admin: %w", err)}
	}
	if a.token != "" {
		r.Header.Set("Authorization", "Bearer "+a.token)
	}
	if c.body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("Accept", cmp.Or(c.accept, "application/json"))
	resp, err := a.http.Do(r)
	if err != nil {
		return nil, fmt.Errorf("no answer of the admin API at %s: %w", a.url, errors.Unwrap(err))
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, problemOf(resp)
}

// call sends a request and returns the body of the response.
func (a *api) call(ctx context.Context, c call) (json.RawMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	resp, err := a.send(ctx, c)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAPIBytes))
	if err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", a.url, err)
	}
	return b, nil
}

// problemOf returns the error that a response of the API describes.
func problemOf(resp *http.Response) error {
	var p struct {
		Detail string `json:"detail"`
		Errors []struct {
			Message  string `json:"message"`
			Location string `json:"location"`
		} `json:"errors"`
	}
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20)) // the status says enough without a body
	if json.Unmarshal(b, &p) != nil || p.Detail == "" {
		return fmt.Errorf("the admin API answers %s", resp.Status)
	}
	text := visible(p.Detail)
	for _, e := range p.Errors {
		text += "\n  " + visible(strings.TrimPrefix(e.Location+": "+e.Message, ": "))
	}
	return fmt.Errorf("%s (%d)", text, resp.StatusCode)
}

// decode reads JSON of the API.
func decode[T any](b []byte) (v T, err error) {
	if err := json.Unmarshal(b, &v); err != nil {
		return v, fmt.Errorf("the answer can't be read: %w", err)
	}
	return v, nil
}

// printLine prints a JSON value on a line of its own.
func printLine(w io.Writer, value json.RawMessage) error {
	_, err := w.Write(append(compact(value), '\n'))
	return err
}

// table prints rows for people. Cells are escaped: clients choose some of them.
type table struct{ w *tabwriter.Writer }

func newTable(w io.Writer, columns ...string) *table {
	t := &table{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	fmt.Fprintln(t.w, strings.Join(columns, "\t"))
	return t
}

func (t *table) row(cells ...any) {
	texts := make([]string, len(cells))
	for i, c := range cells {
		texts[i] = cmp.Or(visible(fmt.Sprint(c)), "-")
	}
	fmt.Fprintln(t.w, strings.Join(texts, "\t"))
}

// flush prints the rows.
func (t *table) flush() error { return t.w.Flush() }

// warnMissing names the instances that a list lacks.
func warnMissing(w io.Writer, missing []string) {
	if len(missing) > 0 {
		fmt.Fprintf(w, "mastersocket: no answer of %s: the list lacks what only they know\n", visible(strings.Join(missing, ", ")))
	}
}

// bytesText writes a number of bytes with a unit.
func bytesText[N int | int64 | uint64](n N) string {
	const units = "KMGT"
	v, unit := float64(n), -1
	for v >= 1024 && unit < len(units)-1 {
		v, unit = v/1024, unit+1
	}
	if unit < 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %ciB", v, units[unit])
}

// since writes the time since t, without fractions.
func since(t time.Time) string { return max(time.Since(t), 0).Truncate(time.Second).String() }
