// Command goadapter connects the Go SDK to the conformance suite. It reads commands from standard input and writes answers
// and events to standard output, one JSON object a line. The suite's README.md describes them.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mastersocket/mastersocket/client"
)

// command is a line of standard input.
type command struct {
	N         int             `json:"n"`
	Cmd       string          `json:"cmd"`
	Options   options         `json:"options"`
	To        string          `json:"to"`
	Event     string          `json:"event"`
	Data      json.RawMessage `json:"data"`
	ID        string          `json:"id"`
	TimeoutMS int             `json:"timeout_ms"`
	Replies   int             `json:"replies"`
	Handler   string          `json:"handler"`
	Retry     bool            `json:"retry"`
	Key       string          `json:"key"`
	Of        int             `json:"of"`
	Once      bool            `json:"once"`

	Group  string            `json:"group"`
	Groups []string          `json:"groups"`
	Meta   map[string]string `json:"meta"`
	Weight int               `json:"weight"`
}

// timeout is how long the command may take. A scenario takes less than an hour.
func (c command) timeout() time.Duration {
	if c.TimeoutMS == 0 {
		return time.Hour
	}
	return time.Duration(c.TimeoutMS) * time.Millisecond
}

type options struct {
	URL              string            `json:"url"`
	Token            string            `json:"token"`
	Tokens           []string          `json:"tokens"`
	Group            string            `json:"group"`
	Groups           []string          `json:"groups"`
	Name             string            `json:"name"`
	Version          string            `json:"version"`
	Meta             map[string]string `json:"meta"`
	Echo             *bool             `json:"echo"`
	Acks             *bool             `json:"acks"`
	Drain            *bool             `json:"drain"`
	StopOnAuthError  bool              `json:"stop_on_auth_error"`
	FailFast         bool              `json:"fail_fast"`
	ConnectTimeoutMS int               `json:"connect_timeout_ms"`
	MinBackoffMS     int               `json:"min_backoff_ms"`
	MaxBackoffMS     int               `json:"max_backoff_ms"`
	SendQueue        int               `json:"send_queue"`
	ReceiveQueue     int               `json:"receive_queue"`
	Handlers         map[string]string `json:"handlers"`
	OnMessage        bool              `json:"on_message"`

	Recover          map[string]client.Position `json:"recover"`
	History          *bool                      `json:"history"`
	Positions        map[string]client.Position `json:"positions"`
	PositionsEveryMS int                        `json:"positions_every_ms"`
	PositionsFail    int                        `json:"positions_fail"`
}

// adapter runs the commands of one scenario.
type adapter struct {
	c       *client.Client
	release chan struct{}

	mu     sync.Mutex // guards the fields below and orders lines
	out    *json.Encoder
	counts map[string]int
	remove map[string]func()

	watches map[string]*client.Watch
	holds   map[string]*client.Hold
	cancels map[int]context.CancelFunc
}

func main() {
	a := &adapter{
		release: make(chan struct{}), out: json.NewEncoder(os.Stdout), counts: map[string]int{}, remove: map[string]func(){},
		watches: map[string]*client.Watch{}, holds: map[string]*client.Hold{}, cancels: map[int]context.CancelFunc{},
	}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var cmd command
		if err := json.Unmarshal(lines.Bytes(), &cmd); err != nil {
			fmt.Fprintln(os.Stderr, "goadapter:", err)
			os.Exit(1)
		}
		ctx, cancel := context.WithTimeout(context.Background(), cmd.timeout())
		a.mu.Lock()
		a.cancels[cmd.N] = cancel
		a.mu.Unlock()
		end := a.begin(ctx, cmd)
		go func() {
			defer cancel()
			a.answer(cmd.N, end)
		}()
	}
}

func (a *adapter) print(line map[string]any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	_ = a.out.Encode(line) // a suite that is gone has closed standard input, too
}

