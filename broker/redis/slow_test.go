package redis

import (
	"strconv"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/redistest"
)

// throttle lets s run for one part of each parts of the time, until the function that it returns is called.
func throttle(s *redistest.Server, part time.Duration, parts int) (end func()) {
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			s.Pause()
			select {
			case <-time.After(part * time.Duration(parts-1)):
			case <-stop:
				s.Resume()
				return
			}
			s.Resume()
			<-time.After(part)
		}
	}()
	return func() { close(stop); <-ended }
}

// TestResubscribeSlowly breaks the subscriptions of instances with many groups, at a Redis that has little time. They
// need longer than any single answer may take, and one connection each is enough.
func TestResubscribeSlowly(t *testing.T) {
	t.Parallel()
	const groups = 40_000
	s := redistest.Start(t)
	o := patient(s.URL()) // neither silence nor an ended lease breaks a connection
	o.DialTimeout, o.SubscribeTimeout = time.Second, time.Minute
	in := redisCluster(t, 2, o)
	for i := range groups {
		in[0].SetMembers("group-"+strconv.Itoa(i), 1)
		in[0].Subscribe("group-"+strconv.Itoa(i), nil)
	}
	in[0].SubscribeWait(t, "group-"+strconv.Itoa(groups-1))
	settle(t, in)
	before := statsOf(in[0]).Reconnects
	end := throttle(s, 2*time.Millisecond, 20)
	began := time.Now()
	_, _ = s.Try("CLIENT", "KILL", "TYPE", "pubsub")
	for _, n := range in {
		eventually.True(t, "the instance to be back", func() bool { return statsOf(n).Reconnects > before && n.State().Available })
	}
	t.Logf("back after %v", time.Since(began))
	for i, n := range in {
		if st := statsOf(n); st.Reconnects > before+1 {
			t.Errorf("instance %d: %d reconnects, state %+v", i, st.Reconnects-before, n.State())
		}
	}
	end()
	m := &broker.Message{Kind: broker.KindGroup, Group: []byte("group-77")}
	if n, err := in[1].Outcome(t, m); n != 1 || err != nil {
		t.Errorf("%d instances, %v", n, err)
	}
}
