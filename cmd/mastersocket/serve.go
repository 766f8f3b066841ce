//go:build linux

package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mastersocket/mastersocket/admin"
	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/broker/redis"
	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/internal/config"
	"github.com/mastersocket/mastersocket/internal/logwriter"
	"github.com/mastersocket/mastersocket/internal/memlimit"
	"github.com/mastersocket/mastersocket/internal/ratelog"
	"github.com/mastersocket/mastersocket/services/fleet"
	"github.com/mastersocket/mastersocket/services/team"
	"github.com/mastersocket/mastersocket/transport"
)

// serveCmd runs the hub until it is told to stop.
type serveCmd struct {
	config.Serve `embed:""`

	level slog.LevelVar
	teams *team.Service // nil where the service type is not enabled, as is the next

	fleets *fleet.Service
}

// Help is what mastersocket serve --help says beside the flags.
func (*serveCmd) Help() string {
	return `Runs the hub until SIGINT or SIGTERM. It then tells its clients to reconnect elsewhere, spread over the drain
timeout. A second signal ends it at once.

On SIGHUP, when one of its files changes, and on POST /v1/reload it reads its configuration again. Tokens and their rights,
fleets, certificates, the login at Redis, the pace of a drain and the log level take effect at once; clients whose token is gone are
disconnected. A configuration with an error changes nothing, and the log says why.

Without a token the hub makes one, prints it, and leaves it where the commands of the same user on this machine find it.`
}

// closeTimeout is how long the hub's parts may take to end.
const closeTimeout = 5 * time.Second

// An instance without others ends fast: its clients have no other place to go to, and wait for its next start. A time between
// them does not spread the load, since each waits for a random time of its own.
const (
	aloneDrain = 500 * time.Millisecond // its drain time at most
	aloneClose = time.Second            // how long its connections may take to end after that
)

// Run runs the hub.
func (c *serveCmd) Run(out streams) error {
	known := lookAt(c.Files())
	loaded, err := c.Load()
	if err != nil {
		return usageError{err}
	}
	generated := loaded.Generated
	stderr := logwriter.New(out.err) // a loop must not wait for the reader of the log
	defer stderr.Close(time.Second)
	log := c.newLogger(stderr)
	for _, w := range loaded.Warnings {
		log.Warn(w)
	}
	if generated != "" && c.Redis != "" {
		log.Warn("no token is configured: other instances on this Redis don't know the one that is made for this run")
	}
	certs := new(certificates)
	certs.take(loaded.TLS)
	// Two channels: a signal that finds its channel full is lost, and any number of SIGHUPs may come while one is served.
	stops, hangups := make(chan os.Signal, 2), make(chan os.Signal, 1)
	signal.Notify(stops, unix.SIGINT, unix.SIGTERM)
	defer signal.Stop(stops)
	signal.Notify(hangups, unix.SIGHUP)
	defer signal.Stop(hangups)

	ctx := context.Background()
	store, login := auth.NewStore(loaded.Tokens), new(redisLogin)
	login.take(loaded.Redis)
	options, err := c.hubOptions(loaded, store, login, log)
	if err != nil {
		return err
	}
	tuneRuntime(options.Transport.Loops)
	verifier, err := verifyTokens(loaded.Issuers, &options, log)
	if err != nil {
		return err
	}
	if verifier != nil {
		defer verifier.Close()
	}
	h, err := hub.New(ctx, options)
	if err != nil {
		return explainStart(err, c.Place("redis"))
	}
	r := newReloader(c, h, store, certs, login, loaded, log)
	r.verifier = verifier
	reload := func(source string) func() {
		return func() { _, _ = r.Reload(ctx, source) } // it logs what is wrong
	}
	w := startWatch(r.files, known, reload(sourceFile), log)
	defer w.close()
	wait := func() os.Signal { return awaitStop(stops, hangups, reload("SIGHUP")) }
	err = c.run(ctx, h, r, generated, stops, wait, log, stderr)
	ctx, cancel := context.WithTimeout(ctx, closeTimeout)
	defer cancel()
	return errors.Join(err, h.Close(ctx))
}

// gcPercent is how much the heap may grow over what is in use before the garbage collector runs. Most of the heap belongs
// to connections and lives as long as they do, and messages come from pools: collecting more often than Go's default
// costs next to nothing here, and saves a third of the memory of an idle client.
const gcPercent = 40

