package hub

import (
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/transport"
)

// TestTapAllocations looks at messages beyond a tap's rate: they must cost their loop next to nothing. The time is printed
// only, as it depends on what else the machine does.
func TestTapAllocations(t *testing.T) {
	h, _ := startHub(t, memory.NewBus().Broker(), nil)
	for _, event := range []string{"", "rare"} {
		tap, err := h.Tap(t.Context(), TapOptions{Group: "g", Event: event, PerSecond: 50})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan float64)
		const messages = 200_000
		tap.shard.loop.Post(task(func() {
			b := transport.NewMessage([]byte(`{"op":0,"id":"1","event":"often","intent":{"target":"GROUP","identifier":"g"},"sender":"6f0c1b1e-53a4-8b7d-9c2e-0123456789ab"}`))
			defer b.Release()
			for range 2 * tapExamine { // what passes at once has passed then
				tap.shard.parsed = nil
				tap.look(tap.shard.loop.Clock(), b, tap.shard)
			}
			begin := time.Now()
			for range messages {
				tap.look(tap.shard.loop.Clock(), b, tap.shard)
			}
			t.Logf("a message beyond the rate, event %q: %v", event, time.Since(begin)/messages)
			done <- testing.AllocsPerRun(1000, func() { tap.look(tap.shard.loop.Clock(), b, tap.shard) })
		}))
		if n := <-done; n > 0 {
			t.Errorf("event %q: %v allocations for a message that is left out", event, n)
		}
		tap.Close()
	}
}
