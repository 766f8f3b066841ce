package redis

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/brokertest"
	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/redistest"
)

// replicated is a master with a replica, and a Sentinel that knows both.
type replicated struct {
	master, replica, sentinel *redistest.Server
}

func startReplicated(t *testing.T) replicated {
	t.Helper()
	s := replicated{master: redistest.Start(t)}
	s.replica = redistest.Start(t, "--replicaof", "127.0.0.1", strconv.Itoa(s.master.Port()))
	s.awaitReplica(t)
	s.sentinel = redistest.StartSentinel(t, s.master, "hub")
	eventually.True(t, "the sentinel to know the replica", func() bool {
		return strings.Contains(s.sentinel.Do("SENTINEL", "replicas", "hub"), strconv.Itoa(s.replica.Port()))
	})
	return s
}

func (s replicated) awaitReplica(t *testing.T) {
	t.Helper()
	eventually.True(t, "the replica to have everything", func() bool {
		return strings.Contains(s.replica.Do("INFO", "replication"), "master_link_status:up") && s.master.Do("WAIT", "1", "100") == "1"
	})
}

// cutReplica keeps everything from the replica that the master takes from now on.
func (s replicated) cutReplica(t *testing.T) {
	t.Helper()
	s.master.Do("ACL", "SETUSER", "default", "-psync", "-sync") // connections that are there stay
	s.master.Do("CLIENT", "KILL", "TYPE", "replica")
	eventually.True(t, "the replica to be cut off", func() bool {
		return strings.Contains(s.replica.Do("INFO", "replication"), "master_link_status:down")
	})
}

// TestHistoryFailoverLoses: the master dies with writes that its replica has not got. Under load the numbers come again, with
// other messages: every instance is told, and all have the same in the end.
func TestHistoryFailoverLoses(t *testing.T) {
	t.Parallel()
	s := startReplicated(t)
	in := redisCluster(t, 3, quick("redis+sentinel://"+s.sentinel.Addr()+"/hub"))
	l := startAppends(t, in)
	l.appended(t, 50)
	s.cutReplica(t)
	l.appended(t, 50)
	s.master.Kill()
	awaitState(t, in, false)
	awaitState(t, in, true)
	l.appended(t, 50)
	l.end(t, true)
	for i, n := range in {
		if statsOf(n).GapsEpoch == 0 {
			t.Errorf("instance %d was not told", i)
		}
	}
}

// TestHistoryFailoverLosesInSilence: the same, while no more is sent. The instances are told all the same, and a position
// behind what was lost is void also once its number was given again.
func TestHistoryFailoverLosesInSilence(t *testing.T) {
	t.Parallel()
	s := startReplicated(t)
	in := redisCluster(t, 2, quick("redis+sentinel://"+s.sentinel.Addr()+"/hub"))
	for _, n := range in {
		n.JoinGroup(t, "h")
		n.ExtentWait(t, "h", brokertest.Ample)
	}
	in[0].MustAppend(t, "h", 10, brokertest.Ample)
	s.awaitReplica(t)
	s.cutReplica(t)
	in[0].MustAppend(t, "h", 5, brokertest.Ample)
	lost := in[0].ExtentWait(t, "h", brokertest.Ample)
	for _, n := range in {
		n.Await(t, "the messages", func() bool { return len(n.Numbered["h"]) == 15 })
	}
	s.master.Kill()
	awaitState(t, in, false)
	awaitState(t, in, true)
	for i, n := range in {
		n.Await(t, "the gap", func() bool { return len(n.Numbered["h"]) == 16 })
		if gap := n.Of("h")[15]; gap.Reason != broker.GapEpoch || gap.Offset != 10 || gap.Epoch == lost.Epoch {
			t.Errorf("instance %d was told %+v", i, gap)
		}
	}
	if last := in[1].MustAppend(t, "h", 8, brokertest.Ample); last != 18 {
		t.Errorf("the last number is %d", last)
	}
	for _, from := range []uint64{15, 14, 11} {
		p := in[0].ReadWait(t, "h", broker.Position{Epoch: lost.Epoch, Offset: from})
		if p.Gap == nil || p.Gap.Reason != broker.GapEpoch || p.Gap.Offset != 10 || len(p.Messages) != 8 {
			t.Errorf("from %d: %d messages, %+v", from, len(p.Messages), p.Gap)
		}
	}
	if p := in[0].ReadWait(t, "h", broker.Position{Epoch: lost.Epoch, Offset: 10}); p.Gap != nil || len(p.Messages) != 8 {
		t.Errorf("from the last one that was kept: %+v", p.Gap)
	}
}

