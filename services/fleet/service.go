package fleet

import (
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/services/fleet/lifecycle"
	"github.com/mastersocket/mastersocket/services/fleet/wire"
	"github.com/mastersocket/mastersocket/services/socketio"
	"github.com/mastersocket/mastersocket/transport"
)

// DefaultName is the fleet of clients that name none.
const DefaultName = "default"

// groupPrefix begins the name of the group of a fleet's bots, which is the right to be one.
const groupPrefix = "fleet."

// DefaultCommandEvent is the default of Options.CommandEvent.
const DefaultCommandEvent = "cmd"

// MaxBots bounds the bots of one fleet on an instance; further ones are refused.
const MaxBots = 256

// Options configure a Service.
type Options struct {
	CommandEvent string // the event that carries commands; empty for DefaultCommandEvent
	Anonymous    bool   // the default fleet takes clients without a token from anywhere, not from loopback addresses alone
	Fleets       []Settings
	// IdentifyTimeout is how long a bot may be connected without identifying; 0: 60 s.
	IdentifyTimeout time.Duration
}

// Settings are those of one fleet.
type Settings struct {
	Name   string
	Token  string // given to bots by hello
	Config lifecycle.Config
}

// Service manages fleets on one hub. It implements hub.ServiceType and socketio.Application.
type Service struct {
	opts   Options
	hub    *hub.Hub // set by the first Attach, constant afterwards
	loops  []*hub.ServiceLoop
	first  *hub.ServiceLoop // owns the fleets
	link   *link
	served atomic.Pointer[map[string]*fleet]
	count  counts
}

var _ interface {
	hub.ServiceType
	hub.Answerer
	hub.Meter
	socketio.Application
} = (*Service)(nil)

// New returns a Service for one hub. It is also to be the Application of the socketio.Type there.
func New(o Options) *Service {
	if o.CommandEvent == "" {
		o.CommandEvent = DefaultCommandEvent
	}
	if o.IdentifyTimeout == 0 {
		o.IdentifyTimeout = time.Minute
	}
	s := &Service{opts: o}
	s.served.Store(&map[string]*fleet{})
	return s
}

// Name implements hub.ServiceType.
func (*Service) Name() string { return "fleet" }

// Serves implements hub.ServiceType: it has no path of its own.
func (*Service) Serves([]byte) bool { return false }

// Attach implements hub.ServiceType.
func (s *Service) Attach(on *hub.ServiceLoop) hub.LoopService {
	s.loops = append(s.loops, on)
	if on.Index() == 0 {
		s.hub, s.first = on.Hub(), on
		s.link = newLink(s)
		s.configure(s.opts.Fleets)
		on.Observe(wire.Words, s.agentSays)
		on.Observe(pulsesGroup, s.onPulse)
		on.Observe(inboxOf(s.link.me), s.onMail)
		s.tickLater()
	}
	return noConnections{}
}

// noConnections is the share of a loop: all connections come by way of socketio.
type noConnections struct{}

// Open implements hub.LoopService.
func (noConnections) Open(*hub.Peer, *transport.Request) (hub.PeerHandler, *transport.Rejection) {
	return nil, nil
}

// Configure replaces the settings of all fleets. A fleet that is no longer among them ends, and its bots are disconnected.
// Any goroutine may call it.
func (s *Service) Configure(all []Settings) {
	s.first.Post(func() { s.configure(all) })
}

// configure is Configure on the first loop.
func (s *Service) configure(all []Settings) {
	old := *s.served.Load()
	served := make(map[string]*fleet, len(all))
	for _, set := range all {
		f := old[set.Name]
		if f == nil {
			f = newFleet(s, set.Name)
		}
		f.configure(set)
		served[set.Name] = f
	}
	s.served.Store(&served)
	for name, f := range old {
		if served[name] == nil {
			f.end()
		}
	}
}

// fleets returns the fleets, by name. It may be called on the first loop only.
func (s *Service) fleets() []*fleet {
	var all []*fleet
	for _, f := range *s.served.Load() {
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b *fleet) int { return strings.Compare(a.name, b.name) })
	return all
}

// tickInterval is the time between two looks at deadlines.
const tickInterval = 250 * time.Millisecond

// tickLater has the fleets' deadlines looked at until the hub ends.
func (s *Service) tickLater() {
	time.AfterFunc(tickInterval, func() {
		s.first.Post(func() {
			s.tick(time.Now())
			s.tickLater()
		})
	})
}

func (s *Service) tick(now time.Time) {
	s.link.tick(now)
	var led, without, notSane int64
	for _, f := range s.fleets() {
		f.tick(now)
		if f.lead == nil {
			continue
		}
		led++
		if _, ok := f.lead.state.Runner(); !ok {
			without++
		}
		if !f.lead.state.Sane() {
			notSane++
		}
	}
	s.count.fleetsLed.Store(led)
	s.count.fleetsWithoutRunner.Store(without)
	s.count.notSane.Store(notSane)
}

// agentSays handles the words of agents.
func (s *Service) agentSays(m *opcodes.Envelope) {
	w, ok := parseAgentWord(m)
	if !ok {
		return
	}
	if f := (*s.served.Load())[w.Fleet]; f != nil && f.lead != nil {
		f.lead.agentSays(string(m.Event), &w, time.Now())
	}
}
