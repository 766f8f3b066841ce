package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/hub"
)

// Times of a tail.
const (
	tailPace  = 250 * time.Millisecond // between writes: a timer batches them, so that no message wakes a goroutine
	tailBeat  = time.Second            // between counts, and between checks of the token
	tailQuiet = 10 * time.Second       // after which unchanged counts are repeated
	tailWrite = 10 * time.Second       // bound of one write
)

type tailQuery struct {
	Group     string `query:"group" maxLength:"128" doc:"Events to this group (GROUP), from any instance."`
	Global    bool   `query:"global" doc:"Instead of a group: events to all clients (GLOBAL)."`
	Client    string `query:"client" maxLength:"36" doc:"Instead of a group: what the client with this id sends and gets, whatever the target."`
	Token     string `query:"token" maxLength:"256" doc:"Instead of a group: what the clients with the token of this name send and get."`
	Event     string `query:"event" maxLength:"128" doc:"Only events with this name."`
	PerSecond int    `query:"per_second" minimum:"1" maximum:"500" default:"50" doc:"Bound of the events shown in a second."`
}

// TailOpen is the data of the first event of a tail.
type TailOpen struct {
	Node      string `json:"node" doc:"The instance that watches."`
	Group     string `json:"group,omitempty"`
	Global    bool   `json:"global"`
	Client    string `json:"client,omitempty"`
	Token     string `json:"token,omitempty"`
	Event     string `json:"event,omitempty"`
	PerSecond int    `json:"per_second"`

	Missing []string `json:"missing,omitempty" doc:"Of a token: names of the instances that did not answer, or are of a release that can't show messages of clients."`
}

// TailMessage is the data of an event message.
type TailMessage struct {
	At      time.Time       `json:"at"`
	Message json.RawMessage `json:"message" doc:"The envelope as receivers get it; from a client that is watched, as it sent it."`

	SenderName string     `json:"sender_name,omitempty" doc:"Name of the client that the message is from, if it is known."`
	Direction  string     `json:"direction,omitempty" enum:"in,out" doc:"Of a client, or the clients of a token, that are watched: in is from the client, out is to it."`
	Client     *uuid.UUID `json:"client,omitempty" format:"uuid" doc:"Likewise: the client."`
	ClientName string     `json:"client_name,omitempty" doc:"Likewise: its name."`
	ClientNode string     `json:"client_node,omitempty" doc:"Likewise: name of its instance."`
}

// TailCounts is the data of an event counts.
type TailCounts struct {
	Seen    uint64 `json:"seen" doc:"Events since the tail was opened."`
	LeftOut uint64 `json:"left_out" doc:"Events that are not shown: beyond per_second, or because the reader was slow. With a filter by name the hub examines 1000 events a second and leaves out the others."`
}

func (a *api) registerTail(h huma.API) {
	op := a.operation(tailOperation, http.MethodGet, "/v1/tail", "Watch events",
		"A stream (text/event-stream) of a sample of the events to a group, or to all clients, or of all that one client, or the "+
			"clients of a token, send and get, from all instances. It consists of "+
			"the events open (once, first), message, and counts (once a second when they change). Their data is JSON: the schemas "+
			"TailOpen, TailMessage and TailCounts. A tail never slows the hub: messages that the reader does not take are left out "+
			"and counted. The stream ends with the token's rights and with the instance.", http.StatusNotFound, http.StatusNotImplemented, http.StatusGatewayTimeout)
	op.Responses = streamResponses()
	huma.Register(h, op, a.tail)
	schemas := h.OpenAPI().Components.Schemas
	for _, v := range []any{TailOpen{}, TailMessage{}, TailCounts{}} {
		t := reflect.TypeOf(v)
		schemas.Schema(t, true, t.Name())
	}
}