func (a *adapter) answer(n int, end func() (any, error)) {
	ok, err := end()
	if err != nil {
		a.print(map[string]any{"n": n, "error": describe(err)})
		return
	}
	if ok == nil {
		ok = map[string]any{}
	}
	a.print(map[string]any{"n": n, "ok": ok})
}

// begin begins a command and returns what waits for its outcome. Sends get their place in the queue in the order of commands.
func (a *adapter) begin(ctx context.Context, cmd command) (end func() (any, error)) {
	to, err := client.ParseIntent(cmd.To)
	if err != nil && cmd.To != "" {
		return func() (any, error) { return nil, err }
	}
	var opts []client.SendOption
	switch {
	case cmd.Once:
		opts = append(opts, client.WithOnce(cmd.ID))
	case cmd.ID != "":
		opts = append(opts, client.WithID(cmd.ID))
	}
	var data any
	if cmd.Data != nil {
		data = cmd.Data
	}
	switch cmd.Cmd {
	case "connect":
		return func() (any, error) { return a.connect(ctx, cmd.Options) }
	case "send":
		return func() (any, error) { return nil, a.c.Send(ctx, to, cmd.Event, data, opts...) }
	case "send_acked":
		receipt, err := a.c.Queue(ctx, to, cmd.Event, data, opts...)
		return func() (any, error) {
			if err != nil {
				return nil, err
			}
			n, err := receipt.Wait(ctx)
			outcome := map[string]any{"instances": n}
			if offset := receipt.Offset(); offset > 0 {
				outcome["offset"] = offset
			}
			return outcome, err
		}
	case "request", "request_all", "stream":
		return func() (any, error) { return a.request(ctx, cmd, to, data, opts) }
	case "cancel":
		a.mu.Lock()
		a.cancels[cmd.Of]()
		a.mu.Unlock()
	case "on":
		remove := a.c.On(cmd.Event, a.handler(cmd.Handler))
		a.mu.Lock()
		a.remove[cmd.Event] = remove
		a.mu.Unlock()
	case "off":
		a.mu.Lock()
		a.remove[cmd.Event]()
		a.mu.Unlock()
	case "subscribe", "unsubscribe", "set_meta", "set_weight", "groups", "watch", "unwatch", "hold", "held", "release_hold":
		return func() (any, error) { return a.changeGroups(ctx, cmd) }
	case "position":
		return func() (any, error) {
			if at, ok := a.c.Position(cmd.Group); ok {
				return map[string]any{"position": at}, nil
			}
			return map[string]any{"position": nil}, nil
		}
	case "release":
		close(a.release)
	case "close":
		return func() (any, error) { return nil, a.c.Close(ctx) }
	case "identity":
		return func() (any, error) { return identity(a.c.Identity()), nil }
	case "count":
		return func() (any, error) {
			a.mu.Lock()
			defer a.mu.Unlock()
			return map[string]any{"count": a.counts[cmd.Event]}, nil
		}
	default:
		return func() (any, error) { return nil, fmt.Errorf("unknown command %q", cmd.Cmd) }
	}
	return func() (any, error) { return nil, nil }
}

// request does the commands that send requests.
func (a *adapter) request(ctx context.Context, cmd command, to client.Intent, data any, opts []client.SendOption) (any, error) {
	if cmd.Retry {
		opts = append(opts, client.WithRetry())
	}
	if cmd.Key != "" {
		opts = append(opts, client.WithKey(cmd.Key))
	}
	switch {
	case cmd.Cmd == "request_all":
		all, settlement, err := a.c.RequestAll(ctx, to, cmd.Event, data, opts...)
		if err != nil {
			return nil, err
		}
		replies := []any{}
		for _, m := range all {
			replies = append(replies, reply(m))
		}
		return map[string]any{"replies": replies, "settlement": settlement}, nil
	case cmd.Cmd == "stream":
		n := 0
		for m, err := range a.c.Stream(ctx, to, cmd.Event, data, opts...) {
			if err != nil {
				return nil, err
			}
			line := reply(m)
			line["event"], line["id"], line["more"] = "reply", m.ID, m.More
			a.print(line)
			if n++; n == cmd.Replies {
				break
			}
		}
		return nil, nil
	case cmd.Replies == 1:
		m, err := a.c.Request(ctx, to, cmd.Event, data, opts...)
		if err != nil {
			return nil, err
		}
		return map[string]any{"replies": []any{m.Data}}, nil
	}
	replies := []any{}
	for m, err := range a.c.RequestMany(ctx, to, cmd.Event, data, cmd.Replies, opts...) {
		if err != nil {
			return nil, err
		}
		replies = append(replies, m.Data)
	}
	return map[string]any{"replies": replies}, nil
}

