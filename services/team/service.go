package team

import (
	"bytes"
	"slices"
	"sync"
	"time"

	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/services/team/rtm"
	"github.com/mastersocket/mastersocket/transport"
)

// The paths that are served.
const (
	globalPath = "/global"
	teamPath   = "/connect/team/"
)

// The groups that are used. Clients can't send to reserved ones.
const (
	teamsGroup = "teams"  // in: joins and lefts; out: events about connections
	teamPrefix = "team."  // of the group of a team's messages
	stateGroup = "$teams" // state exchanged between instances
)

// DefaultHealthcheck is the default of Options.Healthcheck.
const DefaultHealthcheck = 30 * time.Second

// DefaultMaxTeams is the default of Options.MaxTeams.
const DefaultMaxTeams = 100_000

// Options configures a Service.
type Options struct {
	// Anonymous lets clients without a token open Global connections. A wrong token is refused nevertheless.
	Anonymous bool
	// Healthcheck is the interval of the healthcheck questions to a client, to the precision of the hub's sweeps
	// (transport.Options.SweepInterval); 0: DefaultHealthcheck.
	Healthcheck time.Duration
	// MaxTeams bounds the teams; further joins are refused. 0: DefaultMaxTeams.
	MaxTeams int
}

// Service serves the protocol on one hub. It implements hub.ServiceType.
type Service struct {
	opts    Options
	hub     *hub.Hub // set by the first Attach, constant afterwards
	loops   []*loop  // one per loop of the hub, complete before the hub starts
	store   *store
	tickets *tickets
	fixed   fixedFrames
	count   counts

	mu      sync.Mutex
	globals map[*globalConn]struct{} // identified ones of all loops
}

// fixedFrames are frames without variable parts.
type fixedFrames struct{ hello, goodbye, healthcheck *transport.Buffer }

var _ interface {
	hub.ServiceType
	hub.Answerer
	hub.Synchronizer
	hub.Meter
} = (*Service)(nil)

// New returns a Service for one hub.
func New(o Options) *Service {
	if o.Healthcheck == 0 {
		o.Healthcheck = DefaultHealthcheck
	}
	if o.MaxTeams == 0 {
		o.MaxTeams = DefaultMaxTeams
	}
	s := &Service{opts: o, tickets: newTickets(), globals: make(map[*globalConn]struct{})}
	s.store = newStore(o.MaxTeams, s.broadcast)
	s.fixed = fixedFrames{hello: fixedFrame(rtm.Hello), goodbye: fixedFrame(rtm.Goodbye), healthcheck: fixedFrame(rtm.Healthcheck)}
	return s
}

func fixedFrame(t rtm.Type) *transport.Buffer { return newFrame(&rtm.Frame{Type: t}) }

// newFrame returns a message with the frame. The caller owns a reference.
func newFrame(f *rtm.Frame) *transport.Buffer { return transport.NewMessage(f.Append(nil)) }

// Name implements hub.ServiceType.
func (*Service) Name() string { return "team" }

// Serves implements hub.ServiceType.
func (*Service) Serves(path []byte) bool {
	if string(path) == globalPath {
		return true
	}
	id, ok := bytes.CutPrefix(path, []byte(teamPath))
	return ok && len(id) > 0 && !bytes.ContainsRune(id, '/')
}

// Attach implements hub.ServiceType.
func (s *Service) Attach(on *hub.ServiceLoop) hub.LoopService {
	s.hub = on.Hub()
	l := &loop{
		s: s, on: on, inbox: newInbox(), globals: make(map[*globalConn]struct{}), sockets: make(map[string]*teamConn),
		pending: make(map[uint64]*teamConn),
	}
	s.loops = append(s.loops, l)
	on.Observe(teamsGroup, l.onTeamsEvent)
	on.Observe(l.inbox.group(), l.onInboxEvent)
	if on.Index() == 0 {
		on.Observe(stateGroup, l.onStateEvent)
	}
	return l
}

// broadcast posts a change of the store to every loop. The store calls it with its lock held.
func (s *Service) broadcast(c change) {
	var frame *transport.Buffer
	if !c.id.IsZero() {
		t := rtm.TeamJoin
		if c.left {
			t = rtm.TeamLeft
		}
		frame = newFrame(&rtm.Frame{Type: t, TeamID: c.id})
		defer frame.Release()
	}
	for _, l := range s.loops {
		if frame != nil {
			frame.Retain()
		}
		posted := l.on.Post(func() {
			l.storeChanged(c, frame)
			if frame != nil {
				frame.Release()
			}
		})
		if !posted && frame != nil {
			frame.Release()
		}
	}
}

// issuer returns this instance's loop with the inbox, or nil.
func (s *Service) issuer(i inbox) *loop {
	at := slices.IndexFunc(s.loops, func(l *loop) bool { return l.inbox == i })
	if at < 0 {
		return nil
	}
	return s.loops[at]
}

// goodbye returns the last message of connections that the hub ends. The caller owns a reference.
func (s *Service) goodbye() *transport.Buffer {
	s.fixed.goodbye.Retain()
	return s.fixed.goodbye
}