func (a *api) tail(ctx context.Context, q *tailQuery) (*huma.StreamResponse, error) {
	chosen := 0
	for _, is := range []bool{q.Group != "", q.Global, q.Client != "", q.Token != ""} {
		if is {
			chosen++
		}
	}
	if chosen != 1 {
		return nil, problem(http.StatusUnprocessableEntity, "one of group, global=true, client and token is required, and no more")
	}
	tap, err := a.openTap(ctx, q)
	switch {
	case errors.Is(err, hub.ErrTooManyTaps):
		return nil, retryLater(http.StatusServiceUnavailable, err.Error())
	case errors.Is(err, hub.ErrClientNotFound), errors.Is(err, hub.ErrSilent):
		return nil, hubProblem(err)
	case errors.Is(err, hub.ErrNoClientTaps):
		return nil, problem(http.StatusNotImplemented, err.Error())
	case err != nil:
		return nil, problem(http.StatusUnprocessableEntity, err.Error())
	}
	caller := callerOf(ctx)
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		defer tap.Close()
		s, ok := openStream(hc)
		if !ok {
			return
		}
		a.follow(ctx, s, tap, caller, TailOpen{
			Node: a.hub.Node().Name, Group: q.Group, Global: q.Global, Client: q.Client, Token: q.Token, Event: q.Event, PerSecond: q.PerSecond,
			Missing: tap.Missing(),
		})
	}}, nil
}

// tailSource is what a tail shows.
type tailSource interface {
	// next returns the messages since the last call.
	next(ctx context.Context) []TailMessage
	Counts() (seen, leftOut uint64)
	Missing() []string // instances that are known not to take part
	Close()
}

// openTap begins to watch what is asked for.
func (a *api) openTap(ctx context.Context, q *tailQuery) (tailSource, error) {
	if q.Client == "" && q.Token == "" {
		tap, err := a.hub.Tap(ctx, hub.TapOptions{Group: q.Group, Event: q.Event, PerSecond: q.PerSecond})
		if err != nil {
			return nil, err
		}
		return groupTail{tap}, nil
	}
	o := hub.ClientTapOptions{Token: q.Token, PerSecond: q.PerSecond}
	if q.Client != "" {
		id, err := uuid.Parse(q.Client)
		if err != nil {
			return nil, errors.New("client is not a UUID")
		}
		o.Client = id
	}
	ctx, cancel := a.gathering(ctx)
	defer cancel()
	tap, err := a.hub.TapClient(ctx, o)
	if err != nil {
		return nil, err
	}
	return clientTail{tap, q.Event}, nil
}

// groupTail shows what is sent to a group, or to all clients.
type groupTail struct{ *hub.Tap }

// Missing implements tailSource.
func (groupTail) Missing() []string { return nil }

func (t groupTail) next(context.Context) (all []TailMessage) {
	now := time.Now().UTC()
	for {
		select {
		case m := <-t.Messages():
			all = append(all, TailMessage{At: now, Message: m})
			t.Took(m)
		default:
			return all
		}
	}
}

// clientTail shows what clients send and get.
type clientTail struct {
	*hub.ClientTap
	event string // only events of this name; empty for all
}

// tailGather is how long a tail waits for other instances, which it asks every tailPace.
const tailGather = 500 * time.Millisecond

func (t clientTail) next(ctx context.Context) (all []TailMessage) {
	ctx, cancel := context.WithTimeout(ctx, tailGather)
	defer cancel()
	found, err := t.Next(ctx)
	if err != nil {
		return nil // the next call gets them
	}
	for i := range found {
		m := &found[i]
		if t.event != "" && eventOf(m.Message) != t.event {
			continue
		}
		direction := "in"
		if m.Out {
			direction = "out"
		}
		all = append(all, TailMessage{At: m.At, Message: m.Message, Direction: direction, Client: &m.Client, ClientName: m.Name, ClientNode: m.Node})
	}
	return all
}

func eventOf(message []byte) string {
	var m struct {
		Event string `json:"event"`
	}
	_ = json.Unmarshal(message, &m) // it has none if it can't be read
	return m.Event
}

// senderNames finds the names of the senders of messages. It remembers some.
type senderNames struct {
	hub   *hub.Hub
	known map[uuid.UUID]string
}

// Bounds of senderNames.
const (
	maxSenderNames = 1000
	namesAtOnce    = 8 // looked up for one batch of messages
	nameWait       = 100 * time.Millisecond
)