// reply returns what a REPLY brings.
func reply(m *client.Message) map[string]any {
	if m.Err != nil {
		return map[string]any{"error": describe(m.Err)}
	}
	return map[string]any{"data": m.Data}
}

func (a *adapter) connect(ctx context.Context, o options) (any, error) {
	millis := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	opts := client.Options{
		URL: o.URL, Token: o.Token, Group: o.Group, Groups: o.Groups, Name: o.Name, Version: o.Version, Meta: o.Meta,
		NoEcho: isFalse(o.Echo), NoAcks: isFalse(o.Acks), NoDrain: isFalse(o.Drain),
		StopOnAuthError: o.StopOnAuthError, FailFast: o.FailFast, ConnectTimeout: millis(o.ConnectTimeoutMS),
		MinBackoff: millis(o.MinBackoffMS), MaxBackoff: millis(o.MaxBackoffMS), SendQueue: o.SendQueue, ReceiveQueue: o.ReceiveQueue,
		On:     map[string]client.Handler{},
		Logger: slog.New(logHandler{a}),
		OnConnect: func(id client.Identity) {
			a.print(map[string]any{"event": "connected", "id": id.ID})
		},
		OnDisconnect: func(reason error) {
			a.print(map[string]any{"event": "disconnected", "error": describe(reason)})
		},
		OnError: func(err *client.HubError) {
			a.print(map[string]any{"event": "error", "error": describe(err), "id": err.ID, "name": err.Event, "to": err.Intent.String()})
		},
	}
	a.recovers(&opts, o)
	if next := 0; o.Tokens != nil {
		opts.TokenSource = func(context.Context) (string, error) {
			token := o.Tokens[min(next, len(o.Tokens)-1)]
			next++
			return token, nil
		}
	}
	for event, does := range o.Handlers {
		opts.On[event] = a.handler(does)
	}
	if o.OnMessage {
		opts.OnMessage = a.handler("record")
	}
	c, err := client.Connect(ctx, opts)
	if err != nil {
		return nil, err
	}
	a.c = c
	go func() {
		<-c.Done()
		a.print(map[string]any{"event": "ended", "error": describe(c.Err())})
	}()
	return identity(c.Identity()), nil
}

// recovers sets the options of groups with history.
func (a *adapter) recovers(opts *client.Options, o options) {
	opts.Recover, opts.NoHistory = o.Recover, isFalse(o.History)
	opts.OnGap = func(g client.Gap) {
		a.print(map[string]any{"event": "gap", "group": g.Group, "reason": g.Reason, "epoch": g.Epoch, "offset": g.Offset})
	}
	if o.Positions == nil {
		return
	}
	opts.PositionsEvery = time.Duration(o.PositionsEveryMS) * time.Millisecond
	opts.Positions = &store{a: a, kept: o.Positions, fail: o.PositionsFail}
	opts.OnPositionsError = func(err error) {
		a.print(map[string]any{"event": "positions_failed", "error": describe(err)})
	}
}

// store keeps positions in the scenario.
type store struct {
	a    *adapter
	kept map[string]client.Position
	fail int
}

func (s *store) Load(context.Context) (map[string]client.Position, error) { return s.kept, nil }

func (s *store) Save(_ context.Context, all map[string]client.Position) error {
	if s.fail > 0 {
		s.fail--
		return errors.New("no space left")
	}
	s.a.print(map[string]any{"event": "saved", "positions": all})
	return nil
}

