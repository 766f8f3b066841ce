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
	teamsGroup = "teams"  // joins and lefts in, news of connections out
	teamPrefix = "team."  // of a team's own group: its messages
	stateGroup = "$teams" // what instances tell each other
)

// DefaultHealthcheck is the default of Options.Healthcheck.
const DefaultHealthcheck = 30 * time.Second

// DefaultMaxTeams is the default of Options.MaxTeams.
const DefaultMaxTeams = 100_000

// Options configure a Service.
type Options struct {
	// Anonymous lets clients without a token open Global connections. One who shows a token must show a right one
	// nevertheless.
	Anonymous bool
	// Healthcheck is the time between two questions for the state of a client's teams, to the precision of the hub's sweeps
	// (transport.Options.SweepInterval); 0: DefaultHealthcheck.
	Healthcheck time.Duration
	// MaxTeams is how many teams may be there; a further one is not taken. 0: DefaultMaxTeams.
	MaxTeams int
}

// Service serves the protocol on one hub. It implements hub.ServiceType.
type Service struct {
	opts    Options
	hub     *hub.Hub // set by the first Attach
	loops   []*loop  // of the hub; complete before the hub starts
	store   *store
	tickets *tickets
	fixed   fixedFrames
	count   counts

	mu      sync.Mutex
	globals map[*globalConn]struct{} // the identified ones, of all loops
}

// fixedFrames are sent as they are, again and again.
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
	s.store = newStore(o.MaxTeams, s.tell)
	s.fixed = fixedFrames{hello: fixedFrame(rtm.Hello), goodbye: fixedFrame(rtm.Goodbye), healthcheck: fixedFrame(rtm.Healthcheck)}
	return s
}

func fixedFrame(t rtm.Type) *transport.Buffer { return newFrame(&rtm.Frame{Type: t}) }

// newFrame returns the frame as a message. The caller owns a reference.
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
	on.Observe(teamsGroup, l.heard)
	on.Observe(l.inbox.group(), l.mail)
	if on.Index() == 0 {
		on.Observe(stateGroup, l.state)
	}
	return l
}

// tell brings a change of the store to every loop. It is called with the store's lock held.
func (s *Service) tell(c change) {
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
			l.changed(c, frame)
			if frame != nil {
				frame.Release()
			}
		})
		if !posted && frame != nil {
			frame.Release()
		}
	}
}

// issuer returns the loop here that has the inbox, or nil.
func (s *Service) issuer(i inbox) *loop {
	at := slices.IndexFunc(s.loops, func(l *loop) bool { return l.inbox == i })
	if at < 0 {
		return nil
	}
	return s.loops[at]
}

// goodbye is the last message of connections that the hub ends. The caller owns a reference.
func (s *Service) goodbye() *transport.Buffer {
	s.fixed.goodbye.Retain()
	return s.fixed.goodbye
}
