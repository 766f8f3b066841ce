package hub

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/intent"
	"github.com/mastersocket/mastersocket/opcodes"
)

// BenchmarkCatchUp has one client recover 100,000 messages for each operation.
func BenchmarkCatchUp(b *testing.B) {
	const n = 100_000
	bus := memory.NewBus().Broker()
	_, url := startHub(b, bus, keeps(2*n))
	payload := opcodes.AppendMessage(nil, &opcodes.Message{
		Event: "e", Data: []byte(`"` + strings.Repeat("x", 90) + `"`), Target: intent.Group, Group: []byte("log"),
	}, uuid.New())
	limits := broker.Limits{Messages: 2 * n, Age: time.Hour, Bytes: 1 << 30}
	for range n {
		bus.Append(&broker.Message{Kind: broker.KindGroup, Group: []byte("log"), Payload: payload}, broker.Appending{Limits: limits}, nil)
	}
	live := []byte(`"live":true`)
	for b.Loop() {
		p := identify(b, url, "y", withHistory)
		p.send(m{"op": 8, "id": "s", "data": m{"groups": []string{"log"}, "recover": m{"log": m{"offset": 0}}}})
		for {
			_, msg, err := p.conn.Read(p.ctx)
			if err != nil {
				b.Fatal(err)
			}
			if bytes.Contains(msg, live) {
				break
			}
		}
		_ = p.conn.CloseNow()
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}
