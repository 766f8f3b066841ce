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
	tailPace  = 250 * time.Millisecond // between writes: a timer batches them, so that no message wakes a goroutine
	tailBeat  = time.Second            // between counts, and between checks of the token
	tailQuiet = 10 * time.Second       // after which unchanged counts are repeated
	tailWrite = 10 * time.Second       // bound of one write
)

type tailQuery struct {
	Group     string `query:"group" maxLength:"128" doc:"Events to this group (GROUP), from any instance."`
	Global    bool   `query:"global" doc:"Instead of a group: events to all clients (GLOBAL)."`
	Event     string `query:"event" maxLength:"128" doc:"Only events with this name."`
	PerSecond int    `query:"per_second" minimum:"1" maximum:"500" default:"50" doc:"Bound of the events shown in a second."`
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
	Message json.RawMessage `json:"message" doc:"The envelope as receivers get it."`
}

// TailCounts is the data of an event counts.
type TailCounts struct {
	Seen    uint64 `json:"seen" doc:"Events since the tail was opened."`
	LeftOut uint64 `json:"left_out" doc:"Events that are not shown: beyond per_second, or because the reader was slow. With a filter by name the hub examines 1000 events a second and leaves out the others."`
}

func (a *api) registerTail(h huma.API) {
	op := a.operation(tailOperation, http.MethodGet, "/v1/tail", "Watch events",
		"A stream (text/event-stream) of a sample of the events to a group, or to all clients, from all instances. It consists of "+
			"the events open (once, first), message, and counts (once a second when they change). Their data is JSON: the schemas "+
			"TailOpen, TailMessage and TailCounts. A tail never slows the hub: messages that the reader does not take are left out "+
			"and counted. The stream ends with the token's rights and with the instance.")
	op.Responses = streamResponses()
	huma.Register(h, op, a.tail)
	schemas := h.OpenAPI().Components.Schemas
	for _, v := range []any{TailOpen{}, TailMessage{}, TailCounts{}} {
		t := reflect.TypeOf(v)
		schemas.Schema(t, true, t.Name())
	}
}

func (a *api) tail(ctx context.Context, q *tailQuery) (*huma.StreamResponse, error) {
	if (q.Group != "") == q.Global {
		return nil, problem(http.StatusUnprocessableEntity, "either group or global=true is required, not both")
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
		s, ok := openStream(hc)
		if !ok {
			return
		}
		a.follow(ctx, s, tap, caller, TailOpen{a.hub.Node().Name, q.Group, q.Global, q.Event, q.PerSecond})
	}}, nil
}

// follow writes the tap's messages until the reader disconnects, its token is revoked or expires, or the server ends.
func (a *api) follow(ctx context.Context, s *stream, tap *hub.Tap, c *caller, open TailOpen) {
	if s.add("open", open); s.flush() != nil {
		return
	}
	pace := time.NewTicker(tailPace)
	defer pace.Stop()
	var last TailCounts
	var counted, beat time.Time // of the last counts written, and of the last check
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.ended:
			return
		case now := <-pace.C:
			s.addMessages(tap)
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

// addMessages adds the messages that the tap holds.
func (s *stream) addMessages(tap *hub.Tap) {
	now := time.Now().UTC().Format(time.RFC3339Nano)
	for {
		select {
		case m := <-tap.Messages():
			s.addMessage(now, m)
			tap.Took(m)
		default:
			return
		}
	}
}

// addMessage adds a TailMessage on one line, so that no client can forge an event of the stream. m is JSON: line breaks
// can only stand between its tokens.
func (s *stream) addMessage(at string, m []byte) {
	s.buf.WriteString("event: message\ndata: {\"at\":\"" + at + "\",\"message\":")
	if bytes.ContainsAny(m, "\r\n") {
		_ = json.Compact(&s.buf, m) // m is JSON
	} else {
		s.buf.Write(m)
	}
	s.buf.WriteString("}\n\n")
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
