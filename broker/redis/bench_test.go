package redis

import (
	"fmt"
	"testing"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/brokertest"
	"github.com/mastersocket/mastersocket/internal/redistest"
)

// counter is a Handler that counts.
type counter struct {
	*brokertest.Recorder
	n, want int
	all     chan struct{}
}

func (c *counter) Deliver(*broker.Message) {
	if c.n++; c.n == c.want {
		c.all <- struct{}{}
	}
}

// BenchmarkRedis is what a message costs from Publish on one instance to Deliver on another, through a Redis that
// shares the machine.
func BenchmarkRedis(b *testing.B) {
	for _, size := range []int{250, 4096} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s := redistest.Start(b)
			o := Options{URL: s.URL(), BufferBytes: 1 << 30}
			from := brokertest.Join(b, newTestRedis(b, o))
			to := newTestRedis(b, o)
			c := &counter{Recorder: brokertest.NewRecorder(), want: b.N, all: make(chan struct{}, 1)}
			if err := to.Start(b.Context(), broker.Node{ID: from.ID + 2}, c); err != nil {
				b.Fatal(err)
			}
			defer to.Close(b.Context())
			m := &broker.Message{Kind: broker.KindDirect, To: from.ID + 2, Payload: make([]byte, size)}
			b.ReportAllocs()
			b.SetBytes(int64(size))
			b.ResetTimer()
			for range b.N {
				from.Publish(m, nil)
			}
			<-c.all
		})
	}
}
