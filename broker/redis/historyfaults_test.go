package redis

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/brokertest"
	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/faultproxy"
	"github.com/mastersocket/mastersocket/internal/redistest"
)

// appendLoad appends to group "h" on every instance of a cluster while something breaks.
type appendLoad struct {
	in      []*brokertest.Instance
	stop    chan struct{}
	sending sync.WaitGroup

	mu       sync.Mutex
	open     int                            // appends without an outcome
	outcomes map[string]brokertest.Appended // by payload
}

func startAppends(t *testing.T, in []*brokertest.Instance) *appendLoad {
	t.Helper()
	l := &appendLoad{in: in, stop: make(chan struct{}), outcomes: make(map[string]brokertest.Appended)}
	for _, n := range in {
		n.JoinGroup(t, "h")
		n.ExtentWait(t, "h", brokertest.Ample)
	}
	for i := range in {
		for s := range 2 {
			l.sending.Go(func() { l.send(i, s) })
		}
	}
	return l
}

func (l *appendLoad) send(at, sender int) {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for seq := 0; ; seq++ {
		l.append(l.in[at], fmt.Sprintf("%d.%d %06d", at, sender, seq))
		select {
		case <-tick.C:
		case <-l.stop:
			return
		}
	}
}

func (l *appendLoad) append(n *brokertest.Instance, payload string) {
	l.mu.Lock()
	l.open++
	l.mu.Unlock()
	n.Append(&broker.Message{Kind: broker.KindGroup, Group: []byte("h"), Payload: []byte(payload)}, broker.Appending{Limits: brokertest.Ample},
		brokertest.AppendFunc(func(offset uint64, duplicate bool, err error) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.open--
			l.outcomes[payload] = brokertest.Appended{Offset: offset, Duplicate: duplicate, Err: err}
		}))
}

// appended waits until so many more messages have been appended.
func (l *appendLoad) appended(t *testing.T, n int) {
	t.Helper()
	count := func() (good int) {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, o := range l.outcomes {
			if o.Err == nil {
				good++
			}
		}
		return good
	}
	want := count() + n
	eventually.True(t, "messages to be appended", func() bool { return count() >= want })
}

// end stops the senders, and checks what each instance was told. lossy says that Redis lost messages that it had numbered.
func (l *appendLoad) end(t *testing.T, lossy bool) {
	t.Helper()
	close(l.stop)
	l.sending.Wait()
	eventually.True(t, "all outcomes", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.open == 0
	})
	var last brokertest.Appended
	eventually.True(t, "a last message", func() bool {
		last = l.in[0].AppendWait(t, "h", "last "+uuid.NewString(), broker.Appending{Limits: brokertest.Ample})
		return last.Err == nil
	})
	epoch := l.in[0].ExtentWait(t, "h", brokertest.Ample).Epoch
	var first []string
	for i, n := range l.in {
		n.Await(t, "the last message", func() bool {
			got := n.Numbered["h"]
			return len(got) > 0 && got[len(got)-1].Epoch == epoch && got[len(got)-1].Offset == last.Offset
		})
		view := viewOf(t, i, n.Of("h"), lossy)
		if first == nil {
			first = view
			l.checkView(t, view, lossy)
		} else if len(view) != len(first) {
			t.Errorf("instance %d saw %d messages, the first one %d", i, len(view), len(first))
		}
		for k := range min(len(view), len(first)) {
			if view[k] != first[k] {
				t.Fatalf("instance %d: message %d is %q, at the first one %q", i, k+1, view[k], first[k])
			}
		}
		s := statsOf(n)
		t.Logf("instance %d: %d messages, %d filled, %d reconnects, gaps %d/%d/%d, %d refused, %d unknown", i, len(view), s.Filled,
			s.Reconnects, s.GapsTrimmed, s.GapsEpoch, s.GapsUnavailable, s.AppendsRefused, s.AppendsUnknown)
	}
}

