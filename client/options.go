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

// Handler takes a message that arrived. The message is its own to keep. Its context ends when the Client has ended, or
// when the context of [Client.Close] ended while the handler was running.
// Handlers are called one at a time; see the package's documentation for what a slow one causes.
type Handler func(ctx context.Context, m *Message)

// Options says how to connect. URL, Group and one of Token and TokenSource are required; a client certificate in TLSConfig
// may take the place of a token.
type Options struct {
	// URL of the hub, ws:// or wss://. It must not carry the token: URLs end up in logs.
	URL string
	// Token identifies the service. It is sent in IDENTIFY and nowhere else. Over ws:// anybody on the way can read it.
	Token string
	// TokenSource returns the token for each new connection, in place of Token, so that it can be changed while the
	// service runs. An error counts as a failed attempt to connect.
	TokenSource func(ctx context.Context) (string, error)

	Group  string   // the group to join
	Groups []string // further groups

	Name    string            // the service's name, for operators
	Version string            // its version, for operators
	Meta    map[string]string // at most 16 short strings, for operators

	// NoEcho keeps the client's own GLOBAL and GROUP messages from coming back to it.
	NoEcho bool
	// NoAcks spares the hub one ACK per message. SendAcked and Queue are then refused; errors still arrive.
	NoAcks bool
	// NoDrain makes the Client stay where it is until the hub disconnects it, rather than move when the hub asks for it.
	NoDrain bool

	// On holds handlers of EVENTs by name. Unlike those added later with [Client.On] they miss nothing.
	On map[string]Handler
	// OnMessage takes what has no other taker: EVENTs for whose name there is no handler, and REPLYs to no request that
	// is still open.
	OnMessage Handler
	// OnError learns of refusals and losses of messages for which nobody waits any more, such as those of Send. By
	// default they are logged, at most one a second.
	OnError func(err *HubError)
	// OnConnect is called after each successful IDENTIFY, before the messages of that connection; after a move, which the
	// package's documentation describes, once the Client sends over the new connection. It is called in turn with the
	// handlers, as is OnDisconnect.
	OnConnect func(id Identity)
	// OnDisconnect is called after each loss of an identified connection, unless by Close, or by a move that missed nothing.
	OnDisconnect func(reason error)

	Logger *slog.Logger // default: none. It is never given a token or a message's data

	Header    http.Header                                                       // of the handshake, such as Origin
	TLSConfig *tls.Config                                                       // for wss://
	Dial      func(ctx context.Context, network, addr string) (net.Conn, error) // in place of [net.Dialer] and proxies

	ConnectTimeout time.Duration // of one attempt, from dialing to the answer to IDENTIFY; default 15 s
	MinBackoff     time.Duration // greatest wait before the first new attempt; default 500 ms
	// MaxBackoff is the greatest wait before any attempt; default 30 s. To it are added at most 5 s where the hub has too much
	// to do, and at most as long again where the connection ended although the hub had asked to move (DRAIN).
	MaxBackoff   time.Duration
	WriteTimeout time.Duration // how long the hub may take nothing before the connection is given up; default 30 s
	// FailFast makes Connect return its first failure, in place of trying until its context ends.
	FailFast bool

	SendQueue    int // messages that wait to be written, beyond which senders wait themselves; default 256
	ReceiveQueue int // messages that wait for handlers; default 256
	// MaxReceiveBytes is the greatest message taken from the hub; default 1 MiB. It is raised to what the hub lets its
	// clients send, plus 4 KiB for what it adds.
	MaxReceiveBytes int
}

// receiveMargin is more than what a hub adds to the greatest message that it accepts: id and sender.
const receiveMargin = 4 << 10

// prepare checks o and returns it with defaults.
func (o Options) prepare() (Options, error) {
	if err := checkURL(o.URL); err != nil {
		return o, err
	}
	if o.Token != "" && o.TokenSource != nil || o.Token == "" && o.TokenSource == nil && !o.hasCertificate() {
		return o, errors.New("one of Token and TokenSource is needed")
	}
	if o.TokenSource == nil {
		o.TokenSource = o.staticToken()
	}
	for _, group := range append([]string{o.Group}, o.Groups...) {
		if err := intent.CheckGroup(group); err != nil {
			return o, fmt.Errorf("group %.50q: %w", group, err)
		}
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
	o.SendQueue = cmp.Or(o.SendQueue, 256)
	o.ReceiveQueue = cmp.Or(o.ReceiveQueue, 256)
	o.MaxReceiveBytes = cmp.Or(o.MaxReceiveBytes, 1<<20)
	if min(o.ConnectTimeout, o.MinBackoff, o.WriteTimeout) < 0 || o.MaxBackoff < o.MinBackoff {
		return o, errors.New("times must be positive, and MaxBackoff at least MinBackoff")
	}
	if min(o.SendQueue, o.ReceiveQueue, o.MaxReceiveBytes) < 0 {
		return o, errors.New("queues and sizes must be positive")
	}
	return o, nil
}

// hasCertificate reports whether the hub may be shown a client certificate, which may stand for a token.
func (o Options) hasCertificate() bool {
	return o.TLSConfig != nil && (len(o.TLSConfig.Certificates) > 0 || o.TLSConfig.GetClientCertificate != nil)
}

// checkIdentify finds what the hub would refuse IDENTIFY for, whatever the token.
func (o Options) checkIdentify() error {
	data := o.identify()
	data.Token = "x"
	msg, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("IDENTIFY: %w", err)
	}
	_, err = opcodes.ParseIdentify(msg)
	return err
}

// identify returns the data of IDENTIFY, without a token.
func (o Options) identify() identify {
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
		// The text of the error repeats the URL, which may have a password in it.
		return errors.New("the URL is malformed: want ws://HOST:PORT or wss://HOST:PORT")
	}
	switch {
	case u.Scheme != "ws" && u.Scheme != "wss" || u.Host == "":
		return errors.New("want a URL such as ws://HOST:PORT or wss://HOST:PORT")
	case u.User != nil:
		return errors.New("the URL must not hold a user or password: the token goes into Token")
	case u.Query().Has("token"), u.Query().Has("access_token"):
		return errors.New("the URL must not hold a token: it goes into Token")
	case u.Fragment != "":
		return errors.New("the URL must not have a fragment (RFC 6455, section 3)")
	}
	return nil
}
