package admin

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/internal/ratelog"
	"github.com/mastersocket/mastersocket/transport"
)

// Tokens of a cluster: with all rights, with all but admin, with admin only.
const (
	rootToken  = "root-token"
	plainToken = "plain-token"
	watchToken = "watch-token"
)

// usualTokens is the tokens file of a cluster.
func usualTokens() string {
	return fmt.Sprintf(`tokens:
  - {name: root, sha256: %s, groups: ["*"], send: ["*"], watch: ["*"], admin: true}
  - {name: plain, sha256: %s, groups: ["*"], send: ["*"]}
  - {name: watch, sha256: %s, groups: [], send: [], admin: true}
`, auth.Hash(rootToken), auth.Hash(plainToken), auth.Hash(watchToken))
}

func parseTokens(t testing.TB, file string) *auth.Tokens {
	t.Helper()
	tokens, err := auth.ParseTokens([]byte(file))
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

// cluster is a number of hubs on one bus, each with its admin listener.
type cluster struct {
	t     testing.TB
	hubs  []*hub.Hub
	ws    []string // addresses for clients
	urls  []string // of the admin listeners
	store *auth.Store
	log   *logBook
	http  *http.Client
	roots *x509.CertPool // what it trusts, where the admin listeners are of TLS
	doc   *openapi3.T
}

// logBook keeps what is logged.
type logBook struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// startCluster starts n instances, named node-0 and so on.
func startCluster(t testing.TB, n int, change func(i int, h *hub.Options, a *Options)) *cluster {
	t.Helper()
	c := &cluster{t: t, store: auth.NewStore(parseTokens(t, usualTokens())), log: &logBook{}, roots: x509.NewCertPool()}
	c.showing()
	bus := memory.NewBus()
	for i := range n {
		c.add(i, bus.Broker(), change)
	}
	c.loadDocument()
	return c
}

func (c *cluster) add(i int, b broker.Broker, change func(i int, h *hub.Options, a *Options)) {
	c.t.Helper()
	log := slog.New(slog.NewTextHandler(c.log, nil))
	o := hub.Options{
		Transport: transport.DefaultOptions(2), PingInterval: time.Minute, IdentifyTimeout: time.Minute,
		NodeName: fmt.Sprint("node-", i), Version: "1.2.3", Tokens: c.store, Broker: b, Log: log,
	}
	o.Transport.Log = ratelog.New(log)
	a := Options{Log: log, GatherTimeout: 20 * time.Second}
	if change != nil {
		change(i, &o, &a)
	}
	h, err := hub.New(c.t.Context(), o)
	if err != nil {
		c.t.Fatal(err)
	}
	addr, err := h.ListenWebSocket(c.t.Context(), "127.0.0.1:0")
	if err != nil {
		c.t.Fatal(err)
	}
	a.Hub = h
	s, err := Listen(c.t.Context(), "127.0.0.1:0", a)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		c.http.CloseIdleConnections()
		if err := errors.Join(s.Close(ctx), h.Close(ctx)); err != nil {
			c.t.Error(err)
		}
	})
	url := "http://" + s.Addr().String()
	if a.TLS != nil {
		c.roots.AddCert(a.TLS().Certificates[0].Leaf)
		url = "https://" + s.Addr().String()
	}
	c.hubs, c.ws, c.urls = append(c.hubs, h), append(c.ws, "ws://"+addr.String()), append(c.urls, url)
}

// showing replaces the HTTP client by one that shows these certificates.
func (c *cluster) showing(certificates ...tls.Certificate) {
	config := &tls.Config{RootCAs: c.roots, Certificates: certificates}
	c.http = &http.Client{Transport: &http.Transport{TLSClientConfig: config}}
	c.t.Cleanup(c.http.CloseIdleConnections)
}

// loadDocument reads and validates the OpenAPI document of the first instance.
func (c *cluster) loadDocument() {
	c.t.Helper()
	r := c.do(0, http.MethodGet, "/v1/openapi.json", "", nil)
	doc, err := openapi3.NewLoader().LoadFromData(r.body)
	if err != nil {
		c.t.Fatal(err)
	}
	if err := doc.Validate(c.t.Context()); err != nil {
		c.t.Fatalf("the OpenAPI document is not valid: %v", err)
	}
	c.doc = doc
}

// reply is an answer of the API.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// call sends a request with the root token to instance i and checks the answer against the document.
func (c *cluster) call(i int, method, path, body string) reply {
	c.t.Helper()
	return c.do(i, method, path, body, nil)
}

