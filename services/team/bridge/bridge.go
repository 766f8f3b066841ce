package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/mastersocket/mastersocket/client"
	"github.com/mastersocket/mastersocket/internal/ratelog"
	"github.com/mastersocket/mastersocket/services/team/rtm"
)

// largeBytes bounds the memory for messages larger than freeBytes, of all connections together. A message of
// MaxFrameBytes always fits.
const largeBytes = 64 << 20

// Bridge brings teams into a hub. Make one with [New].
type Bridge struct {
	// Constant.
	opts     Options
	global   *url.URL
	guard    *guard
	template template
	general  client.Intent // target of events that belong to no team
	log      *slog.Logger
	rate     *ratelog.Logger
	asks     *pacer // of team.connect
	dials    *pacer // of the connections of teams
	began    time.Time

	// Safe for concurrent use.
	teams  *teams
	gate   *gate
	out    *outbox
	none   *lane // for events that belong to no team
	counts *counts
	large  budget
	pings  atomic.Int64 // the last unique_id
	lives  uint64       // Global connections so far; owned by runGlobal

	hubLimit      atomic.Int64 // the hub's message size limit in bytes; 0: unknown
	hubLost       atomic.Int64 // when the hub was last lost, Unix time in ns
	hub           atomic.Pointer[hubState]
	lastGlobalErr atomic.Pointer[error]

	flush atomic.Pointer[context.Context] // ends when the remaining events are given up
}

// hubState is the state of the connection to the hub.
type hubState struct {
	connected bool
	since     time.Time
	id, node  string
	err       error // cause of the loss
}

// New returns a Bridge. Run starts it. The error names the invalid option.
func New(o Options) (*Bridge, error) {
	opts, err := o.prepare()
	if err != nil {
		return nil, err
	}
	global, err := parseURL(opts.Global)
	if err != nil {
		return nil, fmt.Errorf("global: %w", err)
	}
	guard, err := newGuard(global, &opts)
	if err != nil {
		return nil, err
	}
	template, err := parseTemplate(opts.To)
	if err != nil {
		return nil, fmt.Errorf("to: %w", err)
	}
	b := &Bridge{
		opts: opts, global: global, guard: guard, template: template, general: template.general(), log: opts.Logger,
		rate: ratelog.New(opts.Logger), asks: newPacer(opts.ConnectRate), dials: newPacer(opts.ConnectRate),
		gate: newGate(), none: newLane(), counts: newCounts(), began: time.Now(),
	}
	b.large.left.Store(largeBytes + int64(opts.MaxFrameBytes))
	b.out = newOutbox(&b.opts, func(e event) { b.counts.outcome(e.name, outQueueFull) })
	b.teams = &teams{b: b, byID: make(map[rtm.ID]*team), life: context.Background()}
	b.hub.Store(&hubState{since: b.began})
	return b, nil
}

// HubOptions adds the bridge's settings to the options for the connection to the hub. It refuses the hub that serves
// Global if messages would loop.
func (b *Bridge) HubOptions(o client.Options) (client.Options, error) {
	if u, err := url.Parse(o.URL); err == nil && b.template.loops() && hostPort(u) == hostPort(b.global) {
		return o, errLoop
	}
	onConnect, onDisconnect := o.OnConnect, o.OnDisconnect
	o.NoEcho = true
	o.OnConnect = func(id client.Identity) {
		b.hubLimit.Store(int64(id.MaxMessageBytes))
		b.hub.Store(&hubState{connected: true, since: time.Now(), id: id.ID, node: id.Node})
		b.out.hubConnected()
		if onConnect != nil {
			onConnect(id)
		}
	}
	o.OnDisconnect = func(err error) {
		b.hubLost.Store(time.Now().UnixNano())
		b.hub.Store(&hubState{since: time.Now(), err: err})
		b.out.hubLost()
		if onDisconnect != nil {
			onDisconnect(err)
		}
	}
	return o, nil
}

// hostPort returns the host and port of a URL.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"ws": "80", "wss": "443"}[u.Scheme]
	}
	host := canonicalHost(u.Hostname())
	if host == "localhost" {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// Run runs the bridge until ctx ends or the server says goodbye, then publishes the queued events within FlushTimeout
// and returns nil. hub must have been made with [Bridge.HubOptions]; Run does not close it. Run returns an error if it
// can't continue: the server refused the first Global connection with an HTTP status from 400 to 499, or the hub
// refused the client.
func (b *Bridge) Run(ctx context.Context, hub *client.Client) error {
	flush, giveUp := context.WithCancel(context.Background())
	defer giveUp()
	b.flush.Store(&flush)
	life, end := context.WithCancelCause(ctx)
	defer end(errShutdown)
	b.teams.mu.Lock()
	b.teams.life = life
	b.teams.mu.Unlock()

	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-hub.Done():
			end(fmt.Errorf("hub: %w", hub.Err()))
		case <-life.Done():
		}
	}()
	published := make(chan struct{})
	go func() {
		defer close(published)
		(&publisher{b: b, hub: hub, ctx: flush, inflight: make(chan flight, window)}).run()
	}()

	err := b.runGlobal(life)
	if err == nil && life.Err() == nil {
		end(errGoodbye)
	}
	end(errShutdown)
	timer := time.AfterFunc(b.opts.FlushTimeout, giveUp)
	defer timer.Stop()
	<-watched
	b.teams.running.Wait()
	b.out.close()
	<-published
	b.giveUpRest()
	if cause := context.Cause(life); err == nil && !errors.Is(cause, errGoodbye) && !errors.Is(cause, errShutdown) && ctx.Err() == nil {
		err = cause
	}
	return err
}

// giveUpRest counts the events that remain in the outbox.
func (b *Bridge) giveUpRest() {
	for {
		e, what, ok := b.out.tryPop()
		if !ok || what == nextEnd {
			return
		}
		if what == nextEvent {
			b.counts.outcome(e.name, outUndeliverd)
		}
	}
}

// queueEvent queues an event for the hub; t is nil for events that belong to no team. It waits while the queue is full
// and the hub is connected.
func (b *Bridge) queueEvent(t *team, name string, data []byte) {
	l := b.none
	if t != nil {
		l = t.lane
	}
	if err := b.out.push(*b.flush.Load(), l, event{t, name, data}); err != nil {
		b.counts.outcome(name, outUndeliverd)
	}
}

func (b *Bridge) hubLostAt() time.Time {
	if ns := b.hubLost.Load(); ns != 0 {
		return time.Unix(0, ns)
	}
	return b.began
}

// parse parses a frame, and counts invalid ones.
func (b *Bridge) parse(msg []byte, text bool) (rtm.Frame, bool) {
	if !text {
		b.badInput(badBinary, "")
		return rtm.Frame{}, false
	}
	f, err := rtm.Parse(msg)
	switch {
	case errors.Is(err, rtm.ErrUnknownType):
		b.badInput(badUnknownType, err.Error())
	case err != nil:
		b.badInput(badMalformed, err.Error())
	}
	return f, err == nil
}

// badInput counts invalid input from the server, and logs it at most once a second for each kind.
func (b *Bridge) badInput(kind badInput, detail string) {
	b.counts.bad.add(kind)
	b.rate.Warn("ignored invalid input from the server", string(kind), slog.String("detail", clip(detail)))
}

// clip shortens a server's text for a log line.
func clip(s string) string {
	const most = 200
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

func teamAttr(t *team) slog.Attr  { return slog.String("team", t.id.String()) }
func errAttr(err error) slog.Attr { return slog.String("error", clip(err.Error())) }
