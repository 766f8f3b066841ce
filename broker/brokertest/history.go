package brokertest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker"
)

// Ample are limits that no test reaches.
var Ample = broker.Limits{Messages: 1_000_000, Age: time.Hour, Bytes: 1 << 30}

// AppendFunc is a function as a [broker.AppendCompletion].
type AppendFunc func(offset uint64, duplicate bool, err error)

// Appended calls f.
func (f AppendFunc) Appended(offset uint64, duplicate bool, err error) { f(offset, duplicate, err) }

// ConformHistory tests what every Broker must do for groups with history. newCluster is as for Conform.
func ConformHistory(t *testing.T, newCluster func(testing.TB) func(testing.TB) broker.Broker) {
	for name, test := range map[string]func(*testing.T, func(testing.TB) broker.Broker){
		"one order": historyOrder, "once": historyOnce, "limits": historyLimits, "purge": historyPurge, "positions": historyPositions,
		"pages": historyPages, "completions": historyCompletions, "closed": historyClosed, "alone": historyAlone,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newCluster(t))
		})
	}
}

// Appended is the outcome of an append.
type Appended struct {
	Offset    uint64
	Duplicate bool
	Err       error
}

// AppendWait appends a message with that payload, and returns what its completion was told.
func (in *Instance) AppendWait(t testing.TB, group, payload string, a broker.Appending) Appended {
	t.Helper()
	results := make(chan Appended, 2)
	in.Append(&broker.Message{Kind: broker.KindGroup, Group: []byte(group), Payload: []byte(payload)}, a,
		AppendFunc(func(offset uint64, duplicate bool, err error) { results <- Appended{offset, duplicate, err} }))
	select {
	case r := <-results:
		return r
	case <-time.After(Patience):
		t.Fatal("no outcome of an appended message")
		return Appended{}
	}
}

// MustAppend appends n messages, one by one, whose payloads are their numbers. It returns the last offset.
func (in *Instance) MustAppend(t testing.TB, group string, n int, l broker.Limits) (last uint64) {
	t.Helper()
	for i := range n {
		r := in.AppendWait(t, group, fmt.Sprint(i), broker.Appending{Limits: l})
		if r.Err != nil || r.Duplicate || last != 0 && r.Offset != last+1 {
			t.Fatalf("append after %d: %+v", last, r)
		}
		last = r.Offset
	}
	return last
}

// ExtentWait returns what is kept of a group.
func (in *Instance) ExtentWait(t testing.TB, group string, l broker.Limits) broker.Extent {
	t.Helper()
	return await(t, func(done func(broker.Extent, error)) { in.Extent(group, l, done) })
}

// PurgeWait purges a group.
func (in *Instance) PurgeWait(t testing.TB, group string) broker.Extent {
	t.Helper()
	return await(t, func(done func(broker.Extent, error)) { in.Purge(group, done) })
}

// ReadWait reads a page.
func (in *Instance) ReadWait(t testing.TB, group string, from broker.Position) *broker.Page {
	t.Helper()
	return await(t, func(done func(*broker.Page, error)) { in.Read(group, from, done) })
}

func await[T any](t testing.TB, call func(done func(T, error))) T {
	t.Helper()
	type result struct {
		v   T
		err error
	}
	results := make(chan result, 2)
	call(func(v T, err error) { results <- result{v, err} })
	select {
	case r := <-results:
		if r.err != nil {
			t.Fatal(r.err)
		}
		return r.v
	case <-time.After(Patience):
		t.Fatal("no answer")
		panic("not reached")
	}
}

// Payloads returns the payloads of messages.
func Payloads(messages []broker.Numbered) (payloads []string) {
	for i := range messages {
		payloads = append(payloads, string(messages[i].Message.Payload))
	}
	return payloads
}