// changeGroups does the commands about groups and their members.
func (a *adapter) changeGroups(ctx context.Context, cmd command) (any, error) {
	switch cmd.Cmd {
	case "subscribe":
		return nil, a.c.Subscribe(ctx, cmd.Groups...)
	case "unsubscribe":
		return nil, a.c.Unsubscribe(ctx, cmd.Groups...)
	case "set_meta":
		return nil, a.c.SetMeta(ctx, cmd.Meta)
	case "set_weight":
		return nil, a.c.SetWeight(ctx, cmd.Weight)
	case "groups":
		return map[string]any{"groups": slices.Sorted(slices.Values(a.c.Groups()))}, nil
	case "unwatch":
		a.mu.Lock()
		w := a.watches[cmd.Group]
		a.mu.Unlock()
		return nil, w.Close(ctx)
	case "hold", "held", "release_hold":
		return a.hold(ctx, cmd)
	}
	w, err := a.c.Watch(ctx, cmd.Group, client.WatchOptions{OnChange: a.presence})
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.watches[cmd.Group] = w
	return nil, nil
}

// hold does the commands about exclusive groups.
func (a *adapter) hold(ctx context.Context, cmd command) (any, error) {
	a.mu.Lock()
	h := a.holds[cmd.Group]
	a.mu.Unlock()
	switch cmd.Cmd {
	case "held":
		return map[string]any{"term": h.Term(), "left": h.Left() > 0}, nil
	case "release_hold":
		return nil, h.Release(ctx)
	}
	h, err := a.c.Hold(ctx, cmd.Group)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(h.Context(), func() { a.print(map[string]any{"event": "hold_lost", "group": cmd.Group}) })
	a.mu.Lock()
	defer a.mu.Unlock()
	a.holds[cmd.Group] = h
	return map[string]any{"term": h.Term()}, nil
}

// presence writes what changed in a group, and who is in it.
func (a *adapter) presence(w *client.Watch, change client.PresenceChange) {
	left, moved := []any{}, []any{}
	for _, l := range change.Left {
		left = append(left, map[string]any{"id": l.Member.ID, "reason": l.Reason})
	}
	for _, m := range change.Moved {
		moved = append(moved, map[string]any{"from": m.From, "to": m.To.ID})
	}
	line := map[string]any{
		"event": "presence", "group": w.Group(), "joined": ids(change.Joined), "updated": ids(change.Updated), "left": left, "moved": moved,
		"members": ids(w.Members()), "missing": append([]string{}, w.Missing()...),
	}
	if n, named := w.Count(); !named {
		line["count"] = n
	}
	a.print(line)
}

func ids(members []client.Member) []string {
	all := []string{}
	for _, m := range members {
		all = append(all, m.ID)
	}
	slices.Sort(all)
	return all
}

func isFalse(b *bool) bool { return b != nil && !*b }

func identity(id client.Identity) map[string]any {
	return map[string]any{
		"id": id.ID, "node": id.Node, "ping": id.Ping.Milliseconds(), "max_message_bytes": id.MaxMessageBytes, "features": id.Features,
		"session_started": id.SessionStarted.UnixMilli(),
	}
}

