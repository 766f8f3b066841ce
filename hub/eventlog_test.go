package hub

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/internal/eventually"
)

// eventsOf returns all events that match, the newest first, in pages of that size.
func eventsOf(t *testing.T, h *Hub, f LogFilter, limit int) []LogEntry {
	t.Helper()
	var all []LogEntry
	for cursor := ""; ; {
		page, err := h.EventLog(inspectCtx(t), f, cursor, limit)
		if err != nil || len(page.Missing) > 0 || len(page.Entries) > limit {
			t.Fatalf("%d events on a page of %d, missing %v: %v", len(page.Entries), limit, page.Missing, err)
		}
		all = append(all, page.Entries...)
		if cursor = page.Next; cursor == "" {
			return all
		}
	}
}

func TestEventLogOfTheCluster(t *testing.T) {
	t.Parallel()
	hubs, urls := twoHubs(t)
	follower := hubs[1].FollowLog(LogFilter{Kinds: []string{"connected", "kicked"}})
	var ids []string
	for i := range 6 {
		ids = append(ids, identify(t, urls[i%2], "g", m{"name": fmt.Sprint("svc-", i)}).id)
	}
	wrong := connect(t, urls[1])
	wrong.send(m{"op": 1, "data": m{"token": "wrong", "group": "g"}})
	if f := wrong.read(); f.Op != 2 {
		t.Fatalf("got %+v", f)
	}
	if _, err := hubs[1].Kick(inspectCtx(t), uuid.MustParse(ids[0])); err != nil {
		t.Fatal(err)
	}
	hubs[0].Record(LogReload, "DONE", "signal", "")

	all := eventsOf(t, hubs[0], LogFilter{}, 3)
	counts := make(map[string]int)
	for i := range all {
		counts[all[i].Kind]++
		if i > 0 && all[i].At.After(all[i-1].At) {
			t.Errorf("an event of %v comes after one of %v", all[i].At, all[i-1].At)
		}
	}
	if want := (map[string]int{"connected": 6, "identify_failed": 1, "kicked": 1, "reload": 1}); !maps.Equal(counts, want) {
		t.Errorf("%v, want %v", counts, want)
	}
	kicked := eventsOf(t, hubs[1], LogFilter{Kinds: []string{"kicked", "drain"}}, 100)
	if len(kicked) != 1 || kicked[0].Client == nil || kicked[0].Client.String() != ids[0] || kicked[0].Name != "svc-0" || kicked[0].Reason != "KICKED" ||
		kicked[0].Node != "node-0" || kicked[0].Token != "shared" || kicked[0].Group != "g" || kicked[0].Address == "" || kicked[0].Type != "service" {
		t.Errorf("kicked: %+v", kicked)
	}
	failed := eventsOf(t, hubs[0], LogFilter{Kinds: []string{"identify_failed"}}, 100)
	if len(failed) != 1 || failed[0].Client != nil || failed[0].Reason != "IDENTIFY_FAILED" || failed[0].Node != "node-1" || failed[0].Address == "" {
		t.Errorf("identify_failed: %+v", failed)
	}
	for want, f := range map[int]LogFilter{
		2: {Client: ids[0]}, 1: {Name: "svc-3"}, 7: {Name: "svc-*"}, 8: {Address: "127.0.0.1"}, 0: {Token: "other"},
		5: {Node: "node-0"}, 3: {Node: "node-1", Group: "g"},
	} {
		if got := len(eventsOf(t, hubs[0], f, 2)); got != want {
			t.Errorf("%d events of %+v, want %d", got, f, want)
		}
	}
	if _, err := hubs[0].EventLog(inspectCtx(t), LogFilter{}, "!", 1); !errors.Is(err, ErrCursor) {
		t.Errorf("a bad cursor: %v", err)
	}

	entries, leftOut, err := follower.Next(inspectCtx(t), 2)
	if err != nil || len(entries) != 4 || leftOut != 3 { // two of each instance; three more of these, and one of those
		t.Errorf("%d events, %d left out, %v", len(entries), leftOut, err)
	}
	late := identify(t, urls[0], "g", nil)
	entries, leftOut, err = follower.Next(inspectCtx(t), 2)
	if err != nil || len(entries) != 1 || leftOut != 0 || entries[0].Client.String() != late.id {
		t.Errorf("%+v, %d left out, %v", entries, leftOut, err)
	}
	if entries, _, err = follower.Next(inspectCtx(t), 2); err != nil || len(entries) > 0 {
		t.Errorf("%+v comes again: %v", entries, err)
	}
}