// viewOf returns the payloads of the messages 1, 2 and so on as an instance has seen them in the end.
func viewOf(t *testing.T, instance int, told []brokertest.Told, lossy bool) (view []string) {
	t.Helper()
	for _, m := range told {
		switch {
		case m.Reason == broker.GapEpoch && lossy && m.Offset <= uint64(len(view)):
			view = view[:m.Offset]
		case m.Reason != 0:
			t.Fatalf("instance %d: gap %v to %v after %d", instance, m.Reason, m.Position, len(view))
		case m.Offset != uint64(len(view))+1:
			t.Fatalf("instance %d: %v after %d", instance, m.Position, len(view))
		default:
			view = append(view, m.Payload)
		}
	}
	return view
}

// checkView compares what was seen with what the senders were told.
func (l *appendLoad) checkView(t *testing.T, view []string, lossy bool) {
	t.Helper()
	at := make(map[string]uint64)
	last := make(map[string]string)
	for i, payload := range view {
		if at[payload] != 0 {
			t.Errorf("%q is %d and %d", payload, at[payload], i+1)
		}
		at[payload] = uint64(i + 1)
		if sender := payload[:3]; sender != "las" {
			if payload <= last[sender] {
				t.Errorf("%q after %q", payload, last[sender])
			}
			last[sender] = payload
		}
	}
	for payload, o := range l.outcomes {
		switch {
		case o.Err == nil && at[payload] != o.Offset && !(lossy && at[payload] == 0):
			t.Errorf("%q was told %d and is %d", payload, o.Offset, at[payload])
		case o.Err != nil && !errors.Is(o.Err, broker.ErrUnknown) && at[payload] != 0:
			t.Errorf("%q was refused (%v) and is %d", payload, o.Err, at[payload])
		}
	}
}

// restart kills the server and starts it again, under load.
func (l *appendLoad) restart(t *testing.T, s *redistest.Server) {
	t.Helper()
	l.appended(t, 50)
	s.Kill()
	awaitState(t, l.in, false)
	s.Restart()
	awaitState(t, l.in, true)
	l.appended(t, 50)
}

// TestHistoryRestart: Redis is killed and comes back with its data. Nothing is missing, and no member is told of a gap.
func TestHistoryRestart(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	in := redisCluster(t, 3, quick(s.URL()))
	l := startAppends(t, in)
	before := in[0].ExtentWait(t, "h", brokertest.Ample)
	l.restart(t, s)
	l.end(t, false)
	if after := in[0].ExtentWait(t, "h", brokertest.Ample); after.Epoch == before.Epoch || after.First != 1 {
		t.Errorf("%+v, before %+v: another process begins an epoch", after, before)
	}
	if p := in[1].ReadWait(t, "h", broker.Position{Epoch: before.Epoch, Offset: 10}); p.Gap != nil || p.Messages[0].Offset != 11 ||
		p.Messages[0].Epoch != before.Epoch {
		t.Errorf("a position of the epoch before: %+v", p.Gap)
	}
}

// TestHistoryLostData: Redis comes back empty. Every member is told, and the numbers begin again.
func TestHistoryLostData(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	in := redisCluster(t, 3, quick(s.URL()))
	l := startAppends(t, in)
	l.restart(t, s)
	l.end(t, true)
	for i, n := range in {
		if statsOf(n).GapsEpoch == 0 {
			t.Errorf("instance %d was not told", i)
		}
	}
}

// TestHistoryCuts: connections break again and again, in the middle of appends. None is appended twice or lost.
func TestHistoryCuts(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	var in []*brokertest.Instance
	var proxies []*faultproxy.Proxy
	o := quick("")
	for range 3 {
		p := faultproxy.Start(t, s.Addr())
		o.URL = "redis://" + p.Addr()
		in, proxies = append(in, brokertest.Join(t, newTestRedis(t, o))), append(proxies, p)
	}
	l := startAppends(t, in)
	for i := range 9 {
		l.appended(t, 30)
		proxies[i%3].Cut()
	}
	l.appended(t, 30)
	l.end(t, false)
	if n := statsOf(in[0]).Reconnects; n == 0 {
		t.Error("no connection broke")
	}
}