// handler returns a handler by the name of what it does.
func (a *adapter) handler(does string) client.Handler {
	return func(ctx context.Context, m *client.Message) {
		a.mu.Lock()
		a.counts[m.Event]++
		a.mu.Unlock()
		switch does {
		case "record", "wait", "later":
			line := map[string]any{
				"event": "message", "op": m.Op, "id": m.ID, "name": m.Event, "data": m.Data, "sender": m.Sender, "to": m.Intent.String(),
				"attempt": max(m.Attempt, 1),
			}
			if m.Offset > 0 {
				line["offset"] = m.Offset
			}
			a.print(line)
		case "reply":
			a.reply(ctx, m)
		case "throw":
			panic("the handler failed")
		case "pass":
			m.Pass()
		case "answer", "fail":
			client.HandleFunc(func(context.Context, *client.Message) (any, error) {
				if does == "fail" {
					return nil, fmt.Errorf("no disk: %w", &client.RemoteError{Code: "FULL", Message: "no space left"})
				}
				return m.Data, nil
			})(ctx, m)
		case "stream":
			_ = m.ReplyMore(ctx, 1)
			_ = m.ReplyMore(ctx, 2)
			_ = m.Reply(ctx, 3)
		}
		switch does {
		case "wait":
			select {
			case <-a.release:
			case <-ctx.Done():
			}
		case "later":
			go func() {
				select {
				case <-a.release:
					a.reply(context.WithoutCancel(ctx), m)
				case <-ctx.Done():
					a.print(map[string]any{"event": "over", "id": m.ID})
					<-a.release
					a.reply(context.WithoutCancel(ctx), m)
				}
			}()
		}
	}
}

func (a *adapter) reply(ctx context.Context, m *client.Message) {
	if err := m.Reply(ctx, m.Data); err != nil {
		a.print(map[string]any{"event": "reply_failed", "id": m.ID, "error": describe(err)})
	}
}

// kinds names the errors that can be told apart. Of two that match the first counts.
var kinds = []struct {
	err  error
	kind string
}{
	{client.ErrNoReceiver, "no_receiver"},
	{client.ErrReceiverGone, "receiver_gone"},
	{client.ErrForbidden, "forbidden"},
	{client.ErrBrokerUnavailable, "broker_unavailable"},
	{client.ErrOverloaded, "overloaded"},
	{client.ErrOutcomeUnknown, "outcome_unknown"},
	{client.ErrTooBig, "too_big"},
	{client.ErrDuplicateID, "duplicate_id"},
	{client.ErrNoAcks, "no_acks"},
	{client.ErrNoGroups, "unsupported"},
	{client.ErrNoPresence, "unsupported"},
	{client.ErrNoExclusive, "unsupported"},
	{client.ErrTooManyReplies, "too_many_replies"},
	{client.ErrTooManyRequests, "too_many_requests"},
	{client.ErrRequestOver, "request_over"},
	{client.ErrOptions, "options"},
	{client.ErrSilent, "silent"},
	{client.ErrClosed, "closed"},
	{context.DeadlineExceeded, "timeout"},
	{context.Canceled, "cancelled"},
}

func describe(err error) map[string]any {
	d := map[string]any{"kind": "other", "text": err.Error()}
	var shake *client.HandshakeError
	var end *client.DisconnectError
	var hub *client.HubError
	var group *client.GroupError
	var remote *client.RemoteError
	var unanswered *client.RequestError
	switch {
	case errors.As(err, &remote):
		return map[string]any{"kind": "remote", "code": remote.Code, "message": remote.Message, "text": err.Error()}
	case errors.As(err, &unanswered):
		d["kind"], d["settlement"] = "no_answer", unanswered.Settlement
	case errors.As(err, &shake):
		d["kind"], d["status"] = "handshake", shake.Status
	case errors.As(err, &end):
		d["reason"], d["code"] = end.Reason, end.Code
		d["kind"] = "disconnected"
	case errors.As(err, &group):
		return map[string]any{"kind": "group", "code": string(group.Code), "group": group.Group, "text": err.Error()}
	case errors.As(err, &hub):
		d["kind"], d["code"] = "hub", string(hub.Code)
	}
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			d["kind"] = k.kind
			break
		}
	}
	return d
}

// logHandler reports what the SDK logs as warnings and errors.
type logHandler struct{ a *adapter }

func (h logHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }
func (h logHandler) WithAttrs([]slog.Attr) slog.Handler           { return h }
func (h logHandler) WithGroup(string) slog.Handler                { return h }

func (h logHandler) Handle(_ context.Context, r slog.Record) error {
	h.a.print(map[string]any{"event": "log", "level": strings.ToLower(r.Level.String()), "text": r.Message})
	return nil
}
