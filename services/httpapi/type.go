// Package httpapi serves HTTP for those who hold no socket: a script, a function or a backend publishes events and sends
// requests with an ordinary token.
//
//	POST /v1/events    one event, or an array of them
//	POST /v1/requests  a request; the answer has the replies
//
// A call has the rights and the limits of its token, as a client of the hub's own protocol has. It needs no connection of its
// own: [hub.ServiceLoop.PublishAs] sends an event. A request is a client for the time that it is open, so that
// replies find it.
//
// # Ownership
//
// A call belongs to the loop of its HTTP connection. Nothing is locked.
package httpapi

import (
	"sync/atomic"

	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/transport"
)

// The paths.
const (
	eventsPath   = "/v1/events"
	requestsPath = "/v1/requests"
)

const (
	// maxEvents bounds the events of one call.
	maxEvents = 1000
	// bodyMessages is how many messages of the largest size fit into the body of one call.
	bodyMessages = 32
)

// Type serves HTTP on one hub. It implements hub.ServiceType.
type Type struct {
	hub   *hub.Hub // set by the first Attach
	count counters
}

// counters are what happened since the start.
type counters struct {
	events, refusedEvents                           atomic.Uint64
	requests, unansweredRequests, cancelledRequests atomic.Uint64
	refusedCalls, omittedReplies                    atomic.Uint64
	replyBytes                                      atomic.Int64
}

var _ interface {
	hub.ServiceType
	hub.RequestService
	hub.BodyLimiter
	hub.Meter
} = (*Type)(nil)

// New returns a Type for one hub.
func New() *Type { return &Type{} }

// Name implements hub.ServiceType.
func (*Type) Name() string { return "http" }

// Serves implements hub.ServiceType.
func (*Type) Serves(path []byte) bool {
	return string(path) == eventsPath || string(path) == requestsPath
}

// LoopFor implements hub.RequestService: any loop handles any call.
func (*Type) LoopFor(*transport.Request) int { return -1 }

// MaxBodyBytes implements hub.BodyLimiter.
func (t *Type) MaxBodyBytes() int { return bodyMessages * t.hub.MaxMessageBytes() }

// Attach implements hub.ServiceType.
func (t *Type) Attach(on *hub.ServiceLoop) hub.LoopService {
	t.hub = on.Hub()
	return &loop{all: t, on: on, count: &t.count}
}

// Metrics implements hub.Meter.
func (t *Type) Metrics() []hub.Metric {
	c := &t.count
	var all []hub.Metric
	for _, m := range []struct {
		name, help string
		value      *atomic.Uint64
	}{
		{"events_total", "Events that were taken.", &c.events},
		{"refused_events_total", "Events that were not taken.", &c.refusedEvents},
		{"requests_total", "Requests that were sent.", &c.requests},
		{"unanswered_requests_total", "Requests without a reply: none came in time, or there was no receiver.", &c.unansweredRequests},
		{"cancelled_requests_total", "Requests whose callers hung up.", &c.cancelledRequests},
		{"omitted_replies_total", "Replies for which an answer, or the memory for answers, had no room.", &c.omittedReplies},
		{"refused_calls_total", "Calls that were refused as a whole: by method, content type, origin, token or content.", &c.refusedCalls},
	} {
		all = append(all, hub.Metric{Name: m.name, Help: m.help, Counter: true, Value: float64(m.value.Load())})
	}
	return append(all, hub.Metric{Name: "reply_bytes", Help: "Replies that wait for the rest of their answers, in bytes.", Value: float64(c.replyBytes.Load())})
}