// CheckNumbers fails the test unless got is first, first+1 and so on up to last, without gaps, in one epoch.
func CheckNumbers(t testing.TB, who string, got []Told, first, last uint64) {
	t.Helper()
	want := first
	for _, m := range got {
		if m.Offset != want || m.Reason != 0 || m.Epoch == "" || m.Epoch != got[0].Epoch {
			t.Errorf("%s: %+v where %d should be", who, m, want)
			return
		}
		want++
	}
	if want != last+1 {
		t.Errorf("%s: the last one is %d, want %d", who, want-1, last)
	}
}

// historyOrder: several senders on each of three instances append to two groups. All see the same, without gaps, and
// each sender's messages in its order.
func historyOrder(t *testing.T, newBroker func(testing.TB) broker.Broker) {
	const senders, messages = 3, 200
	in := Cluster(t, 3, newBroker)
	groups := []string{"a", "b:c"}
	for _, n := range in {
		for _, g := range groups {
			n.SubscribeWait(t, g)
		}
	}
	var sending, outcomes sync.WaitGroup
	for i, n := range in {
		for s := range senders {
			outcomes.Add(messages)
			sending.Go(func() {
				sender := uuid.New()
				for seq := range messages {
					n.Append(&broker.Message{
						Kind: broker.KindGroup, Group: []byte(groups[s%2]), Sender: sender, Seq: uint64(seq), Flags: 0x10,
						Payload: fmt.Appendf(nil, "%d.%d %04d", i, s, seq),
					}, broker.Appending{Limits: Ample}, AppendFunc(func(offset uint64, duplicate bool, err error) {
						if err != nil || duplicate || offset == 0 {
							t.Errorf("append: %d, %v, %v", offset, duplicate, err)
						}
						outcomes.Done()
					}))
				}
			})
		}
	}
	sending.Wait()
	outcomes.Wait()
	for s, g := range groups {
		want := len(in) * messages * (2 - s)
		var first []Told
		for i, n := range in {
			n.Await(t, "all messages", func() bool { return len(n.Numbered[g]) >= want })
			got := n.Of(g)
			CheckNumbers(t, g, got, 1, uint64(want))
			if i == 0 {
				first = got
				last := make(map[string]string)
				for _, m := range got {
					if m.Payload[:3] != "" && m.Payload <= last[m.Payload[:3]] {
						t.Fatalf("%q after %q", m.Payload, last[m.Payload[:3]])
					}
					last[m.Payload[:3]] = m.Payload
				}
			} else if !slices.Equal(got, first) {
				t.Errorf("instance %d saw another order than the first", i)
			}
			if len(n.Deliveries()) > 0 {
				t.Errorf("numbered messages by Deliver: %v", n.Deliveries())
			}
		}
	}
}

// historyOnce: a second append with the same id is told the first one's offset, from any instance.
func historyOnce(t *testing.T, newBroker func(testing.TB) broker.Broker) {
	in := Cluster(t, 2, newBroker)
	in[0].SubscribeWait(t, "g")
	once := func(n *Instance, group, id string) Appended {
		t.Helper()
		return n.AppendWait(t, group, id, broker.Appending{Limits: Ample, Once: id})
	}
	for i, step := range []struct {
		at    *Instance
		group string
		id    string
		want  Appended
	}{
		{in[0], "g", "x", Appended{1, false, nil}}, {in[1], "g", "x", Appended{1, true, nil}}, {in[1], "g", "y", Appended{2, false, nil}},
		{in[0], "g", "y", Appended{2, true, nil}}, {in[0], "g", "x", Appended{1, true, nil}}, {in[0], "h", "x", Appended{1, false, nil}},
		{in[0], "g", "", Appended{3, false, nil}}, {in[1], "g", "", Appended{4, false, nil}}, {in[1], "g:x", "y", Appended{1, false, nil}},
		{in[1], "g", "x:y", Appended{5, false, nil}},
	} {
		if got := once(step.at, step.group, step.id); got != step.want {
			t.Errorf("step %d: %+v, want %+v", i, got, step.want)
		}
	}
	in[0].Await(t, "the last message", func() bool { return len(in[0].Numbered["g"]) >= 5 })
	CheckNumbers(t, "g", in[0].Of("g"), 1, 5)
}

