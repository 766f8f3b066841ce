// Package lifecycle decides which client of a fleet runs. A fleet is a set of processes of one program, its clients, of
// which exactly one does the work; the others stand by, or prove themselves before they take over.
//
// A [Fleet] is a pure state machine: it starts no goroutine, reads no clock and does no I/O. Each input states the time at
// which it happened, and returns the actions to take, in their order. A Fleet belongs to one goroutine at a time.
//
// # States of a client
//
//	connected ──Identify──► identified ──Ready──► standby ──ask──► examined ──HealthCheck passed──► running
//	                            │                    ▲ │                                              │
//	                            └─ no runner: reserved, and running when ready                        │
//	                                                 └─┴────────── coma, or promoted ────────────────┘
//
// A client that was told to shut down, or said that it does, is retired: it is no candidate until it identifies again.
package lifecycle

import (
	"errors"
	"time"
)

// ID names a client.
type ID string

// Config is how a fleet is managed. The zero value of a duration or count means its default.
type Config struct {
	VitalCogs      []string      // parts that must work in a client that says that not all is well
	HealthyPercent float64       // the least percentage of such a client; 0: 100
	RetireOutdated bool          // clients that are no newer than the running one are told to shut down, not to stand by
	ReadyTimeout   time.Duration // from identifying to Ready; 0: 60 s
	HealthTimeout  time.Duration // for the answer to a health check; 0: 30 s
	MinBackoff     time.Duration // before the second of several spawns; 0: 1 s
	MaxBackoff     time.Duration // 0: 60 s
	MaxSpawns      int           // in SpawnWindow; one more makes the fleet insane; 0: 5
	SpawnWindow    time.Duration // 0: 10 min
}

func (c Config) withDefaults() Config {
	if c.HealthyPercent == 0 {
		c.HealthyPercent = 100
	}
	if c.MaxSpawns == 0 {
		c.MaxSpawns = 5
	}
	for _, d := range []struct {
		value *time.Duration
		usual time.Duration
	}{
		{&c.ReadyTimeout, 60 * time.Second}, {&c.HealthTimeout, 30 * time.Second}, {&c.MinBackoff, time.Second},
		{&c.MaxBackoff, 60 * time.Second}, {&c.SpawnWindow, 10 * time.Minute},
	} {
		if *d.value == 0 {
			*d.value = d.usual
		}
	}
	return c
}

// Reason is why a client is told to stop.
type Reason string

// The reasons.
const (
	VitalCogFailure    Reason = "vital_cog_failure"
	HealthCheckFailure Reason = "health_check_failure"
	HealthCheckTimeout Reason = "health_check_timeout"
	ReadyTimeout       Reason = "ready_timeout"
	Outdated           Reason = "outdated"
	Replaced           Reason = "replaced" // another client runs now
	OperatorAsked      Reason = "operator"
)

// Verb is what an action does.
type Verb uint8

// The verbs. Those from Spawn on ask the fleet's agent; the caller reports the outcome with [Fleet.Done].
const (
	Hello           Verb = iota // answers Identify; Action.Process says whether the client is to work
	OK                          // answers Ready of the client that runs
	ProcessCommands             // the client runs from now on
	HealthCheck                 // the client is to check itself
	Coma                        // the client is to stop working, and to stand by
	Shutdown                    // the client is to end
	Keep                        // the client goes on working, by the word of a new leader; it is told nothing
	Spawn                       // a process is to be started
	Rollback                    // the program is to be set back to Action.Version
	Deploy                      // the newest version of the program is to be fetched
	Revision                    // the agent is to say which revision of the program is in place
	Alarm                       // an operator is needed: Action.Reason says why
)

// Action is one thing to do.
type Action struct {
	Verb    Verb
	To      ID // of the verbs for a client
	Process bool
	Reason  Reason // of Coma, Shutdown and Alarm; of ProcessCommands empty
	Version string // of Rollback: the last version that passed a check; empty where none did
	// Revision is, of Rollback, the revision that was in place when that version passed; empty where it is unknown.
	Revision string
}

