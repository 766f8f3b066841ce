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

// Options say what to bridge. Global is required.
type Options struct {
	// Global is the URL of the Global connection: ws or wss, or http or https, which mean the same.
	Global string
	// GlobalToken returns what the Global connection presents as Authorization: Bearer, for each connection anew. It is
	// sent there and nowhere else. nil means none.
	GlobalToken func() (string, error)
	// To says whom events are for, as [client.ParseIntent] reads it, with {team_id} in place of the team's id; default
	// GROUP:teams. Joins and lefts go to GROUP:teams in any case.
	To string
	// AllowHosts are hosts besides the Global server's own that a ws_url may point to: HOST or HOST:PORT, or addresses and
	// prefixes such as 10.0.0.0/8. To the latter, hosts that are allowed may also resolve although they are not public.
	AllowHosts []string
	// Stay has the bridge wait for the server after its goodbye, in place of ending.
	Stay bool

	// ConnectRate is how many connections are asked for, and how many are dialed, at most within any second, of all teams
	// together: from 0.001 to 100,000, default 600. Of numbers above 1 only the whole part counts.
	ConnectRate float64

	ConnectTimeout time.Duration // of each step of connecting: answer to team.connect, handshake and hello; default 10 s
	MessageTimeout time.Duration // from the first byte of a message to its last; default 30 s
	PingInterval   time.Duration // between pings on a connection; default 30 s
	PongTimeout    time.Duration // how long a pong may take; default 10 s
	MinBackoff     time.Duration // greatest wait before the first new attempt; default 500 ms
	MaxBackoff     time.Duration // greatest wait before any attempt; default 30 s
	FlushTimeout   time.Duration // how long the end may take to hand over what is queued; default 10 s

	// LeftAfter is after how many refusals, one after the other, a team is taken to have left that was not announced again
	// on the present Global connection; default 5. Less than 0 means never.
	LeftAfter int
	// Settle is how long a Global connection must be there before that; default 1 min.
	Settle time.Duration

	Queue         int // events that wait for the hub; default 65,536
	TeamQueue     int // those among them of one team; default 4,096
	QueueBytes    int // their memory; default 64 MiB
	MaxFrameBytes int // greatest message taken from the server; default 4 MiB
	MaxTeams      int // teams remembered, whether they are there or have left; default 100,000

	Logger    *slog.Logger // default: none. It is never given a token, a message's text or a ws_url's path and query
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
		return errors.New("times must be positive, and the greatest wait at least the first")
	case min(o.Queue, o.TeamQueue, o.QueueBytes, o.MaxFrameBytes, o.MaxTeams) < 0:
		return errors.New("queues and sizes must be positive")
	case !(o.ConnectRate >= minRate && o.ConnectRate <= maxRate):
		return fmt.Errorf("connection rate %v: want from %v to %d per second", o.ConnectRate, minRate, maxRate)
	}
	return nil
}
