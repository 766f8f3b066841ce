//go:build linux

package main

import (
	"bytes"
	"crypto/tls"
	"slices"
	"sync/atomic"

	"github.com/mastersocket/mastersocket/broker/redis"
	"github.com/mastersocket/mastersocket/internal/config"
)

// redisLogin is how to sign in at Redis, as the configuration in force says. Its methods may be called from any goroutine.
type redisLogin struct {
	inForce atomic.Pointer[config.Redis] // nil without --redis
}

// take puts a login in force, for connections made from now on, and reports whether it differs from the one before.
func (l *redisLogin) take(r *config.Redis) (changed bool) {
	before := l.inForce.Swap(r)
	return before != nil && r != nil && !sameLogin(before, r)
}

func sameLogin(a, b *config.Redis) bool {
	return a.Username == b.Username && a.Password == b.Password &&
		a.SentinelUsername == b.SentinelUsername && a.SentinelPassword == b.SentinelPassword &&
		slices.Equal(a.ClusterSecrets, b.ClusterSecrets) && sameClientTLS(a.TLS, b.TLS)
}

// sameClientTLS compares what the settings can change.
func sameClientTLS(a, b *tls.Config) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.ServerName == b.ServerName && samePool(a.RootCAs, b.RootCAs) &&
		slices.EqualFunc(a.Certificates, b.Certificates, func(x, y tls.Certificate) bool {
			return slices.EqualFunc(x.Certificate, y.Certificate, bytes.Equal)
		})
}

// login returns the login in force.
func (l *redisLogin) login() redis.Login {
	r := l.inForce.Load()
	return redis.Login{
		Username: r.Username, Password: r.Password.Reveal(),
		SentinelUsername: r.SentinelUsername, SentinelPassword: r.SentinelPassword.Reveal(), TLS: r.TLS,
	}
}

// secrets returns the secrets of the cluster in force.
func (l *redisLogin) secrets() []string {
	var all []string
	for _, s := range l.inForce.Load().ClusterSecrets {
		all = append(all, s.Reveal())
	}
	return all
}