// The reasons of an Alarm.
const (
	TooManySpawns  Reason = "too_many_spawns"
	RollbackFailed Reason = "rollback_failed"
)

// What a client is refused.
var (
	ErrNotIdentified = errors.New("the client has not identified")
	ErrNotAsked      = errors.New("no health check was asked for")
	ErrUnknown       = errors.New("no such client")
	ErrNotReady      = errors.New("the client is not ready")
	ErrRuns          = errors.New("the client runs already")
)

type state uint8

const (
	identified state = iota // not ready yet; perhaps reserved
	standby                 // ready, does not work
	examined                // asked for a health check
	retired                 // told to shut down, or said so
)

type client struct {
	id       ID
	version  string
	state    state
	ready    uint64    // the order of Ready; 0 before
	resting  bool      // it stopped working by itself: no candidate until another one has run
	deadline time.Time // of Ready or of the health check; zero for none
	deploys  uint64    // Fleet.deploys when it identified
	waits    bool      // for its health check: another client is examined
}

// Report is a client's answer to a health check.
type Report struct {
	OK      bool
	Percent float64
	Cogs    map[string]bool
}

// Fleet is the state of one fleet.
type Fleet struct {
	config  Config
	clients map[ID]*client
	runner  *client // works, or is reserved until it is ready; nil for none
	readied uint64  // Readys so far
	insane  bool    // nothing is spawned until TryAgain
	good    Good
	deploys uint64 // Deploys and Rollbacks that were begun

	passed uint64 // deploys when the client of good had identified

	pending   Verb          // the agent's task under way; 0 for none
	queue     []Verb        // tasks behind it; a Spawn is the last
	spawns    []time.Time   // within SpawnWindow
	backoff   time.Duration // before the next spawn
	spawnAt   time.Time     // of the next spawn; zero for none
	await     time.Time     // until then a process that was spawned, or runs already, may come; zero for none
	agentless bool          // no agent took the last Spawn: none is tried until an agent comes or a runner is lost
}

// settle is how long a fleet waits for clients that run and have lost their instance, before it spawns one.
const settle = 5 * time.Second

// New returns a fleet without clients.
func New(c Config, now time.Time) *Fleet {
	return &Fleet{config: c.withDefaults(), clients: make(map[ID]*client), await: now.Add(settle)}
}

// Configure replaces the configuration. It holds for what happens from now on.
func (f *Fleet) Configure(c Config) { f.config = c.withDefaults() }

// Runner returns the client that works, or is reserved to. ok is false where there is none.
func (f *Fleet) Runner() (id ID, ok bool) {
	if f.runner == nil {
		return "", false
	}
	return f.runner.id, true
}

// Sane reports whether processes are spawned when none works.
func (f *Fleet) Sane() bool { return !f.insane }

// Good is what was in place when a client last passed a health check. Its zero value means that none did.
type Good struct {
	Version  string // the client's
	Revision string // the agent's word; empty where there is none
}

// LastGood returns what a rollback goes to.
func (f *Fleet) LastGood() Good { return f.good }

// NextSpawn returns when the next process is spawned; zero if none is due.
func (f *Fleet) NextSpawn() time.Time { return f.spawnAt }

// State is what a client is up to.
type State uint8

// The states of a client.
const (
	Identified State = iota // not ready yet; perhaps reserved
	Standby                 // ready, does not work
	Examined                // asked for a health check
	Running                 // it works, or is reserved to
	Retired                 // told to shut down, or said so
)

// String is the state's name for operators.
func (s State) String() string {
	return [...]string{"identified", "standby", "examined", "running", "retired"}[s]
}

// Client describes a client.
type Client struct {
	ID      ID
	Version string
	State   State
}

// Clients returns the clients, by their ids.
func (f *Fleet) Clients() []Client {
	all := make([]Client, 0, len(f.clients))
	for _, c := range f.sorted() {
		s := State(0)
		switch {
		case c == f.runner:
			s = Running
		case c.state == standby:
			s = Standby
		case c.state == examined:
			s = Examined
		case c.state == retired:
			s = Retired
		}
		all = append(all, Client{c.id, c.version, s})
	}
	return all
}
