package client

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/mastersocket/mastersocket/intent"
	"github.com/mastersocket/mastersocket/opcodes"
)

// Handler handles a received message, which it may keep. Its context ends when the Client has ended, or when the context
// passed to [Client.Close] ends while the handler is running. Handlers are called one at a time; see "Slow handlers" in the
// package documentation.
type Handler func(ctx context.Context, m *Message)

// Options configures a [Client]. URL, Group, and either Token or TokenSource are required. A client certificate in TLSConfig
// can replace the token.
type Options struct {
	// URL is the hub's address, ws:// or wss://. It must not contain the token, because URLs end up in logs.
	URL string
	// Token identifies the service. It is sent only in IDENTIFY. Over ws:// it crosses the network in plain text.
	Token string
	// TokenSource replaces Token. It is called for each connection, so that the token can change while the service runs.
	// An error counts as a failed attempt to connect.
	TokenSource func(ctx context.Context) (string, error)

	Group  string   // the group to join
	Groups []string // further groups; see also [Client.Subscribe]

	Name    string            // the service's name, for operators
	Version string            // its version, for operators
	Meta    map[string]string // at most 16 entries, for operators

	// Recover says where to begin in groups with history, also in those that are subscribed to later: behind these positions.
	// The zero Position is before everything that is kept. Without one the Client begins with what is sent from then on.
	Recover map[string]Position
	// Positions keeps how far the handlers are in groups with history, so that the program goes on there when it starts again.
	// What it has of a group counts, and Recover does not. See "Groups with history" in the package documentation.
	Positions Positions
	// PositionsEvery is the shortest time between two calls of Positions.Save, other than the last; default 1 s.
	PositionsEvery time.Duration
	// OnPositionsError is called when Positions.Save fails, which is tried again. By default that is logged as an error. Close
	// returns the error of the last call.
	OnPositionsError func(error)
	// OnGap is called where messages of a group with history are missing, before the handlers get those behind them.
	OnGap func(Gap)
	// NoHistory stops the Client from recovering: of groups with history, too, it gets what is sent while it is connected.
	NoHistory bool

	// NoEcho stops the hub from delivering the client's own GLOBAL and GROUP messages to it.
	NoEcho bool
	// NoAcks turns off the hub's ACK for each message. SendAcked and Queue then fail with ErrNoAcks; errors still arrive.
	NoAcks bool
	// NoDrain makes the Client ignore requests to move. It then stays until the hub disconnects it.
	NoDrain bool

	// On holds handlers of EVENTs by name. They get every message; those added later with [Client.On] may miss some.
	On map[string]Handler
	// OnMessage handles all other messages: EVENTs without a handler for their name, and REPLYs without an open request.
	OnMessage Handler
	// OnError is called when the hub reports a message as not delivered and no call waits for its outcome, as with Send.
	// By default such errors are logged, at most one per second.
	OnError func(err *HubError)
	// OnConnect is called after each successful IDENTIFY, before the messages of that connection; in a move, once the Client
	// sends on the new connection. The goroutine that calls handlers calls the hooks too. Hooks may call Close.
	OnConnect func(id Identity)
	// OnDisconnect is called after each loss of an identified connection, except after Close and in a move without loss.
	OnDisconnect func(reason error)

	// Logger gets no tokens and no data of messages. By default only refused tokens and panics of handlers are logged, with
	// [slog.Default].
	Logger *slog.Logger

	Header    http.Header // of the handshake, such as Origin
	TLSConfig *tls.Config // for wss://

	// Dial replaces [net.Dialer].
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Proxy returns the forward proxy for the hub's URL, as for [http.Transport]; nil for none. The Client asks an HTTP proxy
	// for a tunnel with CONNECT, also for ws://. The default is [http.ProxyFromEnvironment]; with Dial it is no proxy.
	Proxy func(*http.Request) (*url.URL, error)

	ConnectTimeout time.Duration // for one attempt, from dialing to the answer to IDENTIFY; default 15 s
	MinBackoff     time.Duration // longest wait before the first new attempt; default 500 ms
	// MaxBackoff is the longest wait before any attempt; default 30 s. The Client adds up to 5 s if the hub is overloaded,
	// and up to MaxBackoff if the connection ended before the Client could move (DRAIN).
	MaxBackoff   time.Duration
	WriteTimeout time.Duration // a write that takes longer ends the connection; default 30 s
	// StopOnAuthError ends the Client when the hub refuses its token or a group (IDENTIFY_FAILED); with TokenSource, when it
	// refuses the same token twice. By default the Client logs the refusal and tries again after 5 s, then with waits that
	// double up to 5 minutes, because the hub may learn the token later.
	StopOnAuthError bool
	// FailFast makes Connect return its first failure instead of trying until its context ends.
	FailFast bool

	SendQueue    int // messages that wait to be written; further senders block; default 256
	ReceiveQueue int // messages that wait for handlers; default 256
	// MaxReceiveBytes is the largest message accepted from the hub; default 1 MiB. It is raised to the hub's limit for
	// messages of clients plus 4 KiB.
	MaxReceiveBytes int
}