// TestHistorySplitBrain: for some time two servers take themselves for the master, and each has an instance. What the one
// that loses had taken is void.
func TestHistorySplitBrain(t *testing.T) {
	t.Parallel()
	s := startReplicated(t)
	other := redistest.StartSentinel(t, s.master, "hub")
	watch := func(sentinel, master *redistest.Server) {
		sentinel.Do("SENTINEL", "REMOVE", "hub")
		sentinel.Do("SENTINEL", "MONITOR", "hub", "127.0.0.1", strconv.Itoa(master.Port()), "1")
	}
	o := quick("redis+sentinel://" + s.sentinel.Addr() + "/hub")
	stays := redisCluster(t, 1, o)[0]
	o.URL = "redis+sentinel://" + other.Addr() + "/hub"
	strays := brokertest.Join(t, newTestRedis(t, o))
	in := []*brokertest.Instance{stays, strays}
	for _, n := range in {
		n.JoinGroup(t, "h")
		n.ExtentWait(t, "h", brokertest.Ample)
	}
	stays.MustAppend(t, "h", 10, brokertest.Ample)
	s.awaitReplica(t)
	for _, n := range in {
		n.Await(t, "the messages", func() bool { return len(n.Numbered["h"]) == 10 })
	}
	s.replica.Do("REPLICAOF", "NO", "ONE")
	watch(s.sentinel, s.master)
	watch(other, s.replica)
	s.master.Do("CLIENT", "KILL", "TYPE", "normal")
	leads := func(n *brokertest.Instance, to *redistest.Server) func() bool {
		return func() bool {
			addr := n.Broker.(*Broker).addr.Load()
			return addr != nil && *addr == to.Addr() && n.State().Available && n.Broker.(*Broker).state.isLinked()
		}
	}
	eventually.True(t, "the split", leads(strays, s.replica))
	eventually.True(t, "the other half", leads(stays, s.master))
	if a, b := stays.MustAppend(t, "h", 3, brokertest.Ample), strays.MustAppend(t, "h", 5, brokertest.Ample); a != 13 || b != 15 {
		t.Errorf("the last numbers are %d and %d", a, b)
	}
	watch(other, s.master)
	s.replica.Kill()
	eventually.True(t, "the end of the split", leads(strays, s.master))
	stays.MustAppend(t, "h", 2, brokertest.Ample)
	epoch := stays.ExtentWait(t, "h", brokertest.Ample).Epoch
	var views [2][]string
	for i, n := range in {
		n.Await(t, "the last message", func() bool {
			got := n.Numbered["h"]
			return got[len(got)-1].Position == broker.Position{Epoch: epoch, Offset: 15}
		})
		views[i] = viewOf(t, i, n.Of("h"), true)
	}
	if fmt.Sprint(views[0]) != fmt.Sprint(views[1]) || len(views[0]) != 15 {
		t.Errorf("one has %q, the other %q", views[0], views[1])
	}
	if statsOf(strays).GapsEpoch == 0 || statsOf(stays).GapsEpoch != 0 {
		t.Errorf("gaps: %d, %d", statsOf(strays).GapsEpoch, statsOf(stays).GapsEpoch)
	}
}

