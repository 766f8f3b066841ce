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

	"github.com/mastersocket/mastersocket/hub"
)

// Times of a tail.
const (
	tailPace  = 250 * time.Millisecond // between writes: what came meanwhile leaves together, and nobody wakes a goroutine for it
	tailBeat  = time.Second            // between counts, and between looks whether the token is still in force
	tailQuiet = 10 * time.Second       // after which counts are sent though nothing changed
	tailWrite = 10 * time.Second       // that a write may take
)

type tailQuery struct {
	Group     string `query:"group" maxLength:"128" doc:"Events that are sent to this group (GROUP), on any instance."`
	Global    bool   `query:"global" doc:"Instead of a group: events that are sent to everybody (GLOBAL)."`
	Event     string `query:"event" maxLength:"128" doc:"Only events with this name."`
	PerSecond int    `query:"per_second" minimum:"1" maximum:"500" default:"50" doc:"How many to show in a second at most."`
}

// TailOpen is the data of the first event of a tail.
type TailOpen struct {
	Node      string `json:"node" doc:"The instance that watches."`
	Group     string `json:"group,omitempty"`
	Global    bool   `json:"global"`
	Event     string `json:"event,omitempty"`
	PerSecond int    `json:"per_second"`
}

// TailMessage is the data of an event message.
type TailMessage struct {
	At      time.Time       `json:"at"`
	Message json.RawMessage `json:"message" doc:"The envelope as its receivers get it."`
}

// TailCounts is the data of an event counts.
type TailCounts struct {
	Seen    uint64 `json:"seen" doc:"Events that passed since the tail was opened."`
	LeftOut uint64 `json:"left_out" doc:"Those among them that are not shown: beyond per_second, or because the reader was slow. Where events are chosen by their name, 1000 a second are looked at and the others left out."`
}

func (a *api) registerTail(h huma.API) {
	op := a.operation(tailOperation, http.MethodGet, "/v1/tail", "Watch events",
		"A stream (text/event-stream) of a sample of the events that are sent to a group, or to everybody, on all instances, from now "+
			"on. The stream has events open (once, first), message, and counts (once a second when they change), whose data is JSON: "+
			"the schemas TailOpen, TailMessage and TailCounts. Watching never slows the hub: what the reader does not take is left "+
			"out and counted. The stream ends with the token's rights, and with the instance.")
	op.Responses = map[string]*huma.Response{
		"200": {Description: "OK", Content: map[string]*huma.MediaType{"text/event-stream": {Schema: &huma.Schema{Type: huma.TypeString}}}},
	}
	huma.Register(h, op, a.tail)
	schemas := h.OpenAPI().Components.Schemas
	for _, v := range []any{TailOpen{}, TailMessage{}, TailCounts{}} {
		t := reflect.TypeOf(v)
		schemas.Schema(t, true, t.Name())
	}
}

func (a *api) tail(ctx context.Context, q *tailQuery) (*huma.StreamResponse, error) {
	if (q.Group != "") == q.Global {
		return nil, problem(http.StatusUnprocessableEntity, "name a group, or global=true, and not both")
	}
	tap, err := a.hub.Tap(ctx, hub.TapOptions{Group: q.Group, Event: q.Event, PerSecond: q.PerSecond})
	switch {
	case errors.Is(err, hub.ErrTooManyTaps):
		return nil, retryLater(http.StatusServiceUnavailable, err.Error())
	case err != nil:
		return nil, problem(http.StatusUnprocessableEntity, err.Error())
	}
	caller := callerOf(ctx)
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		defer tap.Close()
		hc.SetHeader("Content-Type", "text/event-stream")
		hc.SetHeader("Cache-Control", "no-store")
		hc.SetHeader("X-Accel-Buffering", "no") // proxies must not collect it
		w, ok := hc.BodyWriter().(http.ResponseWriter)
		if !ok {
			return
		}
		s := stream{w: w, control: http.NewResponseController(w)}
		hc.SetStatus(http.StatusOK)
		a.follow(ctx, &s, tap, caller, TailOpen{a.hub.Node().Name, q.Group, q.Global, q.Event, q.PerSecond})
	}}, nil
}

// follow writes what the tap shows until the reader goes, its token is revoked, or the server ends.
func (a *api) follow(ctx context.Context, s *stream, tap *hub.Tap, c *caller, open TailOpen) {
	if s.add("open", open); s.flush() != nil {
		return
	}
	pace := time.NewTicker(tailPace)
	defer pace.Stop()
	var last TailCounts
	var told, beat time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.ended:
			return
		case now := <-pace.C:
			s.take(tap)
			if now.Sub(beat) < tailBeat {
				break
			}
			beat = now
			if g, ok := a.hub.Current(c.grant); !ok || !g.Admin || c.ended(now) {
				return
			}
			var counts TailCounts
			if counts.Seen, counts.LeftOut = tap.Counts(); counts != last || now.Sub(told) >= tailQuiet {
				last, told = counts, now
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

// take adds what the tap has.
func (s *stream) take(tap *hub.Tap) {
	now := time.Now().UTC().Format(time.RFC3339Nano)
	for {
		select {
		case m := <-tap.Messages():
			s.message(now, m)
			tap.Took(m)
		default:
			return
		}
	}
}

// message adds a TailMessage. It is made one line: nothing that a client sent can be taken for an event of its own. What
// the hub delivers is JSON, so that line breaks can only stand between its tokens.
func (s *stream) message(at string, m []byte) {
	s.buf.WriteString("event: message\ndata: {\"at\":\"" + at + "\",\"message\":")
	if bytes.ContainsAny(m, "\r\n") {
		_ = json.Compact(&s.buf, m) // never fails: it is JSON
	} else {
		s.buf.Write(m)
	}
	s.buf.WriteString("}\n\n")
}

// add adds one event.
func (s *stream) add(name string, data any) {
	b, err := json.Marshal(data)
	if err != nil {
		return // no value of ours can't be written
	}
	fmt.Fprintf(&s.buf, "event: %s\ndata: %s\n\n", name, b)
}

// flush sends what was added.
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
