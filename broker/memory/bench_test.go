package memory

import (
	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/brokertest"
)

import "testing"

// BenchmarkAlone is what a message costs a hub of one instance.
func BenchmarkAlone(b *testing.B) {
	in := brokertest.Cluster(b, 1, func(testing.TB) broker.Broker { return NewBus().Broker() })[0]
	m := &broker.Message{Kind: broker.KindGlobal, Payload: make([]byte, 250)}
	done := broker.CompletionFunc(func(int, error) {})
	b.ReportAllocs()
	for b.Loop() {
		in.Publish(m, done)
	}
}
