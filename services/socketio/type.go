// Package socketio serves Socket.IO 5 over Engine.IO 4, by WebSocket and by HTTP long polling, so that the client libraries of
// Socket.IO are clients of the hub.
//
// # Layers
//
//	packet, engineio   the wire formats, pure
//	session, polling, probe   a session of Engine.IO over its transports, and its move from one to the other
//	socket             a client of Socket.IO: its events are the hub's messages
//	application        clients whose events another package handles
//	loop, type         the service type, and its share of each loop
//
// # Ownership
//
// A session belongs to its loop, as the hub's clients do: nothing in it is locked. The sid of a session names its loop, and
// the transport brings each request there.
package socketio

import (
	"crypto/x509"
	"sync/atomic"
	"time"

	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/services/socketio/engineio"
	"github.com/mastersocket/mastersocket/transport"
)

// Path is where clients connect. Their libraries use it if nothing else is said.
const Path = "/socket.io/"

// The defaults of Options, which are those of Socket.IO's own server.
const (
	DefaultPingInterval = 25 * time.Second
	DefaultPingTimeout  = 20 * time.Second
)

// Options configure a Type. The zero value of a field means its default.
type Options struct {
	PingInterval time.Duration // between two pings; to the precision of the hub's sweeps
	PingTimeout  time.Duration // for the answer to a ping
	Application  Application   // of clients whose events are not the hub's; nil for none
	// ApplicationOnly: clients that the Application does not want are refused.
	ApplicationOnly bool
	// Authorities are those of the certificates of other instances, where these advertise addresses with https. nil: those of
	// the system.
	Authorities *x509.CertPool
}

// Type serves Socket.IO on one hub. It implements hub.ServiceType.
type Type struct {
	opts       Options
	path       string
	protocol   func(*session) protocol
	hub        *hub.Hub // set by the first Attach
	maxPayload int      // bytes of one answer to a GET, and of a POST
	relays     *relays
	made       time.Time

	attachTimeout, ackTimeout time.Duration // shorter in tests

	count counters
}

// counters are what happened since the start.
type counters struct {
	opened, openedPolling, upgrades                            atomic.Uint64
	refusedRequests, refusedPackets, pingTimeouts, ackTimeouts atomic.Uint64
	refusedEvents, refusedAcks                                 atomic.Uint64
	relayed, refusedRelays, failedRelays                       atomic.Uint64
}

var _ interface {
	hub.ServiceType
	hub.RequestService
	hub.Universal
	hub.Meter
	hub.Closer
} = (*Type)(nil)

// New returns a Type for one hub.
func New(o Options) *Type {
	if o.PingInterval == 0 {
		o.PingInterval = DefaultPingInterval
	}
	if o.PingTimeout == 0 {
		o.PingTimeout = DefaultPingTimeout
	}
	return &Type{opts: o, path: Path, protocol: newSocket, attachTimeout: attachTimeout, ackTimeout: ackTimeout, made: time.Now(), relays: newRelays(o.Authorities, o.PingInterval+o.PingTimeout+relayMargin)}
}

// uptime is the time since the Type was made.
func (t *Type) uptime() time.Duration { return time.Since(t.made) }

// Close implements hub.Closer.
func (t *Type) Close() { t.relays.close() }

// Name implements hub.ServiceType.
func (*Type) Name() string { return "socketio" }

// Serves implements hub.ServiceType.
func (t *Type) Serves(path []byte) bool { return string(path) == t.path }

// Universal implements hub.Universal: these clients get what is sent to all.
func (*Type) Universal() {}

// LoopFor implements hub.RequestService: a request goes to the loop of its session.
func (t *Type) LoopFor(r *transport.Request) int {
	id, ok := parseSID(engineio.SID(r.Query))
	if !ok {
		return -1
	}
	node, loop, _ := id.place()
	if node != t.node() || loop >= t.hub.Loops() {
		return -1
	}
	return loop
}

// node returns the number of the instance in sids.
func (t *Type) node() uint32 { return uint32(t.hub.Node().ID) }

// Attach implements hub.ServiceType.
func (t *Type) Attach(on *hub.ServiceLoop) hub.LoopService {
	t.hub = on.Hub()
	t.maxPayload = t.hub.MaxMessageBytes()
	t.relays.answer = maxAnswer(t.maxPayload)
	return &loop{all: t, on: on, count: &t.count, polled: make(map[uint32]*polling)}
}

// fieldsFor returns the header lines that let a page of an allowed origin read the answer.
func fieldsFor(r *transport.Request) string {
	if r.Origin == nil {
		return ""
	}
	return "Access-Control-Allow-Origin: " + string(r.Origin) + "\r\nAccess-Control-Allow-Credentials: true\r\nVary: Origin\r\n"
}

// preflightFields returns the header lines that answer what a browser asks before it sends a request.
func preflightFields(r *transport.Request) string {
	fields := "Access-Control-Allow-Methods: GET, POST\r\nAccess-Control-Max-Age: 600\r\n"
	if len(r.AskedFields) > 0 {
		fields += "Access-Control-Allow-Headers: " + string(r.AskedFields) + "\r\n"
	}
	return fields
}

// Metrics implements hub.Meter.
func (t *Type) Metrics() []hub.Metric {
	c := &t.count
	var all []hub.Metric
	for _, m := range []struct {
		name, help string
		value      *atomic.Uint64
	}{
		{"sessions_total", "Sessions of Engine.IO that were opened.", &c.opened},
		{"sessions_polling_total", "Sessions that were opened by HTTP long polling.", &c.openedPolling},
		{"upgrades_total", "Sessions that moved from HTTP long polling to a WebSocket.", &c.upgrades},
		{"refused_requests_total", "HTTP requests and handshakes that were refused.", &c.refusedRequests},
		{"refused_packets_total", "Packets that were refused; their sessions ended.", &c.refusedPackets},
		{"refused_events_total", "Events that were not sent, and were answered with an error where an answer was asked for.", &c.refusedEvents},
		{"refused_acks_total", "Acknowledgements of requests that were not open.", &c.refusedAcks},
		{"ack_timeouts_total", "Requests of clients that were not answered in time.", &c.ackTimeouts},
		{"ping_timeouts_total", "Sessions that ended because a ping was not answered.", &c.pingTimeouts},
		{"relayed_requests_total", "HTTP requests that were relayed to the instance of their session.", &c.relayed},
		{"relay_failures_total", "Relayed requests that were not answered by the instance of their session.", &c.failedRelays},
		{"relays_refused_total", "HTTP requests that were not relayed, as too many are on their way.", &c.refusedRelays},
	} {
		all = append(all, hub.Metric{Name: m.name, Help: m.help, Counter: true, Value: float64(m.value.Load())})
	}
	return append(all, hub.Metric{Name: "relays", Help: "Requests on their way to the instances of their sessions.", Value: float64(t.relays.open.Load())})
}