// do is call with a change of the request.
func (c *cluster) do(i int, method, path, body string, change func(*http.Request)) reply {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, c.urls[i]+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	if body == "" {
		req.Body = nil
	} else {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Authorization", "Bearer "+rootToken)
	if change != nil {
		change(req)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	r := reply{resp.StatusCode, resp.Header, b}
	c.check(req, r)
	return r
}

// check validates a response against the document. A response of no operation must be a problem document.
func (c *cluster) check(req *http.Request, r reply) {
	c.t.Helper()
	if r.status >= 400 {
		c.checkProblem(req, r)
	}
	for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "X-Frame-Options": "DENY"} {
		if got := r.header.Get(name); got != want {
			c.t.Errorf("%s %s: %s is %q, want %q", req.Method, req.URL, name, got, want)
		}
	}
	route := c.route(req)
	if route == nil {
		return
	}
	input := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: req, Route: route},
		Status:                 r.status, Header: r.header, Options: &openapi3filter.Options{IncludeResponseStatus: true},
	}
	input.SetBodyBytes(r.body)
	if err := openapi3filter.ValidateResponse(context.Background(), input); err != nil {
		c.t.Errorf("%s %s: the answer %d is not what the document says: %v\n%.500s", req.Method, req.URL, r.status, err, r.body)
	}
}

func (c *cluster) checkProblem(req *http.Request, r reply) {
	c.t.Helper()
	var p struct {
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail"`
	}
	if err := json.Unmarshal(r.body, &p); err != nil || p.Title == "" || p.Status != r.status || p.Detail == "" ||
		r.header.Get("Content-Type") != "application/problem+json" {
		c.t.Errorf("%s %s: %d is no problem document: %v, %q, %.300s", req.Method, req.URL, r.status, err, r.header.Get("Content-Type"), r.body)
	}
}

// route returns the document's operation for a request; nil for none.
func (c *cluster) route(req *http.Request) *routers.Route {
	if c.doc == nil {
		return nil
	}
	have := strings.Split(req.URL.EscapedPath(), "/")
	for path, item := range c.doc.Paths.Map() {
		want := strings.Split(path, "/")
		op := item.GetOperation(req.Method)
		if op != nil && len(want) == len(have) && matches(want, have) {
			return &routers.Route{Spec: c.doc, Path: path, PathItem: item, Method: req.Method, Operation: op}
		}
	}
	return nil
}

func matches(want, have []string) bool {
	for i, w := range want {
		if w != have[i] && !strings.HasPrefix(w, "{") {
			return false
		}
	}
	return true
}

// get decodes the response of instance i into v.
func (c *cluster) get(i int, path string, v any) {
	c.t.Helper()
	r := c.call(i, http.MethodGet, path, "")
	if r.status != http.StatusOK {
		c.t.Fatalf("GET %s: %d %s", path, r.status, r.body)
	}
	if err := json.Unmarshal(r.body, v); err != nil {
		c.t.Fatal(err)
	}
}

type obj = map[string]any

// peer is a client of a hub.
type peer struct {
	t    testing.TB
	conn *websocket.Conn
	id   string
}

// connect connects a client to instance i; extra are further members of IDENTIFY's data.
func (c *cluster) connect(i int, group string, extra obj) *peer {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, c.ws[i], &websocket.DialOptions{HTTPClient: c.http})
	if err != nil {
		c.t.Fatal(err)
	}
	conn.SetReadLimit(1 << 20)
	c.t.Cleanup(func() { _ = conn.CloseNow() })
	p := &peer{t: c.t, conn: conn}
	data := obj{"token": rootToken, "group": group}
	for k, v := range extra {
		data[k] = v
	}
	p.send(obj{"op": 1, "data": data})
	p.id, _ = p.read()["data"].(obj)["id"].(string)
	return p
}

func (p *peer) send(v any) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := wsjson.Write(ctx, p.conn, v); err != nil {
		p.t.Fatal(err)
	}
}

func (p *peer) read() obj {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var v obj
	if err := wsjson.Read(ctx, p.conn, &v); err != nil {
		p.t.Fatal(err)
	}
	return v
}

// wantEnd reads until the hub disconnects the client, for that reason.
func (p *peer) wantEnd(reason string, code int) {
	p.t.Helper()
	if v := p.read(); v["op"] != 2.0 || v["data"] != reason {
		p.t.Fatalf("got %v, want a DISCONNECT for %s", v, reason)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if _, _, err := p.conn.Read(ctx); int(websocket.CloseStatus(err)) != code {
		p.t.Fatalf("closed with %v, want %d", err, code)
	}
}
