package hub

import (
	"testing"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker/memory"
)

// BenchmarkMeasure is what the measurement of traffic costs a message on a busy loop: one that comes from a client and goes to
// one, and a delivery to one of 1,000 members.
func BenchmarkMeasure(b *testing.B) {
	h, url := startHub(b, memory.NewBus().Broker(), func(o *Options) { o.Transport.Loops = 1 })
	id := uuid.MustParse(identify(b, url, "billing", m{"name": "billing-7"}).id)
	sh := h.shardOf(&id)
	on := func(b *testing.B, f func(*session)) {
		done := make(chan struct{})
		sh.loop.Post(task(func() {
			defer close(done)
			s := sh.client(&id)
			b.ReportAllocs()
			f(s)
		}))
		<-done
	}
	b.Run("message", func(b *testing.B) {
		on(b, func(s *session) {
			for b.Loop() {
				s.measureIn(nil, 250)
				sh.measureOut(s, s.first.group, 250)
			}
		})
	})
	b.Run("of 1000", func(b *testing.B) {
		on(b, func(s *session) {
			g := &group{name: "big", local: []*members{{}}}
			for range 1000 {
				g.local[0].list = append(g.local[0].list, s)
			}
			for n := 0; b.Loop(); n++ {
				sh.measureSpread(g, nil, 250)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N), "ns/1000-deliveries")
		})
	})
}
