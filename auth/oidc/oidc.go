// Package oidc verifies tokens that an OpenID Connect issuer signed: JWTs (RFC 7519), such as the projected token of a
// Kubernetes ServiceAccount, or those of any other provider.
//
// A [Verifier] holds the public keys of one issuer in memory and verifies against them without a request. It checks, in
// this order, the algorithm (RS, PS and ES with SHA-2, EdDSA; never none, never one with a shared secret), the signature,
// the issuer, the audience and the times. [Issuers] hands each token to the Verifier of the issuer that it names, and to no
// other.
//
// # The local issuer
//
// An application's own backend can be an issuer: its key, or two while it replaces one, is in a file. A secret there is for
// HS256 alone, and for that issuer alone; a public key is for its own kind of algorithm alone. So no public key, which
// everyone may have, is ever taken for a secret.
//
// # Keys
//
// One goroutine fetches the keys: when the Verifier is made, every five minutes, on [Verifier.Refresh], and when a token
// names a key that is not among them or has a signature that its key did not make (an issuer may replace a key without
// another name). For tokens it does so at most once in five seconds, so that forged ones don't become requests to the
// issuer.
// While the issuer is down the last known keys stay in use, however old they are; their age is in [Verifier.Stats] and in
// the log. Until the first successful fetch there are none, and no token can be verified. A file with keys is read again
// when it changes.
//
// Answers of the issuer are bounded in size, in time and in the number of redirects.
//
// # Concurrency
//
// The methods of a Verifier and of Issuers may be called from any goroutine. At most half of the processors are busy with
// signatures at the same time, of all issuers together; other calls of Verify wait for them.
package oidc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	gooidc "github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"github.com/mastersocket/mastersocket/auth"
)

// leeway is how far the clock of the issuer may be ahead: a token is accepted so long before its claim nbf. The claim exp
// has no leeway, since a client renews its token well before.
const leeway = time.Minute

// Options say whose tokens are verified.
type Options struct {
	// Issuer is the claim iss of the tokens. Unless Keys is set it is also the address, without a slash and what follows,
	// of /.well-known/openid-configuration, where the issuer says where its keys are (OpenID Connect Discovery 1.0).
	Issuer string
	// Audiences are those that tokens may be for: one of them must be in the claim aud. At least one.
	Audiences []string
	// Keys is where the issuer's keys are, as a JSON Web Key Set (RFC 7517): an address or the path of a file. Empty: the
	// issuer says where.
	Keys string
	// CAFile is the path of a PEM file with the authorities for the issuer's TLS certificate; empty for those of the
	// system. It is read for each fetch.
	CAFile string
	// BearerFile is the path of a file with a token to fetch the keys with; empty for none. It is read for each fetch. The
	// token is sent to the address of the issuer, of Keys, or of what the issuer says, and to no other host that they
	// redirect to.
	BearerFile string
	// LocalKeys are the paths of one or two files, each with one key of a local issuer: a secret, or a public key in PEM.
	// Issuer is then any name, and Keys, CAFile and BearerFile are empty.
	LocalKeys []string
	Log       *slog.Logger
}

// Verifier verifies the tokens of one issuer. Close ends it.
type Verifier struct {
	opts   Options
	times  times
	config gooidc.Config
	source source
	slots  chan struct{} // holds a value for each signature that is being checked; of all Verifiers of an Issuers
	// algorithms are those that a token of this issuer may have.
	algorithms []jose.SignatureAlgorithm

	keys   atomic.Pointer[keySet] // nil before the first fetch succeeded
	failed atomic.Uint64
	good   atomic.Uint64
	since  time.Time

	stop context.CancelFunc
	done sync.WaitGroup
	wake chan struct{} // holds a value when a fetch is asked for

	mu       sync.Mutex
	fetching *fetch    // under way, or asked for; nil for none
	running  bool      // fetching is under way
	begun    time.Time // when the last began
	waiting  int       // tokens that wait for one, with an unknown key
	doubting int       // and with a wrong signature
	closed   bool      // there will be no more
}