// TestEventLogOfSlowConsumers has a client read nothing until it is disconnected.
func TestEventLogOfSlowConsumers(t *testing.T) {
	t.Parallel()
	h, url := startHub(t, memory.NewBus().Broker(), func(o *Options) { o.Transport.SendQueueBytes = 64 << 10 })
	slow := identify(t, url, "g", m{"name": "slow"})
	sender := identify(t, url, "senders", nil)
	data := make([]byte, 30<<10)
	for i := range data {
		data[i] = 'x'
	}
	eventually.True(t, "the slow consumer", func() bool {
		sender.send(m{"op": 0, "event": "e", "data": string(data), "intent": m{"target": "GROUP", "identifier": "g"}})
		found := eventsOf(t, h, LogFilter{Kinds: []string{"slow_consumer"}}, 10)
		return len(found) == 1 && found[0].Client.String() == slow.id && found[0].Reason == "SLOW_CONSUMER" && found[0].Detail != ""
	})
}

// TestStrangersDontFillTheEventLog has many connections fail to identify: some are recorded, the others are counted.
func TestStrangersDontFillTheEventLog(t *testing.T) {
	t.Parallel()
	h, url := startHub(t, memory.NewBus().Broker(), nil)
	const strangers = 6 * refusalsRecorded
	refuse := func() {
		p := connect(t, url)
		p.send(m{"op": 99})
		if f := p.read(); f.Op != 2 {
			t.Fatalf("got %+v", f)
		}
	}
	for range strangers {
		refuse()
	}
	total := func() (recorded, all int) {
		for _, e := range eventsOf(t, h, LogFilter{Kinds: []string{"identify_failed"}}, 100) {
			recorded++
			all += 1 + int(e.Omitted)
		}
		return recorded, all
	}
	begin, more := time.Now(), 0
	eventually.True(t, "the count of those that are not recorded", func() bool {
		refuse()
		more++
		_, all := total()
		return all > strangers
	})
	recorded, _ := total()
	if most := (2*refusalsRecorded)*2 + 2*refusalsRecorded*int(time.Since(begin).Seconds()+2); recorded > most {
		t.Errorf("%d are recorded, at most %d are to be", recorded, most)
	}
}

// TestEventLogSurvivesOddNeighbours asks instances that answer what this release does not expect.
func TestEventLogSurvivesOddNeighbours(t *testing.T) {
	t.Parallel()
	h, url := startHub(t, memory.NewBus().Broker(), nil)
	identify(t, url, "g", nil)
	answer := remote{hub: h}.Answer
	for _, q := range []string{
		`{"kind":"log","limit":-1}`, `{"kind":"log","limit":1000000000,"filter":{"kinds":["later"]}}`,
		`{"kind":"log","before":{"at":-1,"node":1,"seq":0},"limit":1}`, `{"kind":"log","after":{"1":2},"follow":true,"limit":9}`,
	} {
		if b := string(answer([]byte(q))); b == "" || !slices.Contains([]byte(b), '{') {
			t.Errorf("%s: %q", q, b)
		}
	}
	if b := answer([]byte(`{"kind":"log","after":7}`)); b != nil {
		t.Errorf("%q", b)
	}
}

// BenchmarkRecordConnected is what the event log costs a connect; a disconnect costs the same.
func BenchmarkRecordConnected(b *testing.B) {
	h, url := startHub(b, memory.NewBus().Broker(), nil)
	id := uuid.MustParse(identify(b, url, "billing", m{"name": "billing-7"}).id)
	done := make(chan struct{})
	sh := h.shardOf(&id)
	sh.loop.Post(task(func() {
		defer close(done)
		s, now := sh.client(&id), time.Now()
		b.ReportAllocs()
		for b.Loop() {
			s.recordConnected(now)
		}
	}))
	<-done
}
