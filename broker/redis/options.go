package redis

import (
	"crypto/tls"
	"log/slog"
	"time"

	"github.com/mastersocket/mastersocket/internal/redisurl"
)

// Options configure a Broker. Only URL is required; every zero value stands for its default.
type Options struct {
	// URL says where Redis is, in one of the forms that package internal/redisurl documents. A cluster uses sharded
	// pub/sub, which needs Redis 7; sharded=false does without, and must then be given to every instance. All of a hub's
	// channels live on one node of a cluster, which keeps the order of messages whole: a cluster gives a hub its
	// failover, not the sum of the nodes' throughput.
	URL string
	// Prefix tells the hubs that share a Redis apart: every channel and key begins with it. Default "ms".
	Prefix string
	// Login, if not nil, is called for each new connection, from any goroutine, and must not block. What it returns takes
	// the place of the users and passwords in URL.
	Login func() Login
	// Secrets, if not nil, returns the secrets that authenticate what instances send each other: the first signs, all are
	// accepted. It is called from any goroutine and must not block.
	Secrets func() []string

	BufferBytes int           // published messages that wait, and what a resend may take; default 16 MiB
	BufferAge   time.Duration // how long one waits before it is given up; default 30 s
	RecentBytes int           // sent messages kept for instances that missed them; default 8 MiB

	ProbeInterval    time.Duration // between round trips through Redis; two silent ones mean away; default 1 s
	LeaseTTL         time.Duration // of an instance that is not heard of; default 3 s
	DialTimeout      time.Duration // of connecting, and again of the handshake and each command; default 2 s
	SubscribeTimeout time.Duration // until Subscribe is answered with ErrUnavailable; default 5 s
	UnsubscribeDelay time.Duration // from Unsubscribe until the channel is given up; default 1 s

	AnswerBytes int          // the largest answer to a Gather; default 16 MiB
	Logger      *slog.Logger // nil: nothing is logged
}

// Login is how to sign in at the servers of Redis, and at the Sentinels.
type Login struct {
	Username, Password                 string
	SentinelUsername, SentinelPassword string
	// TLS is used by the rediss forms; nil means the system's roots.
	TLS *tls.Config
}

// loginOf returns the users and passwords of a URL.
func loginOf(u redisurl.URL) Login {
	return Login{
		Username: u.Username, Password: u.Password,
		SentinelUsername: u.SentinelUsername, SentinelPassword: u.SentinelPassword,
	}
}

func (o Options) withDefaults() Options {
	set := func(d *time.Duration, def time.Duration) {
		if *d <= 0 {
			*d = def
		}
	}
	setInt := func(n *int, def int) {
		if *n <= 0 {
			*n = def
		}
	}
	set(&o.BufferAge, 30*time.Second)
	set(&o.ProbeInterval, time.Second)
	set(&o.LeaseTTL, 3*o.ProbeInterval)
	set(&o.DialTimeout, 2*time.Second)
	set(&o.SubscribeTimeout, 5*time.Second)
	set(&o.UnsubscribeDelay, time.Second)
	setInt(&o.BufferBytes, 16<<20)
	setInt(&o.RecentBytes, 8<<20)
	setInt(&o.AnswerBytes, 16<<20)
	if o.Prefix == "" {
		o.Prefix = "ms"
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// writeTimeout bounds one write; a silent broker is noticed long before.
func (o *Options) writeTimeout() time.Duration { return max(5*o.ProbeInterval, 5*time.Second) }

// unheardLimit bounds the wait for an instance that should have a message and has no connection to Redis.
func (o *Options) unheardLimit() time.Duration { return min(o.BufferAge, 2*o.LeaseTTL) }
