package bridge

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"
)

// Options configures a Bridge. Global is required.
type Options struct {
	// Global is the URL of the Global connection: ws, wss, http or https; http means ws.
	Global string
	// GlobalToken returns the bearer token for the Global connection. It is called for each connection, and its result
	// is sent nowhere else. nil: no token.
	GlobalToken func() (string, error)
	// To is the target of events in the form of [client.ParseIntent], with {team_id} for the team's id; default
	// GROUP:teams. Joins and lefts always go to GROUP:teams, too.
	To string
	// AllowHosts are further hosts that a ws_url may name: HOST or HOST:PORT, addresses and prefixes such as
	// 10.0.0.0/8. Allowed hosts may also resolve to these addresses and prefixes if they are not public.
	AllowHosts []string
	// Stay makes the bridge reconnect after a goodbye instead of ending.
	Stay bool

	// ConnectRate bounds the team.connects, and the dials, of all teams within any second: from 0.001 to 100,000,
	// default 600. Above 1 the fraction is ignored.
	ConnectRate float64

	ConnectTimeout time.Duration // for each step of connecting: answer to team.connect, handshake, hello; default 10 s
	MessageTimeout time.Duration // from the first byte of a message to its last; default 30 s
	PingInterval   time.Duration // between pings on a connection; default 30 s
	PongTimeout    time.Duration // from a ping to its pong; default 10 s
	MinBackoff     time.Duration // upper bound of the first backoff; default 500 ms
	MaxBackoff     time.Duration // upper bound of every backoff; default 30 s
	FlushTimeout   time.Duration // for publishing the queued events at the end; default 10 s

	// LeftAfter is the number of consecutive refusals after which a team is presumed to have left, if it was not
	// announced on the present Global connection; default 5. Negative: never.
	LeftAfter int
	// Settle is the minimum age of the Global connection for that; default 1 min.
	Settle time.Duration

	Queue         int // queued events at most; default 65,536
	TeamQueue     int // queued events of one team at most; default 4,096
	QueueBytes    int // their memory; default 64 MiB
	MaxFrameBytes int // message size limit for the server; default 4 MiB
	MaxTeams      int // remembered teams, present or not, at most; default 100,000

	Logger    *slog.Logger // nil: no log. It never gets a token, a message's text or a ws_url's path and query
	TLSConfig *tls.Config  // for wss
	// Resolve returns the addresses of a host name; default: the system's resolver.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
}

// Bounds of ConnectRate.
const (
	minRate = 0.001
	maxRate = 100_000
)

// prepare checks o and returns it with defaults.
func (o Options) prepare() (Options, error) {
	o.To = cmp.Or(o.To, "GROUP:"+teamsGroup)
	o.ConnectRate = cmp.Or(o.ConnectRate, 600)
	o.ConnectTimeout = cmp.Or(o.ConnectTimeout, 10*time.Second)
	o.MessageTimeout = cmp.Or(o.MessageTimeout, 30*time.Second)
	o.PingInterval = cmp.Or(o.PingInterval, 30*time.Second)
	o.PongTimeout = cmp.Or(o.PongTimeout, 10*time.Second)
	o.MinBackoff = cmp.Or(o.MinBackoff, 500*time.Millisecond)
	o.MaxBackoff = cmp.Or(o.MaxBackoff, 30*time.Second)
	o.FlushTimeout = cmp.Or(o.FlushTimeout, 10*time.Second)
	o.LeftAfter = cmp.Or(o.LeftAfter, 5)
	o.Settle = cmp.Or(o.Settle, time.Minute)
	o.Queue = cmp.Or(o.Queue, 65_536)
	o.TeamQueue = min(cmp.Or(o.TeamQueue, 4_096), o.Queue)
	o.QueueBytes = cmp.Or(o.QueueBytes, 64<<20)
	o.MaxFrameBytes = cmp.Or(o.MaxFrameBytes, 4<<20)
	o.MaxTeams = cmp.Or(o.MaxTeams, 100_000)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Resolve == nil {
		o.Resolve = systemResolve
	}
	return o, o.check()
}

func (o *Options) check() error {
	times := min(o.ConnectTimeout, o.MessageTimeout, o.PingInterval, o.PongTimeout, o.MinBackoff, o.FlushTimeout, o.Settle)
	switch {
	case times < 0 || o.MaxBackoff < o.MinBackoff:
		return errors.New("times must be positive, and MaxBackoff at least MinBackoff")
	case min(o.Queue, o.TeamQueue, o.QueueBytes, o.MaxFrameBytes, o.MaxTeams) < 0:
		return errors.New("queues and sizes must be positive")
	case !(o.ConnectRate >= minRate && o.ConnectRate <= maxRate):
		return fmt.Errorf("connection rate %v: want from %v to %d per second", o.ConnectRate, minRate, maxRate)
	}
	return nil
}
