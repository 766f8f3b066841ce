package redis

import (
	"testing"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/brokertest"
	"github.com/mastersocket/mastersocket/internal/redistest"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	brokertest.Conform(t, func(t testing.TB) func(testing.TB) broker.Broker {
		prefix := uuid.NewString()
		return func(t testing.TB) broker.Broker { return newTestRedis(t, Options{URL: server.URL(), Prefix: prefix}) }
	})
}

func TestConformanceOfHistory(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	brokertest.ConformHistory(t, func(t testing.TB) func(testing.TB) broker.Broker {
		prefix := uuid.NewString()
		return func(t testing.TB) broker.Broker { return newTestRedis(t, Options{URL: server.URL(), Prefix: prefix}) }
	})
}

func newTestRedis(t testing.TB, o Options) *Broker {
	t.Helper()
	b, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
