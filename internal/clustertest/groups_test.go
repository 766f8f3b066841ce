//go:build linux

package clustertest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/mastersocket/mastersocket/internal/figure"
	"github.com/mastersocket/mastersocket/internal/history"
	"github.com/mastersocket/mastersocket/internal/hubtest"
)

// TestGroupsChangeUnderLoad has 20 clients of three instances change their groups 200 times a second, while 2,000 messages a
// second flow. Nothing may be lost, duplicated, reordered, or delivered outside of a membership.
func TestGroupsChangeUnderLoad(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, clusterOptions{})
	l := startLoad(t, c.urls(), loadOptions{
		senders: 10, receivers: 8, rate: 200, shifters: 20, shifts: 10, anyShift: true, mix: [4]int{1, 8, 4, 4},
	})
	begin := time.Now()
	l.runFor(figure.Choose(5*time.Second, 30*time.Second))
	changes, took := l.changes.Load(), time.Since(begin)
	r := l.finish(c)
	wantHonest(t, r)
	figure.Printf(t, "%.0f changes of groups a second, %.0f messages a second", float64(changes)/took.Seconds(), float64(r.Messages)/took.Seconds())
	if r.Memberships < int(changes)/3 || changes < 100 {
		t.Errorf("%d memberships, %d changes", r.Memberships, changes)
	}
}

// TestGroupStorm has a client change its groups as fast as it can: it alone is in them, so that each change concerns all
// instances. The hub reads no more of it than it may send, and others notice nothing.
func TestGroupStorm(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2, clusterOptions{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	h := history.New(0)
	connect := func(at int, name string) *hubtest.Client {
		p, err := hubtest.Connect(ctx, c.urls()[at], hubtest.ClientOptions{Name: name, Groups: []string{"pair"}, Reports: true, History: h})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	from, to := connect(0, "sender"), connect(1, "receiver")
	storm, _, err := websocket.Dial(ctx, c.urls()[0], nil)
	if err != nil {
		t.Fatal(err)
	}
	defer storm.CloseNow()
	write := func(format string, args ...any) error {
		return storm.Write(ctx, websocket.MessageText, fmt.Appendf(nil, format, args...))
	}
	if err := write(`{"op":1,"data":{"token":%q,"group":"storm","features":["groups"]}}`, hubtest.Token); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	var answers atomic.Int64
	var storming sync.WaitGroup
	storming.Go(func() {
		for i := 0; write(`{"op":%d,"id":"%d","data":{"groups":["storm-%d"]}}`, 8+i%2, i, i/2) == nil; i++ {
		}
	})
	storming.Go(func() {
		for {
			if _, _, err := storm.Read(ctx); err != nil {
				return
			}
			answers.Add(1)
		}
	})
	var slowest time.Duration
	for range 200 {
		sent := time.Now()
		n, err := from.Send(ctx, history.To{Target: history.Direct, Name: to.ID()}, 0)
		if err == nil {
			err = to.WaitArrival(ctx, from.Record().Index(), n)
		}
		if err != nil {
			t.Fatal(err)
		}
		slowest = max(slowest, time.Since(sent))
		<-time.After(10 * time.Millisecond)
	}
	_ = storm.CloseNow()
	storming.Wait()
	took := time.Since(begin)
	figure.Printf(t, "a storm of changes: %d answered in %v; the slowest of 200 messages between two others took %v",
		answers.Load(), figure.MS(took), figure.MS(slowest))
	if most := 2048 + 256*(took.Seconds()+2); float64(answers.Load()) > most {
		t.Errorf("%d changes in %v, want %.0f at most", answers.Load(), took, most)
	}
	if slowest > time.Second {
		t.Errorf("a message between two others took %v", slowest)
	}
	for _, p := range []*hubtest.Client{from, to} {
		p.Retire()
	}
	if err := h.Check(history.Options{}).Err(); err != nil {
		t.Error(err)
	}
}
