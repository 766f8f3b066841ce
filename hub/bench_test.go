package hub

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/mastersocket/mastersocket/broker/memory"
)

// BenchmarkRoute measures EVENTs from a client's socket to those of its receivers, one after the other.
func BenchmarkRoute(b *testing.B) {
	for _, bc := range []struct {
		name, intent string
		members      int
	}{
		{"GROUP of 100", `{"target":"GROUP","identifier":"load"}`, 100},
		{"GROUP of 1", `{"target":"GROUP","identifier":"load"}`, 1},
		{"ANY of 1", `{"target":"ANY","identifier":"load"}`, 1},
	} {
		for _, loops := range []int{1, 2} {
			b.Run(fmt.Sprintf("%s/%d loops", bc.name, loops), func(b *testing.B) {
				_, url := startHub(b, memory.NewBus().Broker(), func(o *Options) { o.Transport.Loops = loops })
				members := make([]*rawPeer, bc.members)
				for i := range members {
					members[i] = newRawPeer(b, url, "")
				}
				sender := newRawPeerOf(b, url, "senders", "")
				message := maskedText(`{"op":0,"event":"tick","data":{"n":1,"text":"` + strings.Repeat("x", 100) + `"},"intent":` + bc.intent + `}`)
				for b.Loop() {
					sender.write(message)
					for _, p := range members {
						p.readMessage()
					}
				}
			})
		}
	}
}

// BenchmarkSaturated measures EVENTs that a client sends without waiting for each, to receivers that can follow.
func BenchmarkSaturated(b *testing.B) {
	const inFlight, members = 3000, 8
	for _, loops := range []int{1, 2} {
		b.Run(fmt.Sprint(loops, " loops"), func(b *testing.B) {
			_, url := startHub(b, memory.NewBus().Broker(), func(o *Options) { o.Transport.Loops = loops })
			var peers []*rawPeer
			for range members {
				peers = append(peers, newRawPeer(b, url, ""))
			}
			sender := newRawPeerOf(b, url, "senders", "")
			batch := maskedText(`{"op":0,"event":"tick","data":1,"intent":{"target":"GROUP","identifier":"load"}}`)
			batch = bytes.Repeat(batch, inFlight)
			for b.Loop() {
				var reading sync.WaitGroup
				for _, p := range peers {
					reading.Go(func() {
						for range inFlight {
							p.readMessage()
						}
					})
				}
				sender.write(batch)
				reading.Wait()
			}
			b.ReportMetric(float64(b.N*inFlight)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// BenchmarkRequest measures DIRECT EVENTs and their REPLYs, with and without expect.
func BenchmarkRequest(b *testing.B) {
	for _, loops := range []int{1, 2} {
		for _, inFlight := range []int{16, 64} {
			for _, expect := range []string{"", `"expect":{"timeout_ms":20000},`} {
				name := fmt.Sprintf("%d loops/%d in flight/tracked=%t", loops, inFlight, expect != "")
				b.Run(name, func(b *testing.B) { benchmarkRequest(b, loops, inFlight, expect) })
			}
		}
	}
}

func benchmarkRequest(b *testing.B, loops, inFlight int, expect string) {
	_, url := startHub(b, memory.NewBus().Broker(), func(o *Options) { o.Transport.Loops = loops })
	asker, worker := newRawPeer(b, url, `,"features":["requests"]`), newRawPeer(b, url, `,"features":["requests"]`)
	answers := make([]byte, 0, inFlight*200)
	for i := range inFlight {
		answers = append(answers, maskedText(fmt.Sprintf(`{"op":5,"id":"q%02d","data":3,"intent":{"target":"DIRECT","identifier":%q}}`, i, asker.id))...)
	}
	asks := make([]byte, 0, inFlight*200)
	frames := 1
	if expect != "" {
		frames = 2
	}
	for i := range inFlight {
		asks = append(asks, maskedText(fmt.Sprintf(`{"op":0,"id":"q%02d",%s"event":"sum","data":[1,2],"intent":{"target":"DIRECT","identifier":%q}}`,
			i, expect, worker.id))...)
	}
	ended := make(chan struct{})
	rounds := make(chan struct{}, 1)
	go func() {
		defer close(ended)
		for range rounds {
			for range inFlight {
				worker.readMessage()
			}
			worker.write(answers)
		}
	}()
	b.ReportAllocs()
	for b.Loop() {
		rounds <- struct{}{}
		asker.write(asks)
		for range inFlight * frames {
			asker.readMessage()
		}
	}
	close(rounds)
	<-ended
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*inFlight), "ns/request")
}