// TestHistoryLostReplies: Redis carries appends out and the answers are lost. They are sent again, and not appended again.
func TestHistoryLostReplies(t *testing.T) {
	t.Parallel()
	in := proxiedCluster(t, 2, quick(""))
	l := startAppends(t, []*brokertest.Instance{in[0].Instance, in[1].Instance})
	l.appended(t, 50)
	before := in[1].ExtentWait(t, "h", brokertest.Ample)
	in[0].proxy.Set(faultproxy.SwallowReplies)
	eventually.True(t, "appends without an answer", func() bool {
		return in[1].ExtentWait(t, "h", brokertest.Ample).Last > before.Last+20
	})
	in[0].proxy.Set(faultproxy.None)
	in[0].proxy.Cut()
	eventually.True(t, "the connection to be back", func() bool { return in[0].State().Available })
	l.appended(t, 50)
	l.end(t, false)
}

// TestHistoryScriptFlush: the script is dropped from Redis under load.
func TestHistoryScriptFlush(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	in := redisCluster(t, 3, quick(s.URL()))
	l := startAppends(t, in)
	for range 3 {
		l.appended(t, 50)
		s.Do("SCRIPT", "FLUSH")
	}
	l.appended(t, 50)
	l.end(t, false)
}

// TestHistoryTrimmed: while an instance is cut off, more is appended than is kept.
func TestHistoryTrimmed(t *testing.T) {
	t.Parallel()
	few := broker.Limits{Messages: 10, Age: time.Hour, Bytes: 1 << 20}
	in := proxiedCluster(t, 2, quick(""))
	in[1].JoinGroup(t, "h")
	in[1].ExtentWait(t, "h", few)
	in[0].MustAppend(t, "h", 5, few)
	in[1].Await(t, "the first messages", func() bool { return len(in[1].Numbered["h"]) == 5 })
	in[1].cut(t)
	in[0].MustAppend(t, "h", 50, few)
	in[1].heal(t)
	in[1].Await(t, "the last message", func() bool {
		got := in[1].Numbered["h"]
		return got[len(got)-1].Offset == 55
	})
	got := in[1].Of("h")
	brokertest.CheckNumbers(t, "before", got[:5], 1, 5)
	if got[5].Reason != broker.GapTrimmed || got[5].Offset != 45 {
		t.Errorf("after 5: %+v", got[5])
	}
	brokertest.CheckNumbers(t, "after", got[6:], 46, 55)
}

// TestHistoryCutOffWithoutMore: what an instance misses while it is cut off comes though no message follows.
func TestHistoryCutOffWithoutMore(t *testing.T) {
	t.Parallel()
	in := proxiedCluster(t, 2, quick(""))
	in[1].JoinGroup(t, "h")
	in[1].ExtentWait(t, "h", brokertest.Ample) // nothing was delivered yet
	in[1].cut(t)
	in[0].MustAppend(t, "h", 500, brokertest.Ample)
	in[1].heal(t)
	in[1].Await(t, "what was missed", func() bool { return len(in[1].Numbered["h"]) >= 500 })
	brokertest.CheckNumbers(t, "missed", in[1].Of("h"), 1, 500)
}

// TestHistoryRefusals: Redis refuses appends for good, and all else goes on.
func TestHistoryRefusals(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	o := quick(s.URL())
	in := redisCluster(t, 2, o)
	for _, n := range in {
		n.JoinGroup(t, "h")
		n.ExtentWait(t, "h", brokertest.Ample)
	}
	refuse := func(what string, group string) {
		t.Helper()
		if r := in[0].AppendWait(t, group, what, broker.Appending{Limits: brokertest.Ample}); !errors.Is(r.Err, broker.ErrRefused) {
			t.Errorf("%s: %+v, want a refusal", what, r)
		}
		if n, err := in[0].Outcome(t, &broker.Message{Kind: broker.KindGroup, Group: []byte("h")}); n != 1 || err != nil {
			t.Errorf("%s: publish: %d, %v", what, n, err)
		}
	}
	s.Do("SET", o.Prefix+":history:state:state", "x")
	refuse("WRONGTYPE of the state", "state")
	s.Do("SET", o.Prefix+":history:stream:stream", "x")
	s.Do("HSET", o.Prefix+":history:state:stream", "last", "7", "epoch", "e", "epochs", "e 0", "first", "8", "base", "8", "bytes", "0", "due", "0")
	refuse("WRONGTYPE of the stream", "stream")
	in[0].MustAppend(t, "h", 3, brokertest.Ample)
	s.Do("CONFIG", "SET", "maxmemory", "1")
	refuse("OOM", "h")
	s.Do("CONFIG", "SET", "maxmemory", "0")
	s.Do("ACL", "SETUSER", "default", "-xadd")
	refuse("NOPERM", "h")
	s.Do("ACL", "SETUSER", "default", "+xadd")
	if last := in[0].MustAppend(t, "h", 3, brokertest.Ample); last != 6 {
		t.Errorf("the last number is %d, want 6", last)
	}
	for i, n := range in {
		n.Await(t, "the last message", func() bool { return len(n.Numbered["h"]) >= 6 })
		brokertest.CheckNumbers(t, fmt.Sprint(i), n.Of("h"), 1, 6)
		if r := statsOf(n).Reconnects; r != 0 {
			t.Errorf("%d reconnects", r)
		}
	}
}