// tuneRuntime sets the pace of the garbage collector, and GOMAXPROCS to twice the number of loops, 3 at least, unless the
// environment does (GOGC, GOMAXPROCS). A loop that has work keeps its processor of Go's scheduler while it waits; the
// other half is for everything else.
func tuneRuntime(loops int) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(max(2*loops, 3))
	}
}

// awaitStop returns the first signal to stop. Until then it reloads on each hangup.
func awaitStop(stops, hangups <-chan os.Signal, reload func()) os.Signal {
	for {
		select {
		case s := <-stops:
			return s
		case <-hangups:
			reload()
		}
	}
}

// run listens, waits for a signal to stop, and drains.
func (c *serveCmd) run(ctx context.Context, h *hub.Hub, r *reloader, generated string, stops <-chan os.Signal, wait func() os.Signal, log *slog.Logger, stderr io.Writer) error {
	if c.AdminListen != "" {
		a, err := admin.Listen(ctx, string(c.AdminListen), admin.Options{
			Hub: h, Log: log, Reload: r, AllowedHosts: c.AllowedHosts, Teams: c.teamLister(), Fleets: c.fleetManager(), DrainTimeout: r.drainTimeout,
			TLS: r.certs.adminTLS(&c.Serve), CertificateEnd: r.certs.endOrNil(),
		})
		if err != nil {
			return explainListen(c.Place("admin-listen"), c.AdminListen, err)
		}
		log.Info("listening", "listener", "admin", "addr", a.Addr().String())
		defer func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
			defer cancel()
			if err := a.Close(ctx); err != nil {
				log.Warn("admin listener did not close cleanly", "error", err)
			}
		}()
	}
	if c.TCPListen != "" {
		addr, err := h.ListenTCP(ctx, string(c.TCPListen))
		if err != nil {
			return explainListen(c.Place("tcp-listen"), c.TCPListen, err)
		}
		log.Info("listening", "listener", "tcp", "addr", addr.String())
	}
	if err := r.certs.listenTLS(ctx, &c.Serve, h, log); err != nil {
		return err
	}
	c.warnOfLimit(h.Stats().Transport.Limit, log)
	var addr net.Addr // where the generated token is for
	if c.Listen != "" {
		var err error
		if addr, err = h.ListenWebSocket(ctx, string(c.Listen)); err != nil {
			return explainListen(c.Place("listen"), c.Listen, err)
		}
		log.Info("listening", "listener", "hub", "addr", addr.String(), "node", h.Node().Name,
			"connections_limit", h.Stats().Transport.Limit, "send_queue_total", h.Stats().Transport.QueueLimit)
	}
	if generated != "" {
		defer announceToken(generated, addr, log, stderr)()
	}

	s := wait()
	over, closing := r.drainTimeout(), closeTimeout
	if h.Alone() {
		over, closing = min(over, aloneDrain), aloneClose
	}
	log.Info("draining: clients are told to reconnect elsewhere; a second signal ends at once",
		"signal", s.String(), "clients", h.Stats().Clients, "over", over)
	ctx, cancel := context.WithTimeout(ctx, over+closing)
	defer cancel()
	drain(ctx, h, over, stops, log)
	return nil
}

// drain moves the clients to other instances, until all have gone, ctx ends, or a second signal comes.
func drain(ctx context.Context, h *hub.Hub, over time.Duration, stops <-chan os.Signal, log *slog.Logger) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- h.Drain(ctx, over) }()
	select {
	case <-stops:
		cancel()
		<-done
		log.Warn("ended at once by a second signal", "connections", open(h))
	case err := <-done:
		if err != nil {
			log.Warn("connections did not close in time", "connections", open(h))
			return
		}
		log.Info("drained")
	}
}

// open returns the number of connections.
func open(h *hub.Hub) int {
	s := h.Stats()
	return s.Transport.Connections()
}

