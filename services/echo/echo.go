package echo

import (
	"hash/maphash"

	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/services/echo/wire"
)

// The groups and events that carry the protocol between instances.
const (
	group   = "$echo"    // every connection
	okGroup = "$echo.ok" // observed by every loop

	eventMessage = "message"
	eventOK      = "ok"
	eventBack    = "back"
)

// Limits bounds the state that connections can create.
type Limits struct {
	Waiting      int // messages of one connection that wait for their ok
	WaitingBytes int // bytes of their texts; one message may always wait
	TotalBytes   int // bytes of all texts that wait on one loop
	Given        int // unanswered messages given to one connection, 32 bytes each whatever the text
	Passes       int // how often a message is passed on after its receiver left
}

// DefaultLimits returns limits far above the needs of a well-behaved client.
func DefaultLimits() Limits {
	return Limits{Waiting: 100, WaitingBytes: 256 << 10, TotalBytes: 64 << 20, Given: 1000, Passes: 100}
}

// Type is the service type of the echo protocol. It implements [hub.ServiceType] and [hub.Meter].
type Type struct {
	limits Limits
	seed   maphash.Seed
	loops  []*loop // set by Attach, constant once the hub runs
}

// New returns the service type for one hub.
func New(l Limits) *Type { return &Type{limits: l, seed: maphash.MakeSeed()} }

// Name implements hub.ServiceType.
func (*Type) Name() string { return "echo" }

// Serves implements hub.ServiceType.
func (*Type) Serves(path []byte) bool { return string(path) == wire.Path }

// Attach implements hub.ServiceType.
func (t *Type) Attach(on *hub.ServiceLoop) hub.LoopService {
	l := newLoop(t, on)
	t.loops = append(t.loops, l)
	on.Observe(okGroup, l.answer)
	return l
}
