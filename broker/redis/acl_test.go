package redis

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/brokertest"
	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/redistest"
)

// documentedUsers returns the arguments of each ACL SETUSER in the documentation, with that password.
func documentedUsers(t *testing.T, password string) [][]string {
	t.Helper()
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	var users [][]string
	text := strings.ReplaceAll(string(page), "\\\n", " ")
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, "redis-cli ACL SETUSER hub ")
		if !ok {
			continue
		}
		args := []string{"ACL", "SETUSER", "hub"}
		for _, a := range strings.Fields(rest) {
			args = append(args, strings.Replace(strings.Trim(a, "'"), ">password", ">"+password, 1))
		}
		users = append(users, args)
	}
	if len(users) != 3 {
		t.Fatalf("docs/operations.md documents %d users, want 3", len(users))
	}
	return users
}

// TestDocumentedUsers runs as the users that the documentation makes, which may do no more than that.
func TestDocumentedUsers(t *testing.T) {
	t.Parallel()
	users := documentedUsers(t, "pw")
	t.Run("one Redis", func(t *testing.T) {
		t.Parallel()
		s := redistest.Start(t)
		s.Do(users[0]...)
		o := Options{URL: "redis://hub:pw@" + s.Addr(), Prefix: "hub"}
		brokertest.Conform(t, func(testing.TB) func(testing.TB) broker.Broker {
			o := o
			o.Prefix = "hub-" + uuid.NewString()
			return func(t testing.TB) broker.Broker { return newTestRedis(t, o) }
		})
		o.Prefix = "other"
		b := newTestRedis(t, o)
		if err := b.Start(t.Context(), broker.Node{ID: 1}, brokertest.NewRecorder()); err == nil || !strings.Contains(err.Error(), "NOPERM") {
			t.Errorf("another prefix: %v", err)
		}
	})
	t.Run("a database", func(t *testing.T) {
		t.Parallel()
		s := redistest.Start(t)
		s.Do(users[1]...)
		exchangeMessages(t, s, Options{URL: "redis://hub:pw@" + s.Addr() + "/1", Prefix: "hub"})
	})
	t.Run("Cluster", func(t *testing.T) {
		t.Parallel()
		servers := startCluster(t, 0)
		for _, s := range servers {
			s.Do(users[2]...)
		}
		for _, query := range []string{"", "?sharded=false"} {
			t.Run("of Redis 7"+query, func(t *testing.T) {
				exchangeMessages(t, servers[0], Options{URL: "redis+cluster://hub:pw@" + servers[0].Addr() + query, Prefix: "hub"})
			})
		}
	})
}

// exchangeMessages has two instances with those options find each other, exchange messages, ask each other, and leave.
// Redis must not have refused anything.
func exchangeMessages(t *testing.T, s *redistest.Server, o Options) {
	t.Helper()
	in := redisCluster(t, 2, o)
	for _, n := range in {
		n.JoinGroup(t, "g")
	}
	for _, kind := range []broker.Kind{broker.KindGlobal, broker.KindGroup} {
		if n, err := in[0].Outcome(t, &broker.Message{Kind: kind, Group: []byte("g")}); n != 1 || err != nil {
			t.Errorf("kind %v: %d instances, %v", kind, n, err)
		}
	}
	for _, n := range in {
		if s := n.State(); !s.Available {
			t.Errorf("state %+v", s)
		}
	}
	if stats := s.Do("INFO", "errorstats"); strings.Contains(stats, "NOPERM") {
		t.Errorf("Redis refused something: %s\n%s", stats, s.Do("ACL", "LOG"))
	}
}

// TestUserOfTheLastRelease has a user that may not do what exclusive groups need: claims are refused in time, and the
// connection stands.
func TestUserOfTheLastRelease(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	user := documentedUsers(t, "pw")[0]
	s.Do(user[:slices.Index(user, "+@hash")]...)
	o := Options{URL: "redis://hub:pw@" + s.Addr(), Prefix: "hub", SubscribeTimeout: 500 * time.Millisecond}
	in := brokertest.Cluster(t, 2, func(t testing.TB) broker.Broker { return newTestRedis(t, o) })
	c := in[0].ClaimGroup("g")
	eventually.True(t, "the claim to be refused", func() bool { return c.Err() != nil })
	if !errors.Is(c.Err(), broker.ErrUnavailable) {
		t.Errorf("refused: %v", c.Err())
	}
	b, ok := in[0].Broker.(*Broker)
	if !ok || b.Stats().Reconnects > 0 || !in[0].State().Available {
		t.Errorf("%d reconnects, %+v", b.Stats().Reconnects, in[0].State())
	}
}