// hubOptions translates the settings.
func (c *serveCmd) hubOptions(loaded *config.Loaded, tokens *auth.Store, login *redisLogin, log *slog.Logger) (hub.Options, error) {
	b, err := c.broker(login, log)
	if err != nil {
		return hub.Options{}, usageError{err}
	}
	services, err := c.services(loaded)
	if err != nil {
		return hub.Options{}, err
	}
	loops := c.Loops
	if loops == 0 {
		loops = min(runtime.GOMAXPROCS(0), hub.MaxLoops)
	}
	t := transport.DefaultOptions(loops)
	t.MaxConnections = c.maxConnections()
	t.MaxMessageBytes = int(c.MaxMessageBytes)
	t.SendQueueBytes = int(c.SendQueueBytes)
	t.SendQueueTotal = c.sendQueueTotal()
	t.AddressConnections = c.MaxConnectionsPerAddress
	t.Proxies = loaded.Proxies
	t.TCPGap = c.TCPGap
	t.WriteTimeout = c.WriteTimeout
	t.HandshakeTimeout = c.HandshakeTimeout
	t.MessageTimeout = c.MessageTimeout
	t.SweepInterval = sweepInterval(c.WriteTimeout, c.HandshakeTimeout, c.MessageTimeout, c.IdentifyTimeout, c.PingInterval)
	t.Origins = loaded.Origins
	t.AllowedHosts = c.AllowedHosts
	t.Log = ratelog.New(log)
	return hub.Options{
		Transport:       t,
		PingInterval:    c.PingInterval,
		IdentifyTimeout: c.IdentifyTimeout,
		NodeName:        c.nodeName(),
		Version:         version(),
		Address:         c.Advertise,
		Tokens:          tokens,
		Broker:          b,
		MaxGroups:       c.MaxGroups,
		WithoutBroker:   c.ReadyWithoutBroker,
		PresenceMembers: c.PresenceMembers,
		RequestMemory:   int(c.RequestMemory),
		History:         historyRules(loaded.History),
		Services:        services,
		Drain:           drainSettings(&c.Serve),
		Log:             log,
	}, nil
}

// historyRules translates the rules about groups with history.
func historyRules(all []config.HistoryRule) (rules []hub.HistoryRule) {
	for _, r := range all {
		rules = append(rules, hub.HistoryRule{
			Groups:    r.Groups,
			Limits:    broker.Limits{Messages: r.Messages, Age: r.Age, Bytes: int64(r.Bytes)},
			MaxGroups: r.MaxGroups,
		})
	}
	return rules
}

// memoryShare is the part of the process's memory that unsent messages may take, unless --send-queue-total says otherwise.
const memoryShare = 4

// sendQueueTotal returns --send-queue-total or its default.
func (c *serveCmd) sendQueueTotal() int {
	if c.SendQueueTotal > 0 {
		return int(c.SendQueueTotal)
	}
	limit := memlimit.Bytes()
	if limit == 0 {
		return transport.DefaultOptions(1).SendQueueTotal
	}
	return max(int(limit/memoryShare), int(c.SendQueueBytes))
}

// broker returns what connects this instance with others: Redis, or nothing but memory.
func (c *serveCmd) broker(login *redisLogin, log *slog.Logger) (broker.Broker, error) {
	if c.Redis == "" {
		return memory.NewBus().Broker(), nil
	}
	o := redis.Options{URL: c.Redis.Reveal(), Prefix: c.RedisPrefix, Login: login.login, Logger: log}
	if c.ClusterSecretFile != "" {
		o.Secrets = login.secrets
	}
	return redis.New(o)
}

// spareConnections are the connections beyond the limit that still get a descriptor, to be told to come back later.
const spareConnections = 64

// maxConnections returns the limit that is set, or what the limit of open files allows.
func (c *serveCmd) maxConnections() int {
	limit := transport.DescriptorLimit()
	if c.MaxConnections > 0 {
		return c.MaxConnections
	}
	return max(limit-spareConnections, 1)
}

// sweepInterval is the time between two checks of deadlines: a second, or less if a deadline is shorter than 8 seconds.
func sweepInterval(deadlines ...time.Duration) time.Duration {
	interval := time.Second
	for _, d := range deadlines {
		interval = min(interval, d/8)
	}
	return max(interval, 10*time.Millisecond)
}

// nodeName returns the instance's name.
func (c *serveCmd) nodeName() string {
	if c.Node != "" {
		return c.Node
	}
	name, err := os.Hostname()
	if err != nil {
		return "mastersocket"
	}
	return name
}

// newLogger returns the logger that the settings ask for. Its level follows c.level.
func (c *serveCmd) newLogger(w io.Writer) *slog.Logger {
	c.level.Set(c.Level())
	return logwriter.NewLogger(w, c.LogFormat, &c.level)
}