// TestHistoryFileCut: Redis comes back without the end of its append-only file.
func TestHistoryFileCut(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	in := redisCluster(t, 2, quick(s.URL()))
	for _, n := range in {
		n.JoinGroup(t, "h")
		n.ExtentWait(t, "h", brokertest.Ample)
	}
	in[0].MustAppend(t, "h", 20, brokertest.Ample)
	for _, n := range in {
		n.Await(t, "the messages", func() bool { return len(n.Numbered["h"]) == 20 })
	}
	dir := strings.Fields(s.Do("CONFIG", "GET", "dir"))[1]
	files, err := filepath.Glob(filepath.Join(dir, "appendonlydir", "*.incr.aof"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	s.Kill()
	awaitState(t, in, false)
	content, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	at := strings.LastIndex(string(content), "\r\n15-") // of the id of an entry
	if at < 0 {
		t.Fatal("the file has no entry 15")
	}
	if err := os.Truncate(files[0], int64(at)); err != nil {
		t.Fatal(err)
	}
	s.Restart()
	awaitState(t, in, true)
	for i, n := range in {
		n.Await(t, "the gap", func() bool { return len(n.Numbered["h"]) == 21 })
		if gap := n.Of("h")[20]; gap.Reason != broker.GapEpoch || gap.Offset != 14 {
			t.Errorf("instance %d was told %+v", i, gap)
		}
	}
	if last := in[1].MustAppend(t, "h", 1, brokertest.Ample); last != 15 {
		t.Errorf("the next number is %d", last)
	}
}

// TestHistoryOutOfMemory: Redis has no room for some time, under load. What it refuses has no number.
func TestHistoryOutOfMemory(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	in := redisCluster(t, 3, patient(s.URL()))
	l := startAppends(t, in)
	for range 3 {
		l.appended(t, 30)
		before := statsOf(in[0]).AppendsRefused
		s.Do("CONFIG", "SET", "maxmemory", "1")
		eventually.True(t, "refusals", func() bool { return statsOf(in[0]).AppendsRefused > before })
		s.Do("CONFIG", "SET", "maxmemory", "0")
	}
	l.appended(t, 30)
	l.end(t, false)
	for _, n := range in {
		if r := statsOf(n).Reconnects; r != 0 {
			t.Errorf("%d reconnects", r)
		}
	}
}

// TestHistoryClusterSlotMigrates: the slot of a Redis Cluster is moved to another node with the keys of a group, under load.
// While the keys are on their way appends are refused, and no connection breaks for it.
func TestHistoryClusterSlotMigrates(t *testing.T) {
	t.Parallel()
	probe := redistest.Start(t, "--cluster-enabled", "yes")
	prefix := uuid.NewString()
	number := slotOf(t, probe, "{"+prefix+"}")
	slot := strconv.Itoa(number)
	servers := startCluster(t, number)
	from, to := servers[0], servers[1]
	o := patient("redis+cluster://" + from.Addr())
	o.Prefix = prefix
	in := redisCluster(t, 3, o)
	l := startAppends(t, in)
	l.appended(t, 50)
	to.Do("CLUSTER", "SETSLOT", slot, "IMPORTING", from.Do("CLUSTER", "MYID"))
	from.Do("CLUSTER", "SETSLOT", slot, "MIGRATING", to.Do("CLUSTER", "MYID"))
	eventually.True(t, "the keys to be moved", func() bool {
		for _, key := range strings.Fields(from.Do("CLUSTER", "GETKEYSINSLOT", slot, "100")) {
			_, _ = from.Try("MIGRATE", "127.0.0.1", strconv.Itoa(to.Port()), key, "0", "5000") // it may be gone
		}
		return from.Do("CLUSTER", "COUNTKEYSINSLOT", slot) == "0"
	})
	for _, n := range in {
		before := statsOf(n).AppendsRefused
		eventually.True(t, "refusals", func() bool { return statsOf(n).AppendsRefused > before })
		if r := statsOf(n).Reconnects; r != 0 {
			t.Errorf("%d reconnects before the slot was given away", r)
		}
	}
	for _, s := range []*redistest.Server{to, from} {
		s.Do("CLUSTER", "SETSLOT", slot, "NODE", to.Do("CLUSTER", "MYID"))
	}
	eventually.True(t, "the other node to carry the hub", func() bool { return to.Calls("spublish") > 0 })
	awaitState(t, in, true)
	l.appended(t, 50)
	l.end(t, false)
}