// TestHistoryUnreadable: what was missed can't be read. The member is told, and gets what comes after.
func TestHistoryUnreadable(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	s.Do("ACL", "SETUSER", "hub", "on", ">pw", "~*", "&*", "+@all")
	p := faultproxy.Start(t, s.Addr())
	o := quick(s.URL())
	writer := redisCluster(t, 1, o)[0]
	o.URL = "redis://hub:pw@" + p.Addr()
	r := proxied{brokertest.Join(t, newTestRedis(t, o)), p}
	r.JoinGroup(t, "h")
	r.ExtentWait(t, "h", brokertest.Ample)
	writer.MustAppend(t, "h", 3, brokertest.Ample)
	r.Await(t, "the first messages", func() bool { return len(r.Numbered["h"]) == 3 })
	s.Do("ACL", "SETUSER", "hub", "-xrange")
	r.cut(t)
	writer.MustAppend(t, "h", 3, brokertest.Ample)
	r.heal(t)
	eventually.True(t, "the refusal", func() bool {
		b := r.Broker.(*Broker)
		b.recv.mu.Lock()
		defer b.recv.mu.Unlock()
		seq := b.recv.sequences["h"]
		return seq != nil && seq.lost
	})
	writer.MustAppend(t, "h", 3, brokertest.Ample)
	r.Await(t, "the last message", func() bool {
		got := r.Numbered["h"]
		return got[len(got)-1].Offset == 9
	})
	got := r.Of("h")
	if got[3].Reason != broker.GapUnavailable || got[3].Offset != 6 {
		t.Errorf("after 3: %+v", got[3])
	}
	brokertest.CheckNumbers(t, "after", got[4:], 7, 9)
}

// TestHistoryEvicted: one of the two keys of a group is gone.
func TestHistoryEvicted(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	o := quick(s.URL())
	in := redisCluster(t, 1, o)[0]
	in.JoinGroup(t, "h")
	before := in.ExtentWait(t, "h", brokertest.Ample)
	in.MustAppend(t, "h", 10, brokertest.Ample)
	s.Do("DEL", o.Prefix+":history:stream:h")
	at := broker.Position{Epoch: before.Epoch, Offset: 4}
	if p := in.ReadWait(t, "h", at); p.Gap == nil || p.Gap.Reason != broker.GapTrimmed || p.Gap.Offset != 10 {
		t.Errorf("without a stream: %+v", p)
	}
	if last := in.MustAppend(t, "h", 2, brokertest.Ample); last != 12 {
		t.Errorf("without a stream the next numbers end at %d", last)
	}
	if e := in.ExtentWait(t, "h", brokertest.Ample); e.First != 11 || e.Last != 12 || e.Epoch != before.Epoch || e.Bytes > 1000 {
		t.Errorf("with a new stream: %+v", e)
	}
	s.Do("DEL", o.Prefix+":history:state:h")
	if last := in.MustAppend(t, "h", 2, brokertest.Ample); last != 2 {
		t.Errorf("without a state the next numbers end at %d", last)
	}
	in.Await(t, "the last message", func() bool {
		got := in.Numbered["h"]
		return got[len(got)-1].Offset == 2 && len(got) > 2
	})
	got := in.Of("h")
	brokertest.CheckNumbers(t, "before", got[:12], 1, 12)
	if got[12].Reason != broker.GapEpoch || got[12].Offset != 0 || got[12].Epoch == before.Epoch {
		t.Errorf("after 12: %+v", got[12])
	}
	brokertest.CheckNumbers(t, "after", got[13:], 1, 2)
}

