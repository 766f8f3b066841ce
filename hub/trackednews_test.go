package hub

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mastersocket/mastersocket/broker/memory"
)

// TestRequestInstanceLost: an instance that goes settles its receivers' parts, and what its clients asked for is cancelled.
func TestRequestInstanceLost(t *testing.T) {
	t.Parallel()
	bus := memory.NewBus()
	_, url := startHub(t, bus.Broker(), nil)
	lost := bus.Broker()
	_, otherURL := startHub(t, lost, func(o *Options) { o.NodeName = "host-2" })
	a := identify(t, url, "askers", m{"features": []string{"requests"}})
	b := identify(t, otherURL, "workers", m{"features": []string{"requests"}})
	a.send(expectation("g", inGroup("workers"), within(20000)))
	a.send(expectation("d", directTo(b), within(20000)))
	b.send(expectation("back", directTo(a), within(20000)))
	for f := range 2 {
		b.wantRequest([]string{"g", "d"}[f])
	}
	a.wantRequest("back")
	if err := lost.Close(t.Context()); err != nil { // without a word to its clients
		t.Fatal(err)
	}
	want := settlement{Receivers: 1, Missing: []missing{{Node: "host-2", Reason: "INSTANCE_LOST", Count: 1}}}
	seen := map[string]int{}
	for range 3 {
		f := a.read()
		if f.Op == 15 {
			seen[f.ID+f.Sender]++
			continue
		}
		got, err := settlementOf(f)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", f.ID, err, diff)
		}
		seen[f.ID]++
	}
	if diff := cmp.Diff(map[string]int{"g": 1, "d": 1, "back" + b.id: 1}, seen); diff != "" {
		t.Error(diff)
	}
}
