package hub

import (
	"fmt"
	"strings"
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