// mixedSender is a client that sends one message after the other: to a group with history, to another one, to all.
type mixedSender struct {
	id   uuid.UUID
	sent []string
}

func (s *mixedSender) next() []byte {
	s.sent = append(s.sent, fmt.Sprint(len(s.sent)))
	return []byte(s.sent[len(s.sent)-1])
}

// send sends n messages of each sort. What follows a numbered one waits for its completion, as in the hub.
func (s *mixedSender) send(t *testing.T, in *brokertest.Instance, n int) {
	t.Helper()
	for range n {
		for _, group := range []string{"h", "other"} {
			s.publish(in)
			told := make(chan error, 1)
			in.Append(&broker.Message{Kind: broker.KindGroup, Sender: s.id, Group: []byte(group), Payload: s.next()},
				broker.Appending{Limits: brokertest.Ample}, brokertest.AppendFunc(func(_ uint64, _ bool, err error) { told <- err }))
			if err := <-told; err != nil {
				t.Fatal(err)
			}
		}
		s.publish(in)
	}
}

func (s *mixedSender) publish(in *brokertest.Instance) {
	in.Publish(&broker.Message{Kind: broker.KindGlobal, Sender: s.id, Payload: s.next()}, nil)
}

// await waits until an instance has all of them, in order.
func (s *mixedSender) await(t *testing.T, in *brokertest.Instance) {
	t.Helper()
	in.Await(t, "the messages of a sender", func() bool { return len(in.BySender[s.id]) >= len(s.sent) })
	in.Await(t, "all of them in order", func() bool {
		for i, payload := range in.BySender[s.id] {
			if payload != s.sent[i] {
				t.Fatalf("%s came in the place of %s", payload, s.sent[i])
			}
		}
		return true
	})
}

// TestHistoryOrderAfterCut: an instance is cut off, and misses numbered messages and others of the same client. It gets
// them in the order in which they were sent, whether it has to wait for the stream or for the publisher.
func TestHistoryOrderAfterCut(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		backlog int  // numbered messages of 1 KiB before those of the client
		away    bool // the publisher is cut off while the instance comes back
	}{
		"a long stream":    {backlog: 2000},
		"a publisher away": {away: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := quick("")
			o.LeaseTTL = 20 * time.Second // no instance is taken for dead
			in := proxiedCluster(t, 2, o)
			sender, r := in[0], in[1]
			for _, group := range []string{"h", "other"} {
				r.JoinGroup(t, group)
				r.ExtentWait(t, group, brokertest.Ample)
			}
			s := mixedSender{id: uuid.New()}
			s.send(t, sender.Instance, 2)
			s.await(t, r.Instance)
			for range 2 {
				r.cut(t)
				var appending sync.WaitGroup
				for range tt.backlog {
					appending.Add(1)
					sender.Append(&broker.Message{Kind: broker.KindGroup, Group: []byte("h"), Payload: make([]byte, 1<<10)},
						broker.Appending{Limits: brokertest.Ample}, brokertest.AppendFunc(func(uint64, bool, error) { appending.Done() }))
				}
				appending.Wait()
				s.send(t, sender.Instance, 5)
				if tt.away {
					sender.cut(t)
				}
				read := statsOf(r.Instance).PagesRead
				r.heal(t)
				if tt.away {
					eventually.True(t, "the streams to be read", func() bool { return statsOf(r.Instance).PagesRead >= read+2 })
					sender.heal(t)
				}
				s.send(t, sender.Instance, 5)
				s.await(t, r.Instance)
			}
			if st := statsOf(r.Instance); st.Missed+st.GapsEpoch+st.GapsTrimmed+st.GapsUnavailable != 0 || st.Filled == 0 {
				t.Errorf("stats: %+v", st)
			}
		})
	}
}