// times are the intervals of a Verifier. Tests have shorter ones.
type times struct {
	now      func() time.Time
	refresh  time.Duration // between fetches
	spacing  time.Duration // at least between fetches that tokens ask for
	file     time.Duration // between looks at a file
	retry    time.Duration // after the first failure, doubled with each
	retryMax time.Duration
	fetch    time.Duration // that a fetch may take
}

func usualTimes() times {
	return times{
		now: time.Now, refresh: 5 * time.Minute, spacing: 5 * time.Second, file: 5 * time.Second,
		retry: time.Second, retryMax: time.Minute, fetch: 10 * time.Second,
	}
}

// newSlots are the slots of Verifiers that verify at the same time.
func newSlots() chan struct{} { return make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)) }

// start begins to fetch the keys and returns without waiting for them. The error is about the options. A failed fetch is
// logged and tried again.
func start(o Options, t times, slots chan struct{}) (*Verifier, error) {
	v := &Verifier{
		opts: o, times: t, since: t.now(), wake: make(chan struct{}, 1), slots: slots, algorithms: algorithms,
		config: gooidc.Config{
			SkipClientIDCheck: true, // that knows one audience
			Now:               t.now,
		},
	}
	if len(o.LocalKeys) > 0 {
		v.algorithms = localAlgorithms
	}
	for _, a := range v.algorithms {
		v.config.SupportedSigningAlgs = append(v.config.SupportedSigningAlgs, string(a))
	}
	if len(o.Audiences) == 0 {
		return nil, errors.New("verify tokens: no audience: tokens for every other service would be accepted")
	}
	if err := CheckSource(&o); err != nil {
		return nil, fmt.Errorf("verify tokens: %w", err)
	}
	v.source = newSource(&v.opts)
	v.fetching, v.running, v.begun = newFetch(), true, v.since // tokens that come before the first has ended wait for it
	ctx, cancel := context.WithCancel(context.Background())
	v.stop = cancel
	v.done.Go(func() { v.run(ctx) })
	return v, nil
}

// Close ends the goroutine that fetches keys, and waits for that. Tokens can be verified with the known keys even after.
func (v *Verifier) Close() {
	v.stop()
	v.done.Wait()
}

// Stats tells what is known of the keys.
func (v *Verifier) Stats() auth.KeyStats {
	s := auth.KeyStats{Issuer: v.opts.Issuer, Since: v.since, Failed: v.failed.Load(), Fetches: v.good.Load()}
	if k := v.keys.Load(); k != nil {
		s.Keys, s.Fetched = len(k.keys), k.fetched
	}
	return s
}

// CheckSource tells what is wrong with an issuer and the place of its keys.
func CheckSource(o *Options) error {
	switch {
	case o.Issuer == "":
		return errors.New("the issuer is empty")
	case len(o.LocalKeys) > maxLocalKeys:
		return fmt.Errorf("a local issuer has at most %d keys", maxLocalKeys)
	case len(o.LocalKeys) > 0:
		return nil
	case o.Keys == "":
		return checkAddress("the issuer", o.Issuer)
	case isAddress(o.Keys):
		return checkAddress("the address of the keys", o.Keys)
	}
	return nil
}

// isAddress tells addresses from paths.
func isAddress(s string) bool { return strings.Contains(s, "://") }

// checkAddress tells what is wrong with an address to fetch from. It must be one with TLS, or of this machine: a server that
// answers in place of the issuer could let any client in.
func checkAddress(what, address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "":
		return fmt.Errorf("%s must be an address, such as https://issuer.example.com", what)
	case u.User != nil || u.RawQuery != "" && what == "the issuer" || u.Fragment != "":
		return fmt.Errorf("%s must not have a user, a query or a fragment", what)
	case u.Scheme == "https", u.Scheme == "http" && isLocal(u.Hostname()):
		return nil
	case u.Scheme == "http":
		return fmt.Errorf("%s must begin with https: over http, an attacker on the network could answer with keys of its own", what)
	}
	return fmt.Errorf("%s must begin with https", what)
}

// isLocal reports whether the host is this machine.
func isLocal(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