// historyLimits: what is kept is bounded by number, age and bytes.
func historyLimits(t *testing.T, newBroker func(testing.TB) broker.Broker) {
	in := Cluster(t, 1, newBroker)[0]
	few := broker.Limits{Messages: 3, Age: time.Hour, Bytes: 1 << 20}
	in.MustAppend(t, "count", 10, few)
	if e := in.ExtentWait(t, "count", few); e.First != 8 || e.Last != 10 || e.Bytes <= 0 || e.Epoch == "" {
		t.Errorf("by number: %+v", e)
	}
	if p := in.ReadWait(t, "count", broker.Position{}); !slices.Equal(Payloads(p.Messages), []string{"7", "8", "9"}) || p.Gap != nil {
		t.Errorf("by number: %v, %+v", Payloads(p.Messages), p.Gap)
	}
	one := broker.Limits{Messages: 1, Age: time.Hour, Bytes: 1}
	in.MustAppend(t, "one", 5, one)
	if p := in.ReadWait(t, "one", broker.Position{}); !slices.Equal(Payloads(p.Messages), []string{"4"}) {
		t.Errorf("the last one alone: %v", Payloads(p.Messages))
	}
	small := broker.Limits{Messages: 1000, Age: time.Hour, Bytes: 5000}
	for range 100 {
		in.AppendWait(t, "bytes", string(make([]byte, 200)), broker.Appending{Limits: small})
	}
	if e := in.ExtentWait(t, "bytes", small); e.Bytes > small.Bytes || e.First < 70 || e.First > 95 || e.Last != 100 {
		t.Errorf("by bytes: %+v", e)
	}
	short := broker.Limits{Messages: 1000, Age: 50 * time.Millisecond, Bytes: 1 << 20}
	in.MustAppend(t, "age", 10, short)
	time.Sleep(2 * short.Age) // the age itself
	if e := in.ExtentWait(t, "age", short); e.First != 11 || e.Last != 10 || e.Bytes != 0 {
		t.Errorf("by age: %+v", e)
	}
	if p := in.ReadWait(t, "age", broker.Position{}); len(p.Messages) > 0 || p.Gap != nil || p.Last != 10 {
		t.Errorf("by age: %+v", p)
	}
	if last := in.MustAppend(t, "age", 1, Ample); last != 11 {
		t.Errorf("the number after that is %d", last)
	}
}

// historyPurge: nothing is left, and the numbers go on.
func historyPurge(t *testing.T, newBroker func(testing.TB) broker.Broker) {
	in := Cluster(t, 2, newBroker)
	in[1].SubscribeWait(t, "g")
	in[0].MustAppend(t, "g", 10, Ample)
	before := in[0].ExtentWait(t, "g", Ample)
	after := in[1].PurgeWait(t, "g")
	if want := (broker.Extent{Epoch: before.Epoch, First: 11, Last: 10}); after != want {
		t.Errorf("purged: %+v, want %+v", after, want)
	}
	if p := in[0].ReadWait(t, "g", broker.Position{Epoch: before.Epoch, Offset: 4}); len(p.Messages) > 0 || p.Gap == nil ||
		*p.Gap != (broker.Gap{Reason: broker.GapTrimmed, Position: broker.Position{Epoch: before.Epoch, Offset: 10}}) {
		t.Errorf("read: %+v, %+v", p, p.Gap)
	}
	if last := in[1].MustAppend(t, "g", 1, Ample); last != 11 {
		t.Errorf("the number after that is %d", last)
	}
	in[1].Await(t, "the last message", func() bool { return len(in[1].Numbered["g"]) >= 11 })
	CheckNumbers(t, "g", in[1].Of("g"), 1, 11)
}

