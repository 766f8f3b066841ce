package redis

import (
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/broker/brokertest"
	"github.com/mastersocket/mastersocket/internal/redistest"
)

// TestHistoryKeepsLinks: what is asked on a link's connections for groups with history leaves no deadline there.
func TestHistoryKeepsLinks(t *testing.T) {
	t.Parallel()
	o := quick(redistest.Start(t).URL())
	in := redisCluster(t, 1, o)[0]
	in.MustAppend(t, "g", 1, brokertest.Ample)
	in.ExtentWait(t, "g", brokertest.Ample)
	time.Sleep(o.DialTimeout + o.ProbeInterval) // no deadline passes
	in.MustAppend(t, "g", 1, brokertest.Ample)
	if n := statsOf(in).Reconnects; n != 0 {
		t.Errorf("%d reconnects", n)
	}
}
