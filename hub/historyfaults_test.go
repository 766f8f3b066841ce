package hub

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/intent"
	"github.com/mastersocket/mastersocket/opcodes"
)

// Members that are live are told of gaps and new epochs where these are, if they know HISTORY.
func TestGapsWhileLive(t *testing.T) {
	t.Parallel()
	h, url := startHub(t, memory.NewBus().Broker(), keeps(100))
	all := []*peer{identify(t, url, "log", withHistory), identify(t, url, "log", withHistory)}
	plain := identify(t, url, "log", nil)
	r := remote{hub: h}
	group, sender := []byte("log"), uuid.New()
	deliver := func(epoch string, offset uint64) {
		payload := opcodes.AppendMessage(nil, &opcodes.Message{Event: "e", Target: intent.Group, Group: group}, sender)
		r.DeliverNumbered(&broker.Message{Kind: broker.KindGroup, Group: group, Sender: sender, Payload: payload},
			broker.Position{Epoch: epoch, Offset: offset})
	}
	gap := func(reason broker.GapReason, epoch string, offset uint64) {
		r.Gap("log", broker.Gap{Reason: reason, Position: broker.Position{Epoch: epoch, Offset: offset}})
	}
	deliver("x7", 1) // the members joined in another epoch
	deliver("x7", 2)
	gap(broker.GapTrimmed, "x7", 5)
	deliver("x7", 6)
	deliver("x7", 6) // again
	gap(broker.GapEpoch, "y1", 4)
	gap(broker.GapEpoch, "y1", 4)
	deliver("y1", 5)
	gap(broker.GapUnavailable, "y1", 9)
	deliver("y1", 10)
	for i, p := range append(all, plain) {
		var got []frame
		for len(got) == 0 || got[len(got)-1].Offset != 10 {
			got = append(got, p.read())
		}
		want := "at 0,1,2,TRIMMED 5 first 6,6,EPOCH 4,5,UNAVAILABLE 9,10"
		if p == plain {
			want = "1,2,6,5,10"
		}
		if offsets(got) != want {
			t.Errorf("member %d got %q, want %q", i, offsets(got), want)
		}
	}
	if s := h.Stats().History; s.Gaps[broker.GapTrimmed] == 0 || s.Gaps[broker.GapEpoch] == 0 || s.Gaps[broker.GapUnavailable] == 0 {
		t.Errorf("counted %v", s.Gaps)
	}
}

// A client that reads slowly recovers a history that is many times larger than its send queue, and stays connected.
func TestSlowRecovery(t *testing.T) {
	t.Parallel()
	h, url := startHub(t, memory.NewBus().Broker(), func(o *Options) {
		keeps(100_000)(o)
		o.Transport.SendQueueBytes = 64 << 10
	})
	sender := identify(t, url, "x", withHistory)
	const n = 3000
	padding := strings.Repeat("x", 1000)
	for i := range n {
		msg := event(fmt.Sprint(i), to("GROUP", "log"))
		msg["data"] = padding
		sender.send(msg)
		if f := sender.read(); f.Op != 7 {
			t.Fatalf("got %+v", f)
		}
	}
	p := identify(t, url, "y", withHistory)
	answer, _ := p.change(8, "s", m{"groups": []string{"log"}, "recover": m{"log": m{"offset": 0}}})
	if _, _, recovering := historyOf(answer, "log"); recovering != n {
		t.Fatalf("the answer is %v", answer)
	}
	most := 0
	for i := 1; i <= n; i++ {
		if f := p.read(); int(f.Offset) != i {
			t.Fatalf("got %+v, want %d", f, i)
		}
		if i%100 == 0 {
			queued := 0
			for _, l := range h.Stats().Transport.Loops {
				queued += int(l.QueueBytes)
			}
			most = max(most, queued)
		}
	}
	p.untilLive()
	if most > 64<<10 {
		t.Errorf("%d bytes were queued", most)
	}
	if s := h.Stats(); s.History.Recovered != n || s.History.Recovering != 0 || s.History.CaughtUp != 1 || s.Disconnects[opcodes.SlowConsumer] != 0 {
		t.Errorf("counted %+v", s.History)
	}
}

// absent is a broker that keeps no history for now.
type absent struct {
	broker.Broker
	away atomic.Bool
}

func (b *absent) Append(m *broker.Message, a broker.Appending, done broker.AppendCompletion) {
	if b.away.Load() {
		done.Appended(0, false, broker.ErrUnavailable)
		return
	}
	b.Broker.Append(m, a, done)
}

func (b *absent) Extent(group string, l broker.Limits, done func(broker.Extent, error)) {
	if b.away.Load() {
		done(broker.Extent{}, broker.ErrUnavailable)
		return
	}
	b.Broker.Extent(group, l, done)
}

func (b *absent) Read(group string, from broker.Position, done func(*broker.Page, error)) {
	if b.away.Load() {
		done(nil, broker.ErrUnavailable)
		return
	}
	b.Broker.Read(group, from, done)
}

