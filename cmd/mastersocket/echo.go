package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/gobwas/ws"

	"github.com/mastersocket/mastersocket/services/echo/client"
	"github.com/mastersocket/mastersocket/services/echo/wire"
)

// echoCmd has the commands that speak the echo protocol.
type echoCmd struct {
	Send  echoSendCmd  `cmd:"" help:"Send one message, and wait until a client has received it."`
	Load  echoLoadCmd  `cmd:"" help:"Send messages from many clients at once, and check that each is received."`
	Share echoShareCmd `cmd:"" name:"load-share" hidden:"" help:"Carry out a share of a load; started by echo load."`
}

// echoTarget says where the hub is.
type echoTarget struct {
	URL string `group:"Connection" placeholder:"URL" help:"Where the hub listens: ws://HOST:PORT, or wss:// for TLS (default: $$MASTERSOCKET_URL, else ws://127.0.0.1:42069)."`
}

// url returns the URL of the hub's echo endpoint.
func (t *echoTarget) url() (*url.URL, error) {
	raw := (&connection{URL: t.URL}).url()
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "ws" && u.Scheme != "wss" || u.Host == "" {
		return nil, usageError{errors.New("--url, or MASTERSOCKET_URL: want ws://HOST:PORT or wss://HOST:PORT")}
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = wire.Path
	}
	return u, nil
}

// echoSendCmd sends one message.
type echoSendCmd struct {
	echoTarget `embed:""`

	Timeout time.Duration `default:"10s" placeholder:"TIME" help:"How long a connection may take to bring the ok; then the command connects again (default: ${default})."`
	Tries   int           `default:"3" placeholder:"N" help:"Connections to make at most (default: ${default})."`
	Text    string        `arg:"" help:"The message: any text."`
}

// Help is the longer help.
func (*echoSendCmd) Help() string {
	return `The hub must serve echo (mastersocket serve --enable echo). It gives the message to one of the connected clients,
perhaps to this one. The command ends when the ok has come, and prints it. While it waits it answers what it is given itself.

Without an ok after all tries the exit code is 1.`
}

// Run sends the message.
func (c *echoSendCmd) Run(s streams) error {
	u, err := c.url()
	if err != nil {
		return err
	}
	if c.Timeout <= 0 || c.Tries < 1 {
		return usageError{errors.New("--timeout, --tries: want more than 0")}
	}
	ctx, stop := interruptible()
	defer stop()
	r, err := client.Send(ctx, client.Options{URL: u.String(), Text: c.Text, Timeout: c.Timeout, Tries: c.Tries})
	if err != nil {
		return interruptedOr(ctx, explainEcho(err))
	}
	fmt.Fprintf(s.err, "received after %v; connections made: %d, messages of others answered: %d\n",
		r.Wait.Round(time.Microsecond), r.Connections, r.Answered)
	_, err = fmt.Fprintln(s.out, "ok", c.Text)
	return err
}

// explainEcho adds to an error what its reader can do about it.
func explainEcho(err error) error {
	var status ws.StatusError
	switch {
	case isRefused(err):
		return fmt.Errorf("%w\nIs the hub running there? Start one with: mastersocket serve --enable echo", err)
	case errors.As(err, &status) && status == http.StatusNotFound:
		return fmt.Errorf("%w\nThe hub does not serve echo. Start it with: mastersocket serve --enable echo", err)
	}
	return err
}

// defaultAdmin is the admin listener of a hub that was started without flags.
const defaultAdmin = "http://127.0.0.1:42070"
