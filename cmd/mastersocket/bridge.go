package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"golang.org/x/term"

	"github.com/mastersocket/mastersocket/client"
	"github.com/mastersocket/mastersocket/internal/logwriter"
	"github.com/mastersocket/mastersocket/services/team/bridge"
)

// bridgeCmd has a command for each protocol that can be bridged.
type bridgeCmd struct {
	Team bridgeTeamCmd `cmd:"" help:"Keep the teams of an RTM server connected, and bring their messages into the hub."`
}

// bridgeTeamCmd bridges the team protocol.
type bridgeTeamCmd struct {
	connection `embed:""`

	Global          string   `required:"" group:"Server" placeholder:"URL" help:"The server's Global connection: ws://HOST/global, or wss://, http:// or https://."`
	GlobalTokenFile string   `group:"Server" placeholder:"FILE" help:"File with the token that Global requires (Authorization: Bearer), in one line; or set $$MASTERSOCKET_GLOBAL_TOKEN. It is sent to Global alone."`
	AllowHost       []string `group:"Server" sep:"none" placeholder:"HOST" help:"Host that a ws_url may point to besides Global's own: HOST, HOST:PORT, an address, or a prefix such as 10.0.0.0/8; may be given several times."`
	CAFile          string   `name:"ca-file" group:"Server" placeholder:"FILE" help:"PEM file with the authorities for the certificates of the server, on Global and for teams, besides those that the system trusts."`
	Stay            bool     `group:"Server" help:"After the server's goodbye wait and connect again, in place of ending."`
	ConnectRate     float64  `group:"Server" default:"600" placeholder:"N" help:"Most connections that are asked for, and dialed, within a second, for all teams together (default: ${default})."`
	LeftAfter       int      `group:"Server" default:"5" placeholder:"N" help:"Refusals after which a team counts as left if the server has not announced it again since Global was lost; 0 for never (default: ${default})."`

	PingInterval time.Duration `group:"Server" default:"30s" placeholder:"TIME" help:"Time between pings on a connection (default: ${default})."`
	PongTimeout  time.Duration `group:"Server" default:"10s" placeholder:"TIME" help:"How long a pong may take (default: ${default})."`

	To    string `default:"GROUP:teams" placeholder:"TARGET" help:"Receivers of the events, as --to of pub, with {team_id} for the team's id (default: ${default}). team.join and team.left go to GROUP:teams in any case."`
	Group string `short:"g" default:"bridges" placeholder:"GROUP" help:"Group to join, since each client of the hub has one (default: ${default})."`
	Queue int    `default:"65536" placeholder:"N" help:"Events that wait while the hub is away; then the oldest are dropped (default: ${default})."`

	StatusListen string `placeholder:"ADDR" help:"Serve /v1/status, /v1/teams, /metrics, /healthz and /readyz on HOST:PORT."`
	LogFormat    string `enum:"text,json" default:"text" help:"Format of the log on standard error: ${enum} (default: ${default})."`
	Quiet        bool   `short:"q" help:"Log only warnings, and show no live line on a terminal."`
}

// Help is the longer help.
func (*bridgeTeamCmd) Help() string {
	return `Events: team.message (team_id, text), team.join, team.left, team.connected (team_id), team.disconnected (team_id,
reason), goodbye.

Examples:
    mastersocket bridge team --global ws://rtm.example.com/global
    mastersocket bridge team --global ws://localhost:8080/global --to 'GROUP:team.{team_id}' --status-listen 127.0.0.1:9090
    mastersocket bridge team --global wss://rtm.example.com/global --to ANY:workers --stay

It runs until the server says goodbye (not with --stay) or Ctrl-C, hands over what is queued, and ends with exit code 0.` + tokenHelp
}

