package admin

import (
	"context"
	"net/http"
	"reflect"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/hub"
)

// followOperation is the stream of the event log.
const followOperation = "follow-log"

// Bounds of a stream of the event log.
const (
	maxFollowers = 8
	followPace   = time.Second // between questions to the instances
	followMost   = 200         // events of one instance in one pace
)

// LogQuery selects events of the event log.
type LogQuery struct {
	Kind    []string `query:"kind" enum:"connected,identify_failed,disconnected,slow_consumer,kicked,broker,node,drain,rebalance,reload,operation" doc:"Only events of these kinds, separated by commas."`
	Reason  string   `query:"reason" maxLength:"64" doc:"Only events with this reason." example:"SLOW_CONSUMER"`
	Client  string   `query:"client" maxLength:"36" doc:"Only events of the client with this id."`
	Name    string   `query:"name" maxLength:"256" doc:"Only events of clients with this name; a trailing * matches any rest."`
	Token   string   `query:"token" maxLength:"256" doc:"Only events of clients with the token of this name."`
	Group   string   `query:"group" maxLength:"128" doc:"Only events of clients whose first group this is."`
	Address string   `query:"address" maxLength:"64" doc:"Only events of clients from this IP address."`
	Node    string   `query:"node" maxLength:"128" doc:"Only events of the instance with this name."`
}

func (q *LogQuery) filter() hub.LogFilter {
	return hub.LogFilter{
		Kinds: q.Kind, Reason: q.Reason, Client: q.Client, Name: q.Name, Token: q.Token, Group: q.Group, Address: q.Address, Node: q.Node,
	}
}

// LogList is a page of the event log.
type LogList struct {
	NextPage
	Listed
	Entries []hub.LogEntry `json:"entries" nullable:"false" doc:"The newest event first."`
}

// LogOpen is the data of the first event of a stream of the event log.
type LogOpen struct {
	Node string `json:"node" doc:"The instance that collects the events."`
}

// LogLeftOut is the data of an event left_out.
type LogLeftOut struct {
	Count int `json:"count" doc:"Events that match and are not shown, as an instance had more than 200 in a second."`
}

func (a *api) registerLog(h huma.API) {
	huma.Register(h, a.operation("log", http.MethodGet, "/v1/log", "The event log",
		"What happened of late on all instances, the newest event first, in pages: clients that connected, failed to identify and "+
			"disconnected, slow consumers, changes of the broker, drains, reloads, operations. Each instance keeps its last 10,000 "+
			"usual connects and disconnects, and its last 2,000 other events, in memory: those of instances that have ended are gone."),
		a.logPage)
	op := a.operation(followOperation, http.MethodGet, "/v1/log/stream", "Follow the event log",
		"A stream (text/event-stream) of what happens from now on. It consists of the events open (once, first), entry, and "+
			"left_out. Their data is JSON: the schemas LogOpen, LogEntry and LogLeftOut. The instances are asked once a second. The "+
			"stream ends with the token's rights and with the instance.")
	op.Responses = streamResponses()
	huma.Register(h, op, a.followLog)
	schemas := h.OpenAPI().Components.Schemas
	for _, v := range []any{LogOpen{}, LogLeftOut{}} {
		t := reflect.TypeOf(v)
		schemas.Schema(t, true, t.Name())
	}
}

// streamResponses are the responses of an operation that streams.
func streamResponses() map[string]*huma.Response {
	return map[string]*huma.Response{
		"200": {Description: "OK", Content: map[string]*huma.MediaType{"text/event-stream": {Schema: &huma.Schema{Type: huma.TypeString}}}},
	}
}

func (a *api) logPage(ctx context.Context, q *struct {
	PageQuery
	LogQuery
}) (*body[LogList], error) {
	ctx, cancel := a.gathering(ctx)
	defer cancel()
	page, err := a.hub.EventLog(ctx, q.filter(), q.Cursor, q.Limit)
	if err != nil {
		return nil, hubProblem(err)
	}
	return &body[LogList]{LogList{cursorOf(page.Next), listed(page.Missing), orEmpty(page.Entries)}}, nil
}

func (a *api) followLog(ctx context.Context, q *LogQuery) (*huma.StreamResponse, error) {
	if a.followers.Add(1) > maxFollowers {
		a.followers.Add(-1)
		return nil, retryLater(http.StatusServiceUnavailable, "too many streams of the event log are open")
	}
	follower := a.hub.FollowLog(q.filter())
	c := callerOf(ctx)
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		defer a.followers.Add(-1)
		s, ok := openStream(hc)
		if !ok {
			return
		}
		if s.add("open", LogOpen{a.hub.Node().Name}); s.flush() != nil {
			return
		}
		pace := time.NewTicker(followPace)
		defer pace.Stop()
		for quiet := time.Duration(0); ; {
			select {
			case <-ctx.Done():
				return
			case <-a.ended:
				return
			case now := <-pace.C:
				if !a.mayWatch(c, now) {
					return
				}
			}
			if a.addEvents(ctx, s, follower) {
				quiet = 0
			} else if quiet += followPace; quiet >= tailQuiet {
				quiet = 0
				s.buf.WriteString(": nothing happened\n\n") // so that the end of the connection is noticed
			}
			if s.flush() != nil {
				return
			}
		}
	}}, nil
}

// addEvents adds what happened since the last call, and reports whether anything did.
func (a *api) addEvents(ctx context.Context, s *stream, f *hub.LogFollower) bool {
	ctx, cancel := context.WithTimeout(ctx, followPace)
	defer cancel()
	entries, leftOut, err := f.Next(ctx, followMost)
	if err != nil {
		return false // the next call tells it
	}
	for i := range entries {
		s.add("entry", &entries[i])
	}
	if leftOut > 0 {
		s.add("left_out", LogLeftOut{leftOut})
	}
	return len(entries)+leftOut > 0
}

// mayWatch reports whether the caller of a stream may still look.
func (a *api) mayWatch(c *caller, now time.Time) bool {
	g, ok := a.hub.Current(c.grant)
	return ok && g.Admin != auth.NoAdmin && !c.ended(now)
}

// unrecorded are the operations that change something and are not in the event log: it would be full of them.
var unrecorded = []string{"publish"}

// record adds an operation of an operator to the event log.
func (a *api) record(operation, subject, result, token string) {
	if !slices.Contains(unrecorded, operation) {
		a.hub.Record(hub.LogOperation, result, operation+" "+subject, token)
	}
}
