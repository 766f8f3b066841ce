package broker

import (
	"fmt"
	"testing"

	"github.com/mastersocket/mastersocket/internal/redistest"
)

// BenchmarkAlone is what a message costs a hub of one instance.
func BenchmarkAlone(b *testing.B) {
	in := clusterOf(b, 1, func(testing.TB) Broker { return NewMemory().Broker() })[0]
	m := &Message{Kind: KindGlobal, Payload: make([]byte, 250)}
	done := doneFunc(func(int, error) {})
	b.ReportAllocs()
	for b.Loop() {
		in.Publish(m, done)
	}
}

// counter is a Handler that counts.
type counter struct {
	*recorder
	n, want int
	all     chan struct{}
}

func (c *counter) Deliver(*Message) {
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
			o := RedisOptions{URL: s.URL(), BufferBytes: 1 << 30}
			from := join(b, newTestRedis(b, o))
			to := newTestRedis(b, o)
			c := &counter{recorder: newRecorder(), want: b.N, all: make(chan struct{}, 1)}
			if err := to.Start(b.Context(), Node{ID: from.id + 2}, c); err != nil {
				b.Fatal(err)
			}
			defer to.Close(b.Context())
			m := &Message{Kind: KindDirect, To: from.id + 2, Payload: make([]byte, size)}
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