// Run runs the bridge.
func (c *bridgeTeamCmd) Run(s streams) error {
	ctx, stop := interruptible()
	defer stop()
	stderr := newLiveWriter(s.err)
	lines := logwriter.New(stderr) // a team must not wait for the reader of the log
	defer lines.Close(closeWait)
	o, err := c.options(c.logger(lines))
	if err != nil {
		return usageError{err}
	}
	b, err := bridge.New(o)
	if err != nil {
		return usageError{err}
	}
	status, err := c.listen(b)
	if err != nil {
		return err
	}
	defer status.close()
	if status != nil {
		o.Logger.Info("listening", "listener", "status", "addr", status.addr.String())
	}
	hub, err := c.connectHub(ctx, b, o.Logger)
	if err != nil {
		return interruptedOr(ctx, err)
	}
	defer goodbye(hub)
	if c.Quiet || !isTerminal(s.err) {
		return b.Run(ctx, hub)
	}
	live, end := context.WithCancel(ctx)
	shown := make(chan struct{})
	go func() {
		defer close(shown)
		stderr.show(live, b.Status, time.Second)
	}()
	err = b.Run(ctx, hub)
	end()
	<-shown
	return err
}

// isTerminal reports whether w is a terminal.
func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func (c *bridgeTeamCmd) logger(w *logwriter.Writer) *slog.Logger {
	level := slog.LevelInfo
	if c.Quiet {
		level = slog.LevelWarn
	}
	return logwriter.NewLogger(w, c.LogFormat, level)
}

func (c *bridgeTeamCmd) options(log *slog.Logger) (bridge.Options, error) {
	o := bridge.Options{
		Global: c.Global, To: c.To, AllowHosts: c.AllowHost, Stay: c.Stay, ConnectRate: c.ConnectRate,
		PingInterval: c.PingInterval, PongTimeout: c.PongTimeout, Queue: c.Queue, Logger: log,
	}
	if c.PingInterval <= 0 || c.PongTimeout <= 0 || c.Queue <= 0 || c.ConnectRate <= 0 {
		return o, errors.New("--ping-interval, --pong-timeout, --queue, --connect-rate: want more than 0")
	}
	if o.LeftAfter = c.LeftAfter; c.LeftAfter <= 0 {
		o.LeftAfter = -1
	}
	if c.CAFile != "" {
		trusted, err := trusting(c.CAFile)
		if err != nil {
			return o, fmt.Errorf("--ca-file: %w", err)
		}
		o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: trusted}
	}
	env := os.Getenv("MASTERSOCKET_GLOBAL_TOKEN")
	switch {
	case c.GlobalTokenFile != "":
		o.GlobalToken = func() (string, error) { return tokenFromFile(c.GlobalTokenFile) }
		if _, err := o.GlobalToken(); err != nil {
			return o, fmt.Errorf("--global-token-file: %w", err)
		}
	case env != "":
		o.GlobalToken = func() (string, error) { return env, nil }
	}
	return o, nil
}

// trusting returns the authorities that the system trusts, and those in the file.
func trusting(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool() // a system without any
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s has no certificate in PEM", file)
	}
	return pool, nil
}

func (c *bridgeTeamCmd) connectHub(ctx context.Context, b *bridge.Bridge, log *slog.Logger) (*client.Client, error) {
	o, err := b.HubOptions(client.Options{
		URL: c.url(), Group: c.Group, Name: "mastersocket bridge team", Logger: log,
		OnError: func(err *client.HubError) { log.Warn("not delivered", "error", err) },
	})
	if err != nil {
		return nil, usageError{err}
	}
	return c.connect(ctx, o)
}

// statusServer serves operators.
type statusServer struct {
	http   *http.Server
	addr   net.Addr
	served chan struct{}
}

// Limits of the status server.
const (
	statusTimeout = 30 * time.Second
	statusHeaders = 16 << 10
)

// listen serves the status where it is wanted. The result may be nil.
func (c *bridgeTeamCmd) listen(b *bridge.Bridge) (*statusServer, error) {
	if c.StatusListen == "" {
		return nil, nil
	}
	l, err := net.Listen("tcp", c.StatusListen)
	if err != nil {
		return nil, fmt.Errorf("--status-listen: %w", err)
	}
	s := &statusServer{
		addr: l.Addr(), served: make(chan struct{}),
		http: &http.Server{
			Handler: b.Handler(), ReadHeaderTimeout: statusTimeout, ReadTimeout: statusTimeout, WriteTimeout: statusTimeout,
			IdleTimeout: statusTimeout, MaxHeaderBytes: statusHeaders, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
		},
	}
	go func() {
		defer close(s.served)
		_ = s.http.Serve(l) // ends with close
	}()
	return s, nil
}

func (s *statusServer) close() {
	if s == nil {
		return
	}
	_ = s.http.Close()
	<-s.served
}
