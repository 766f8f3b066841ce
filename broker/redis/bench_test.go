package redis

import (
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/brokertest"
	"github.com/mastersocket/mastersocket/internal/eventually"
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

// BenchmarkAppend is what appending to a group with history costs against publishing to a plain one: 20 senders on one
// instance, each with 8 messages in flight, and three instances that receive. Other figures are the messages of a call of the script
// (and a few other calls), the server's processor time for a message, and its memory for one that is kept.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{230, 1024} {
		payload := make([]byte, size)
		message := &broker.Message{Kind: broker.KindGroup, Group: []byte("g"), Payload: payload}
		b.Run(fmt.Sprint("publish/", size), func(b *testing.B) {
			benchmarkSenders(b, func(in *brokertest.Instance, done func()) {
				in.Publish(message, broker.CompletionFunc(func(_ int, err error) {
					if err != nil {
						b.Error(err)
					}
					done()
				}))
			})
		})
		for _, kept := range []int{10_000, 10_000_000} {
			limits := broker.Limits{Messages: kept, Age: time.Hour, Bytes: 1 << 34}
			b.Run(fmt.Sprint("append/", size, "/keep ", kept), func(b *testing.B) {
				s := benchmarkSenders(b, func(in *brokertest.Instance, done func()) {
					in.Append(message, broker.Appending{Limits: limits}, brokertest.AppendFunc(func(_ uint64, _ bool, err error) {
						if err != nil {
							b.Error(err)
						}
						done()
					}))
				})
				b.ReportMetric(float64(b.N)/float64(s.Calls("evalsha")), "msg/call")
				memory, err := strconv.Atoi(s.Do("MEMORY", "USAGE", "ms:history:stream:g", "SAMPLES", "0"))
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(memory)/float64(min(b.N, kept)), "redis-B/kept")
			})
		}
	}
}

// silent is a Handler that drops what it gets.
type silent struct{ *brokertest.Recorder }

func (silent) Deliver(*broker.Message)                          {}
func (silent) DeliverNumbered(*broker.Message, broker.Position) {}

// benchmarkSenders has b.N messages sent by 20 senders with 8 in flight each.
func benchmarkSenders(b *testing.B, send func(in *brokertest.Instance, done func())) *redistest.Server {
	const senders, inFlight = 20, 8
	s := redistest.Start(b)
	o := Options{URL: s.URL(), BufferBytes: 1 << 30}
	var in []*brokertest.Instance
	for i := range 3 {
		n := &brokertest.Instance{Broker: newTestRedis(b, o), Recorder: brokertest.NewRecorder(), ID: broker.NodeID(i + 1)}
		if err := n.Start(b.Context(), broker.Node{ID: n.ID}, silent{n.Recorder}); err != nil {
			b.Fatal(err)
		}
		defer n.Close(b.Context())
		n.JoinGroup(b, "g")
		in = append(in, n)
	}
	awaitSynced(b, in)
	busy := s.CPU()
	b.ReportAllocs()
	b.ResetTimer()
	var sending sync.WaitGroup
	for i := range senders {
		sending.Go(func() {
			room := make(chan struct{}, inFlight)
			for range b.N/senders + min(1, max(0, b.N%senders-i)) {
				room <- struct{}{}
				send(in[0], func() { <-room })
			}
			for range inFlight {
				room <- struct{}{}
			}
		})
	}
	sending.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	b.ReportMetric(float64(s.CPU()-busy)/float64(b.N), "redis-ns/msg")
	return s
}

// awaitSynced waits until the instances know each other's members.
func awaitSynced(b *testing.B, in []*brokertest.Instance) {
	for _, n := range in {
		eventually.True(b, "all members to be known", func() bool { return len(n.Standings([]byte("g"), nil)) == len(in)-1 })
	}
}

// BenchmarkRead is what a member that was away costs: 100,000 messages of 230 bytes are read, page by page.
func BenchmarkRead(b *testing.B) {
	const kept = 100_000
	s := redistest.Start(b)
	in := brokertest.Join(b, newTestRedis(b, Options{URL: s.URL(), BufferBytes: 1 << 30}))
	message := &broker.Message{Kind: broker.KindGroup, Group: []byte("g"), Payload: make([]byte, 230)}
	limits := broker.Limits{Messages: kept, Age: time.Hour, Bytes: 1 << 34}
	var appending sync.WaitGroup
	for range kept {
		appending.Add(1)
		in.Append(message, broker.Appending{Limits: limits}, brokertest.AppendFunc(func(uint64, bool, error) { appending.Done() }))
	}
	appending.Wait()
	busy := s.CPU()
	b.ReportAllocs()
	for b.Loop() {
		at, n := broker.Position{}, 0
		for {
			p := in.ReadWait(b, "g", at)
			if len(p.Messages) == 0 {
				break
			}
			n += len(p.Messages)
			at = p.Messages[len(p.Messages)-1].Position
		}
		if n != kept {
			b.Fatalf("%d messages, want %d", n, kept)
		}
		in.Broker.(*Broker).readers.forget("g", 0)
	}
	total := float64(b.N) * kept
	b.ReportMetric(total/b.Elapsed().Seconds(), "msg/s")
	b.ReportMetric(float64(s.CPU()-busy)/total, "redis-ns/msg")
}
