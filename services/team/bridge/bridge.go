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

// largeBytes is the memory for messages larger than freeBytes, of all connections together. The greatest message always
// fits in.
const largeBytes = 64 << 20

// Bridge brings teams into a hub. Make one with [New].
type Bridge struct {
	// Fixed.
	opts     Options
	global   *url.URL
	guard    *guard
	template template
	general  client.Intent // whom events of no team are for
	log      *slog.Logger
	rate     *ratelog.Logger
	asks     *pacer // of team.connect
	dials    *pacer // of the connections of teams
	began    time.Time

	// Each guards itself.
	teams  *teams
	gate   *gate
	out    *outbox
	none   *lane // of events of no team
	counts *counts
	large  budget
	pings  atomic.Int64 // the last unique_id
	lives  uint64       // Global connections so far; owned by runGlobal

	hubLimit      atomic.Int64 // greatest message that the hub takes; 0 if it is not known
	hubLost       atomic.Int64 // when the hub was lost last, Unix time in ns
	hub           atomic.Pointer[hubState]
	lastGlobalErr atomic.Pointer[error]

	flush atomic.Pointer[context.Context] // ends when what is queued is given up
}

// hubState is what is known of the connection to the hub.
type hubState struct {
	connected bool
	since     time.Time
	id, node  string
	err       error // why it was lost
}

// New returns a Bridge that is not running yet. The error says which option is wrong.
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

// HubOptions returns the options for the connection to the hub with what the bridge needs. It refuses a hub of which the
// bridge itself is an RTM client, where its messages would go round for ever.
func (b *Bridge) HubOptions(o client.Options) (client.Options, error) {
	if u, err := url.Parse(o.URL); err == nil && b.template.loops() && hostPort(u) == hostPort(b.global) {
		return o, errLoop
	}
	onConnect, onDisconnect := o.OnConnect, o.OnDisconnect
	o.NoEcho = true
	o.OnConnect = func(id client.Identity) {
		b.hubLimit.Store(int64(id.MaxMessageBytes))
		b.hub.Store(&hubState{connected: true, since: time.Now(), id: id.ID, node: id.Node})
		b.out.hubIs(true)
		if onConnect != nil {
			onConnect(id)
		}
	}
	o.OnDisconnect = func(err error) {
		b.hubLost.Store(time.Now().UnixNano())
		b.hub.Store(&hubState{since: time.Now(), err: err})
		b.out.hubIs(false)
		if onDisconnect != nil {
			onDisconnect(err)
		}
	}
	return o, nil
}

// hostPort returns where a URL points to.
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

// Run bridges until ctx ends or the server says goodbye, and then hands over what is queued, within FlushTimeout. hub must
// have been made with [Bridge.HubOptions]; it is not closed. The error is nil then; else it says what made going on
// useless: the server refused the first Global connection with an HTTP status from 400 to 499, or the hub the client.
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

// giveUpRest counts what nobody takes from the outbox any more.
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

// tell queues an event for the hub; t is nil for events of no team. It waits while the queue is full and the hub there.
func (b *Bridge) tell(t *team, name string, data []byte) {
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

// parse reads a frame, and counts what is none.
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

// badInput counts something that the server should not have sent, and logs it at most once a second for each kind.
func (b *Bridge) badInput(kind badInput, detail string) {
	b.counts.bad.add(kind)
	b.rate.Warn("the server sent something that is ignored", string(kind), slog.String("detail", clip(detail)))
}

// clip makes a server's words fit for a log line.
func clip(s string) string {
	const most = 200
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

func teamAttr(t *team) slog.Attr  { return slog.String("team", t.id.String()) }
func errAttr(err error) slog.Attr { return slog.String("error", clip(err.Error())) }