// While the broker keeps no history, numbered messages and joins are refused, and all else goes on. A member that recovers
// waits.
func TestHistoryAway(t *testing.T) {
	t.Parallel()
	b := &absent{Broker: memory.NewBus().Broker()}
	_, url := startHub(t, b, keeps(100))
	p := identify(t, url, "log", withHistory)
	p.append("log", "1", nil)
	b.away.Store(true)
	p.send(event("2", to("GROUP", "log")))
	p.send(event("3", to("DIRECT", p.id)))
	var got []string
	for len(got) < 3 {
		f := p.read()
		d, _ := f.Data.(m)
		got = append(got, fmt.Sprint(f.Op, f.ID, d["code"]))
	}
	if fmt.Sprint(got) != "[62BROKER_UNAVAILABLE 03<nil> 73<nil>]" {
		t.Errorf("got %v", got)
	}
	if answer, _ := p.change(8, "s", m{"groups": []string{"log2"}}); refusalOf(answer) != "BROKER_UNAVAILABLE <nil>" {
		t.Errorf("SUBSCRIBE: %v", answer)
	}
	b.away.Store(false)
	if ack, _ := p.append("log", "4", nil); fmt.Sprint(ack["offset"]) != "2" {
		t.Errorf("afterwards: %v", ack)
	}
}

// An instance sends to no more groups of a rule than that allows.
func TestTooManyHistories(t *testing.T) {
	t.Parallel()
	h, url := startHub(t, memory.NewBus().Broker(), func(o *Options) {
		keeps(100)(o)
		o.History[0].MaxGroups = 2
	})
	p := identify(t, url, "x", withHistory)
	for i, want := range []any{nil, nil, "OVERLOADED", nil} {
		if answer, _ := p.append([]string{"log1", "log2", "log3", "log1"}[i], fmt.Sprint(i), nil); answer["code"] != want {
			t.Errorf("group %d: %v", i, answer)
		}
	}
	if n := h.Stats().History.Refused[RefusedGroups]; n != 1 {
		t.Errorf("counted %d", n)
	}
	h.SetHistory(nil)
	if answer, _ := p.append("log1", "off", nil); answer["offset"] != nil {
		t.Errorf("without rules: %v", answer)
	}
}

// What service types send comes in the order of their calls, whether it is numbered or not.
func TestServiceTypesFollowNumbered(t *testing.T) {
	t.Parallel()
	bus := memory.NewBus()
	with := func(o *Options) {
		keeps(1000)(o)
		o.Services = []ServiceType{newLines()}
	}
	_, url := startHub(t, bus.Broker(), with)
	_, other := startHub(t, bus.Broker(), with)
	line := openLine(t, url, "log")
	members := []*peer{identify(t, url, "log", m{"groups": []string{"plain"}}), identify(t, other, "log", m{"groups": []string{"plain"}})}
	const n = 60
	for i := range n {
		group := []string{"log", "plain", "log"}[i%3]
		line.sendText(fmt.Sprintf("GROUP %s %d", group, i))
	}
	for i := range n {
		group := []string{"log", "plain", "log"}[i%3]
		line.sendText(fmt.Sprintf("AGENT %s %d", group, n+i))
	}
	for _, p := range members {
		next := map[string]float64{} // by sender
		for range 2 * n {
			f := p.read()
			at, _ := f.Data.(float64)
			first := next[f.Sender]
			if first == 0 && at >= n {
				first = n
			}
			if at != first {
				t.Fatalf("got %v of %s, want %v", at, f.Sender, first)
			}
			next[f.Sender] = first + 1
		}
	}
	for i := 0; i < n; i++ { // the client of the service type is a member, too
		if i%3 != 1 {
			line.want(fmt.Sprint("line ", i))
		}
	}
}

// A FENCE from a connection that joined arrives at another one of the same instance behind what came before it joined.
func TestFenceBehindNumbered(t *testing.T) {
	t.Parallel()
	_, url := startHub(t, memory.NewBus().Broker(), keeps(10_000))
	sender := identify(t, url, "senders", withHistory)
	stop := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				sender.append("log", fmt.Sprint(i), nil)
			}
		}
	}()
	join := func() (p *peer, joined int) {
		p = connect(t, url)
		p.send(m{"op": 1, "data": m{"token": testToken, "group": "log", "features": withHistory["features"]}})
		d, _ := p.read().Data.(m)
		p.id, _ = d["id"].(string)
		_, joined, _ = historyOf(d, "log")
		return p, joined
	}
	old, last := join()
	for range 6 {
		next, joined := join()
		next.send(m{"op": 13, "intent": to("DIRECT", old.id)})
		for {
			f := old.read()
			if f.Op == 13 {
				break
			}
			if f.Offset > 0 {
				last = int(f.Offset)
			}
		}
		if last < joined {
			t.Fatalf("joined at %d, and the other connection had %d", joined, last)
		}
		_ = old.conn.CloseNow()
		old, last = next, joined
	}
	close(stop)
	<-stopped
}

// Groups without history cost no allocation where others have one.
func TestRulesAllocateNothing(t *testing.T) {
	var o Options
	keeps(100)(&o)
	var c chronicles
	c.set(o.History)
	other, kept := []byte("orders"), []byte("logs")
	if n := testing.AllocsPerRun(100, func() {
		if c.find(other) != nil || c.find(kept) == nil || !c.find(kept).admits(kept) {
			t.Error("the rule does not match as it should")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
