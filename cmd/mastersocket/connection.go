package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/client"
	"github.com/mastersocket/mastersocket/internal/localtoken"
)

// defaultURL is the listener of a hub that was started without flags.
const defaultURL = "ws://127.0.0.1:42069"

// closeWait bounds the closing handshake.
const closeWait = 2 * time.Second

// connection has the flags of every command that connects to a hub.
type connection struct {
	URL       string        `group:"Connection" placeholder:"URL" help:"Where the hub listens: ws://HOST:PORT, or wss:// for TLS (default: $$MASTERSOCKET_URL, else ws://127.0.0.1:42069)."`
	Token     string        `group:"Connection" placeholder:"TOKEN" help:"The token to identify with (default: $$MASTERSOCKET_TOKEN). Every user of this machine can see a flag (ps): better the variable or a file."`
	TokenFile string        `group:"Connection" placeholder:"FILE" help:"File that holds the token in one line (default: $$MASTERSOCKET_TOKEN_FILE). It is read again for each connection."`
	Wait      time.Duration `group:"Connection" placeholder:"TIME" help:"How long to keep trying, such as 30s, while there is no hub yet. After a connection is lost the command always connects again."`

	tlsFlags `embed:""`
}

// tokenHelp says which token a command without one uses.
const tokenHelp = `

Without a token, and for a hub on this machine (localhost, 127.0.0.1 or ::1), the command uses the token that the hub
made for itself, if the same user started it without one.`

// connect connects with the options that the flags say and o adds.
func (c *connection) connect(ctx context.Context, o client.Options) (*client.Client, error) {
	o.URL = c.url()
	if !strings.HasPrefix(o.URL, "ws://") && !strings.HasPrefix(o.URL, "wss://") {
		return nil, usageError{errors.New("--url, or MASTERSOCKET_URL: want ws://HOST:PORT or wss://HOST:PORT")}
	}
	o.Version = version()
	if err := c.tlsFlags.set(&o); err != nil {
		return nil, usageError{err}
	}
	from, err := c.setToken(&o)
	if err != nil {
		return nil, err
	}
	if c.Wait <= 0 {
		o.FailFast = true
	} else {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.Wait)
		defer cancel()
	}
	cl, err := client.Connect(ctx, o)
	switch {
	case errors.Is(err, client.ErrOptions):
		return nil, usageError{err}
	case err != nil:
		return nil, explain(withinTime(err, "--wait", c.Wait), o, from)
	}
	return cl, nil
}

func (c *connection) url() string {
	for _, u := range []string{c.URL, os.Getenv("MASTERSOCKET_URL")} {
		if u != "" {
			return u
		}
	}
	return defaultURL
}

// setToken sets the token, or a function that reads it. from says where it comes from.
func (c *connection) setToken(o *client.Options) (from string, err error) {
	file, fileFrom := c.TokenFile, "--token-file"
	switch env := os.Getenv("MASTERSOCKET_TOKEN"); {
	case c.Token != "" && file != "":
		return "", usageError{errors.New("--token and --token-file are both given: want one")}
	case c.Token != "":
		o.Token, from = c.Token, "--token"
	case file == "" && env != "":
		o.Token, from = env, "MASTERSOCKET_TOKEN"
	}
	if o.Token != "" {
		return from, nil
	}
	if file == "" {
		file, fileFrom = os.Getenv("MASTERSOCKET_TOKEN_FILE"), "MASTERSOCKET_TOKEN_FILE"
	}
	if file != "" {
		o.TokenSource = func(context.Context) (string, error) { return tokenFromFile(file) }
		return fileFrom + " (" + file + ")", nil
	}
	if c.Cert != "" {
		return "", nil // the certificate takes its place
	}
	port, local := localtoken.IsLocal(o.URL)
	if !local {
		return "", usageError{fmt.Errorf("no token for %s: give one with MASTERSOCKET_TOKEN, --token-file or --token", o.URL)}
	}
	o.TokenSource = func(context.Context) (string, error) { return ownHubsToken(port) }
	path, err := localtoken.Path(port)
	return "the hub's own token in " + path, err
}

func tokenFromFile(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	token := strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	if auth.LooksSigned(token) { // which may be longer than others
		return token, nil
	}
	if err := auth.CheckToken(token); err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	return token, nil
}

// errNoLocalHub: no hub on this machine has left a token.
var errNoLocalHub = errors.New("no token was given, and no hub left one")

func ownHubsToken(port int) (string, error) {
	token, err := localtoken.Read(port)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%w for port %d on this machine", errNoLocalHub, port)
	}
	return token, err
}

// interruptible returns a context that ends with the first SIGINT or SIGTERM; a second one ends the process.
func interruptible() (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// goodbye closes the client.
func goodbye(c *client.Client) {
	ctx, cancel := context.WithTimeout(context.Background(), closeWait)
	defer cancel()
	_ = c.Close(ctx) // an error changes nothing for the command
}
