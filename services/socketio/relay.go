package socketio

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/services/socketio/engineio"
	"github.com/mastersocket/mastersocket/transport"
)

// A request may come to another instance than the one that has its session: a load balancer without sticky sessions knows
// nothing of sids. Such a request is relayed, once, to the address that the instance of the session advertises. Its answer
// is passed on. A WebSocket is not relayed: its client goes on by requests.

// Bounds of relaying.
const (
	maxRelayed   = 2048             // requests of one instance at the same time
	dialTimeout  = 3 * time.Second  // for a connection to another instance, with its TLS handshake
	relayIdle    = 30 * time.Second // for a connection between two requests; shorter than the transport keeps it
	relayMargin  = 10 * time.Second // for an answer, beyond the longest time that a GET waits
	relayBuffer  = 1 << 10          // of a connection, each way, in bytes
	maxIdleToOne = 64               // connections to one instance between two requests
)

// relays are the requests on their way to other instances. Any goroutine may call its methods.
type relays struct {
	client  http.Client
	timeout time.Duration
	limit   int64 // of open
	answer  int64 // bytes of the largest answer

	open   atomic.Int64
	ctx    context.Context // ends with the hub
	cancel context.CancelFunc
	wg     sync.WaitGroup // of the goroutines that wait for an answer
}

func newRelays(authorities *x509.CertPool, timeout time.Duration) *relays {
	r := &relays{timeout: timeout, limit: maxRelayed}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.client = http.Client{
		Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: dialTimeout}).DialContext,
			TLSClientConfig:     &tls.Config{RootCAs: authorities, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout: dialTimeout,
			IdleConnTimeout:     relayIdle,
			MaxIdleConnsPerHost: maxIdleToOne,
			DisableCompression:  true,
			ReadBufferSize:      relayBuffer,
			WriteBufferSize:     relayBuffer,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return r
}

// close ends what is under way and waits for it.
func (r *relays) close() {
	r.cancel()
	r.wg.Wait()
	r.client.CloseIdleConnections()
}

// relayed is the answer of another instance.
type relayed struct {
	status      int
	contentType string
	body        []byte
}

// errAnswerTooLarge: another instance, whose limits are others perhaps, sends more than a client of this one can get.
var errAnswerTooLarge = errors.New("the answer is too large")

// ask sends a request to another instance, and returns its answer.
func (r *relays) ask(ctx context.Context, method, url, host string, body []byte) (*relayed, error) {
	q, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	q.Host = host // it is what --allowed-hosts there is about, as it is here
	q.Header.Set("User-Agent", "")
	if method == http.MethodPost {
		q.Header.Set("Content-Type", text)
	}
	a, err := r.client.Do(q)
	if err != nil {
		return nil, err
	}
	defer func() { _ = a.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(a.Body, r.answer+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > r.answer {
		return nil, errAnswerTooLarge
	}
	return &relayed{a.StatusCode, a.Header.Get("Content-Type"), b}, nil
}

// ownerOf returns the other instance that has the session of a sid, unless it is gone.
func (t *Type) ownerOf(id *sid) (broker.Node, bool) {
	node, _, _ := id.place()
	if node == t.node() {
		return broker.Node{}, false
	}
	return t.hub.NodeWithID(broker.NodeID(node))
}

// unknownHere is the answer to a request whose session is on another instance, and which is not relayed there.
func unknownHere(owner, why string) *engineio.Error {
	err := *engineio.ErrSession
	err.Message += ": it belongs to instance " + owner + ", " + why
	return &err
}

// relay handles a request whose session is not here. It returns false if it is on no other instance either.
func (l *loop) relay(x *transport.Exchange, q *engineio.Query) bool {
	id, ok := parseSID(q.SID)
	if !ok {
		return false
	}
	owner, ok := l.all.ownerOf(&id)
	if !ok {
		return false
	}
	r := l.all.relays
	method := string(x.Request.Method)
	switch {
	case method != http.MethodGet && method != http.MethodPost:
		l.refuse(x, engineio.ErrBadRequest)
		return true
	case q.Relayed: // by an instance that has the session elsewhere than this one
		l.refuse(x, unknownHere(owner.Name, "not to this one"))
		return true
	case owner.Address == "":
		l.refuse(x, unknownHere(owner.Name, "which advertises no address"))
		return true
	case r.open.Add(1) > r.limit:
		r.open.Add(-1)
		l.count.refusedRelays.Add(1)
		x.Fields += "Retry-After: 5\r\n"
		x.Respond(http.StatusServiceUnavailable, text, nil)
		return true
	}
	l.count.relayed.Add(1)
	ctx, cancel := context.WithTimeout(r.ctx, r.timeout)
	x.OnGone(cancel)
	url, host, body := owner.Address+l.all.path+"?"+engineio.RelayedQuery(q.SID), string(x.Request.Host), x.Body
	r.wg.Go(func() {
		defer r.open.Add(-1)
		defer cancel()
		a, err := r.ask(ctx, method, url, host, body)
		l.on.Post(func() { l.passOn(x, owner, a, err) })
	})
	return true
}

// passOn answers a request as the other instance does.
func (l *loop) passOn(x *transport.Exchange, owner broker.Node, a *relayed, err error) {
	if err == nil {
		x.Respond(a.status, a.contentType, a.body)
		return
	}
	if errors.Is(err, context.Canceled) { // the client is gone
		return
	}
	l.count.failedRelays.Add(1)
	var inURL *url.Error
	if errors.As(err, &inURL) {
		err = inURL.Err // without the URL, which has the sid
	}
	l.on.Warn("request not relayed to the instance of its session", "socketio relay",
		slog.String("node", owner.Name), slog.String("address", owner.Address), slog.String("error", err.Error()))
	l.fail(x, unknownHere(owner.Name, "which can't be reached"))
}

// maxAnswer is the bound of an answer to a GET, in bytes, on an instance whose largest message has so many: one message of
// bytes in base64, or several up to a payload.
func maxAnswer(message int) int64 { return 2*int64(message) + 64<<10 }