// add adds the names of senders to messages, as far as they are found in time.
func (n *senderNames) add(ctx context.Context, messages []TailMessage) {
	looked := 0
	for i := range messages {
		m := &messages[i]
		if m.Direction == "in" {
			m.SenderName = m.ClientName
			continue
		}
		var from struct {
			Sender uuid.UUID `json:"sender"`
		}
		if json.Unmarshal(m.Message, &from) != nil || from.Sender == uuid.Nil {
			continue
		}
		name, ok := n.known[from.Sender]
		if !ok && looked < namesAtOnce {
			looked++
			within, cancel := context.WithTimeout(ctx, nameWait)
			c, err := n.hub.Client(within, from.Sender)
			cancel()
			if err == nil || errors.Is(err, hub.ErrClientNotFound) {
				if len(n.known) >= maxSenderNames || n.known == nil {
					n.known = make(map[uuid.UUID]string)
				}
				name, n.known[from.Sender] = c.Name, c.Name
			}
		}
		m.SenderName = name
	}
}

// follow writes the tap's messages until the reader disconnects, its token is revoked or expires, or the server ends.
func (a *api) follow(ctx context.Context, s *stream, tap tailSource, c *caller, open TailOpen) {
	if s.add("open", open); s.flush() != nil {
		return
	}
	pace := time.NewTicker(tailPace)
	defer pace.Stop()
	names := senderNames{hub: a.hub}
	var last TailCounts
	var counted, beat time.Time // of the last counts written, and of the last check
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.ended:
			return
		case now := <-pace.C:
			messages := tap.next(ctx)
			names.add(ctx, messages)
			for i := range messages {
				s.addMessage(&messages[i])
			}
			if now.Sub(beat) < tailBeat {
				break
			}
			beat = now
			if !a.mayWatch(c, now) {
				return
			}
			var counts TailCounts
			if counts.Seen, counts.LeftOut = tap.Counts(); counts != last || now.Sub(counted) >= tailQuiet {
				last, counted = counts, now
				s.add("counts", counts)
			}
		}
		if s.flush() != nil {
			return
		}
	}
}

// stream writes server-sent events.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	buf     bytes.Buffer
}

// openStream begins the response with a stream. It returns false if there is no response to write.
func openStream(hc huma.Context) (*stream, bool) {
	hc.SetHeader("Content-Type", "text/event-stream")
	hc.SetHeader("Cache-Control", "no-store")
	hc.SetHeader("X-Accel-Buffering", "no") // nginx buffers otherwise
	w, ok := hc.BodyWriter().(http.ResponseWriter)
	if !ok {
		return nil, false
	}
	hc.SetStatus(http.StatusOK)
	return &stream{w: w, control: http.NewResponseController(w)}, true
}

// addMessage adds a TailMessage on one line, so that no client can forge an event of the stream. Its message is JSON: line
// breaks can only stand between its tokens.
func (s *stream) addMessage(m *TailMessage) {
	message := m.Message
	m.Message = json.RawMessage("0")
	b, err := json.Marshal(m)
	if err != nil {
		return // the type marshals
	}
	before, after, _ := bytes.Cut(b, []byte(`"message":0`))
	s.buf.WriteString("event: message\ndata: ")
	s.buf.Write(before)
	s.buf.WriteString(`"message":`)
	if bytes.ContainsAny(message, "\r\n") {
		_ = json.Compact(&s.buf, message) // it is JSON
	} else {
		s.buf.Write(message)
	}
	s.buf.Write(after)
	s.buf.WriteString("\n\n")
}

// add adds an event of the stream.
func (s *stream) add(name string, data any) {
	b, err := json.Marshal(data)
	if err != nil {
		return // the types above all marshal
	}
	fmt.Fprintf(&s.buf, "event: %s\ndata: %s\n\n", name, b)
}

// flush writes the added events.
func (s *stream) flush() error {
	if s.buf.Len() == 0 {
		return nil
	}
	defer s.buf.Reset()
	if err := s.control.SetWriteDeadline(time.Now().Add(tailWrite)); err != nil {
		return fmt.Errorf("write to a tail: %w", err)
	}
	if _, err := s.w.Write(s.buf.Bytes()); err != nil {
		return fmt.Errorf("write to a tail: %w", err)
	}
	if err := s.control.Flush(); err != nil {
		return fmt.Errorf("write to a tail: %w", err)
	}
	return nil
}
