package hub

import (
	"context"
	"log/slog"
	"time"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/transport"
)

// ownType is the name of the service type of clients of the master socket protocol.
const ownType = "service"

// DefaultMaxGroups is how many groups a client may be in where Options do not say.
const DefaultMaxGroups = 1024

// Options configure a Hub.
type Options struct {
	Transport       transport.Options
	PingInterval    time.Duration // silence after which a client is asked whether it is there
	IdentifyTimeout time.Duration // from the handshake to IDENTIFY
	NodeName        string        // shown to clients and operators
	Version         string        // of the software
	Address         string        // the URL at which other instances reach a listener of this one; empty for none
	Tokens          *auth.Store
	Verifier        Verifier // of tokens that are not in Tokens; nil for none. The caller ends it after the hub
	Broker          broker.Broker
	MaxGroups       int // of one client, those of IDENTIFY included; 0 for DefaultMaxGroups
	// WithoutBroker lets clients identify while the broker is away. They reach the clients of this instance at once, and
	// those of others when it is back. Otherwise they are told to try again later.
	WithoutBroker bool
	// PresenceMembers is how many members a group may have whose watchers are told of each. Those of larger ones are told how
	// many there are.
	PresenceMembers int
	Services        []ServiceType // foreign protocols, less than 8
	Drain           DrainSettings // until SetDrain
	History         []HistoryRule // until SetHistory
	RequestMemory   int           // bound of what open requests take, in bytes; 0 for none
	Log             *slog.Logger
}

// DefaultPresenceMembers is the default of Options.PresenceMembers.
const DefaultPresenceMembers = 10000

// DrainSettings are the pace at which clients are told to go elsewhere.
type DrainSettings struct {
	// Timeout is the time over which they are told where neither a Rate is set nor anything else is asked for.
	Timeout time.Duration
	// Rate is how many are told in any second, at most; 0 for no limit. Where it is set they are told as fast as it allows,
	// and not over the whole time. If the time is too short for that, the time wins.
	Rate int
}

// Operator carries out an operation that the admin API of another instance asks for, and returns its result. Several
// goroutines may call it at once.
type Operator func(ctx context.Context, operation string, input []byte) []byte