// historyPositions: a position is good, trimmed or void.
func historyPositions(t *testing.T, newBroker func(testing.TB) broker.Broker) {
	in := Cluster(t, 1, newBroker)[0]
	few := broker.Limits{Messages: 3, Age: time.Hour, Bytes: 1 << 20}
	empty := in.ExtentWait(t, "g", few)
	if empty.Epoch == "" || empty.First != 1 || empty.Last != 0 || empty.Bytes != 0 {
		t.Errorf("an empty group: %+v", empty)
	}
	if p := in.ReadWait(t, "g", broker.Position{Epoch: empty.Epoch}); p.Gap != nil || len(p.Messages) > 0 {
		t.Errorf("the beginning: %+v", p)
	}
	in.MustAppend(t, "g", 10, few)
	e := empty.Epoch
	at := func(epoch string, offset uint64) broker.Position {
		return broker.Position{Epoch: epoch, Offset: offset}
	}
	gap := func(reason broker.GapReason, offset uint64) *broker.Gap {
		return &broker.Gap{Reason: reason, Position: at(e, offset)}
	}
	for _, c := range []struct {
		from broker.Position
		gap  *broker.Gap
		want []string
	}{
		{at(e, 10), nil, nil}, {at(e, 9), nil, []string{"9"}}, {at(e, 7), nil, []string{"7", "8", "9"}},
		{at(e, 6), gap(broker.GapTrimmed, 7), []string{"7", "8", "9"}}, {at(e, 0), gap(broker.GapTrimmed, 7), []string{"7", "8", "9"}},
		{at("", 0), nil, []string{"7", "8", "9"}}, {at("", 3), gap(broker.GapTrimmed, 7), []string{"7", "8", "9"}},
		{at("", 9), nil, []string{"9"}}, {at(e, 11), gap(broker.GapEpoch, 10), nil},
		{at("never", 9), gap(broker.GapEpoch, 7), []string{"7", "8", "9"}}, {at("", 99), gap(broker.GapEpoch, 10), nil},
	} {
		p := in.ReadWait(t, "g", c.from)
		if d := gocmp.Diff(c.gap, p.Gap); d != "" || !slices.Equal(Payloads(p.Messages), c.want) {
			t.Errorf("from %v: %v, gap %s", c.from, Payloads(p.Messages), d)
		}
		if p.Epoch != e || p.First != 8 || p.Last != 10 {
			t.Errorf("from %v: %+v", c.from, p.Extent)
		}
	}
}

// historyPages reads page by page while messages are appended.
func historyPages(t *testing.T, newBroker func(testing.TB) broker.Broker) {
	const messages = 600
	in := Cluster(t, 2, newBroker)
	var appending sync.WaitGroup
	appending.Go(func() {
		for i := range messages {
			payload := fmt.Sprintf("%04d%s", i, make([]byte, 4<<10))
			in[0].Append(&broker.Message{Kind: broker.KindGroup, Group: []byte("g"), Payload: []byte(payload)}, broker.Appending{Limits: Ample}, nil)
		}
	})
	var at broker.Position
	for deadline := time.Now().Add(Patience); at.Offset < messages; {
		if time.Now().After(deadline) {
			t.Fatalf("read up to %v", at)
		}
		p := in[1].ReadWait(t, "g", at)
		if p.Gap != nil {
			t.Fatalf("gap: %+v", p.Gap)
		}
		bytes := 0
		for _, m := range p.Messages {
			if m.Offset != at.Offset+1 || m.Epoch != p.Epoch || string(m.Message.Payload[:4]) != fmt.Sprintf("%04d", at.Offset) ||
				m.Message.From != in[0].ID || string(m.Message.Group) != "g" || m.Message.Kind != broker.KindGroup {
				t.Fatalf("after %v: %v %q of %v", at, m.Position, m.Message.Payload[:4], m.Message.From)
			}
			at = m.Position
			bytes += len(m.Message.Payload)
		}
		if bytes > broker.PageBytes || at.Offset > p.Last {
			t.Errorf("a page of %d bytes up to %d of %d", bytes, at.Offset, p.Last)
		}
	}
	appending.Wait()
	huge := string(make([]byte, broker.PageBytes+1))
	in[0].AppendWait(t, "g", huge, broker.Appending{Limits: Ample})
	if p := in[1].ReadWait(t, "g", at); len(p.Messages) != 1 || len(p.Messages[0].Message.Payload) != len(huge) {
		t.Errorf("%d messages where one is larger than a page", len(p.Messages))
	}
}