// receiveMargin is more than the hub adds to a client's message: id and sender.
const receiveMargin = 4 << 10

// prepare checks o and fills in defaults.
func (o Options) prepare() (Options, error) {
	if err := checkURL(o.URL); err != nil {
		return o, err
	}
	if o.Token != "" && o.TokenSource != nil || o.Token == "" && o.TokenSource == nil && !o.hasCertificate() {
		return o, errors.New("want either Token or TokenSource")
	}
	if o.TokenSource == nil {
		o.TokenSource = o.staticToken()
	}
	for _, group := range append([]string{o.Group}, o.Groups...) {
		if err := intent.CheckGroup(group); err != nil {
			return o, fmt.Errorf("group %.50q: %w", group, err)
		}
	}
	if err := o.checkHistory(); err != nil {
		return o, err
	}
	if err := o.checkIdentify(); err != nil {
		return o, err
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.ConnectTimeout = cmp.Or(o.ConnectTimeout, 15*time.Second)
	o.MinBackoff = cmp.Or(o.MinBackoff, 500*time.Millisecond)
	o.MaxBackoff = cmp.Or(o.MaxBackoff, 30*time.Second)
	o.WriteTimeout = cmp.Or(o.WriteTimeout, 30*time.Second)
	o.PositionsEvery = cmp.Or(o.PositionsEvery, time.Second)
	o.SendQueue = cmp.Or(o.SendQueue, 256)
	o.ReceiveQueue = cmp.Or(o.ReceiveQueue, 256)
	o.MaxReceiveBytes = cmp.Or(o.MaxReceiveBytes, 1<<20)
	if min(o.ConnectTimeout, o.MinBackoff, o.WriteTimeout, o.PositionsEvery) < 0 || o.MaxBackoff < o.MinBackoff {
		return o, errors.New("times must be positive, and MaxBackoff at least MinBackoff")
	}
	if min(o.SendQueue, o.ReceiveQueue, o.MaxReceiveBytes) < 0 {
		return o, errors.New("queues and sizes must be positive")
	}
	return o, nil
}

// hasCertificate reports whether TLSConfig has a client certificate, which can replace a token.
func (o Options) hasCertificate() bool {
	return o.TLSConfig != nil && (len(o.TLSConfig.Certificates) > 0 || o.TLSConfig.GetClientCertificate != nil)
}

// checkIdentify checks the data of IDENTIFY by the hub's rules, except for the token.
func (o Options) checkIdentify() error {
	data := o.identifyData()
	data.Token = "x"
	msg, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("IDENTIFY: %w", err)
	}
	_, err = opcodes.ParseIdentify(msg)
	return err
}

// identifyData returns the data of IDENTIFY, without a token.
func (o Options) identifyData() identify {
	data := identify{
		Group: o.Group, Groups: o.Groups, Name: o.Name, Version: o.Version, Meta: o.Meta,
		Features: []string{opcodes.FeatureErrors.String()},
	}
	if !o.NoAcks {
		data.Features = append(data.Features, opcodes.FeatureAcks.String())
	}
	if !o.NoDrain {
		data.Features = append(data.Features, opcodes.FeatureDrain.String())
	}
	data.Features = append(data.Features, opcodes.FeatureGroups.String(), opcodes.FeaturePresence.String(),
		opcodes.FeatureExclusive.String(), opcodes.FeatureRequests.String())
	if !o.NoHistory {
		data.Features = append(data.Features, opcodes.FeatureHistory.String())
	}
	if o.NoEcho {
		data.Echo = new(bool)
	}
	return data
}

func (o Options) staticToken() func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return o.Token, nil }
}

func checkURL(s string) error {
	u, err := url.Parse(s)
	if err != nil {
		// The error's text quotes the URL, which may contain a password.
		return errors.New("malformed URL; want ws://HOST:PORT or wss://HOST:PORT")
	}
	switch {
	case u.Scheme != "ws" && u.Scheme != "wss" || u.Host == "":
		return errors.New("want a URL such as ws://HOST:PORT or wss://HOST:PORT")
	case u.User != nil:
		return errors.New("the URL must not contain a user or password; use Token")
	case u.Query().Has("token"), u.Query().Has("access_token"):
		return errors.New("the URL must not contain a token; use Token")
	case u.Fragment != "":
		return errors.New("the URL must not have a fragment (RFC 6455, section 3)")
	}
	return nil
}
