package redis

import (
	"log/slog"
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

// TestKilledConnectionsAreReplaced kills subscribers faster than the instances may take to reconnect. As they succeed
// again and again, no instance becomes unavailable.
func TestKilledConnectionsAreReplaced(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	in := redisCluster(t, 3, Options{URL: s.URL()})
	awaitState(t, in, true)
	for range 25 {
		s.Do("CLIENT", "KILL", "TYPE", "pubsub")
		time.Sleep(200 * time.Millisecond) // the rate of the fault: it goes on for five seconds
	}
	for i, n := range in {
		if n.Within(0, func() bool {
			return slices.ContainsFunc(n.States, func(s broker.State) bool { return !s.Available })
		}) {
			t.Errorf("instance %d became unavailable: %+v", i, n.States)
		}
		if st := statsOf(n); st.Reconnects < 5 {
			t.Errorf("instance %d: stats: %+v", i, st)
		}
	}
}

// TestRefusalIsTold takes the permission to publish away: state and log say what Redis says.
func TestRefusalIsTold(t *testing.T) {
	t.Parallel()
	for name, rule := range map[string]string{"at all": "-publish", "to groups": "+publish"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := redistest.Start(t)
			s.Do("ACL", "SETUSER", "hub", "on", ">pw", "~*", "&*", "+@all")
			var log syncBuffer
			o := quick("redis://hub:pw@" + s.Addr())
			o.Logger = slog.New(slog.NewTextHandler(&log, nil))
			o.Prefix = uuid.NewString()
			in := brokertest.Join(t, newTestRedis(t, o))
			s.Do("ACL", "SETUSER", "hub", rule, "resetchannels", "&"+o.Prefix+":global", "&"+o.Prefix+":node:*")
			in.Publish(&broker.Message{Kind: broker.KindGroup, Group: []byte("g")}, nil)
			eventually.True(t, "the refusal in the log", func() bool { return strings.Contains(log.String(), "NOPERM") })
			if name == "at all" {
				eventually.True(t, "the refusal in the state", func() bool {
					return !in.State().Available && strings.Contains(in.State().Err, "NOPERM")
				})
			} else if st := statsOf(in); st.RefusedBroker == 0 || !in.State().Available {
				t.Errorf("stats: %+v, state: %+v", st, in.State())
			}
		})
	}
}