// historyCompletions: a completion is called behind the delivery to its own instance, and in order.
func historyCompletions(t *testing.T, newBroker func(testing.TB) broker.Broker) {
	const messages = 500
	in := Cluster(t, 2, newBroker)[0]
	in.SubscribeWait(t, "g")
	var mu sync.Mutex
	var offsets []uint64
	all := make(chan struct{})
	for range messages {
		in.Append(&broker.Message{Kind: broker.KindGroup, Group: []byte("g")}, broker.Appending{Limits: Ample},
			AppendFunc(func(offset uint64, _ bool, err error) {
				got := in.Of("g")
				mu.Lock()
				defer mu.Unlock()
				if err != nil || len(got) == 0 || got[len(got)-1].Offset < offset {
					t.Errorf("told of %d, %v, when %d were delivered", offset, err, len(got))
				}
				if offsets = append(offsets, offset); len(offsets) == messages {
					close(all)
				}
			}))
	}
	select {
	case <-all:
	case <-time.After(Patience):
		t.Fatal("no completion")
	}
	mu.Lock()
	defer mu.Unlock()
	for i, offset := range offsets {
		if offset != uint64(i)+1 {
			t.Fatalf("completion %d is of %d", i, offset)
		}
	}
}

func historyClosed(t *testing.T, newBroker func(testing.TB) broker.Broker) {
	b := newBroker(t)
	fresh := &Instance{Broker: b, Recorder: NewRecorder()}
	if r := fresh.AppendWait(t, "g", "", broker.Appending{Limits: Ample}); !errors.Is(r.Err, broker.ErrNotStarted) {
		t.Errorf("append before Start: %+v", r)
	}
	in := Cluster(t, 1, newBroker)[0]
	if err := in.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := in.AppendWait(t, "g", "", broker.Appending{Limits: Ample}); !errors.Is(r.Err, broker.ErrClosed) {
		t.Errorf("append after Close: %+v", r)
	}
	closed := func(what string, err error) {
		if !errors.Is(err, broker.ErrClosed) {
			t.Errorf("%s after Close: %v", what, err)
		}
	}
	in.Extent("g", Ample, func(_ broker.Extent, err error) { closed("extent", err) })
	in.Purge("g", func(_ broker.Extent, err error) { closed("purge", err) })
	in.Read("g", broker.Position{}, func(_ *broker.Page, err error) { closed("read", err) })
}

// historyAlone: one instance gets its own messages, while it has subscribed.
func historyAlone(t *testing.T, newBroker func(testing.TB) broker.Broker) {
	in := Cluster(t, 1, newBroker)[0]
	in.MustAppend(t, "g", 3, Ample)
	in.SubscribeWait(t, "g")
	if e := in.ExtentWait(t, "g", Ample); e.Last != 3 {
		t.Errorf("%+v", e)
	}
	in.MustAppend(t, "g", 3, Ample)
	CheckNumbers(t, "g", in.Of("g"), 4, 6)
	in.Unsubscribe("g")
	in.MustAppend(t, "g", 3, Ample)
	CheckNumbers(t, "g", in.Of("g"), 4, 6)
	in.SubscribeWait(t, "g")
	if e := in.ExtentWait(t, "g", Ample); e.Last != 9 {
		t.Errorf("%+v", e)
	}
	in.MustAppend(t, "g", 1, Ample)
	got := in.Of("g") // what was on its way when it subscribed again may be among it
	for i, m := range got[1:] {
		if m.Offset <= got[i].Offset {
			t.Errorf("%v after %v", m, got[i])
		}
	}
	if got[len(got)-1].Offset != 10 {
		t.Errorf("subscribed again: %+v", got)
	}
}
