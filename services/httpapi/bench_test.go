package httpapi

import (
	"fmt"
	"io"
	"testing"

	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/client"
	"github.com/mastersocket/mastersocket/hub"
)

// BenchmarkEvents measures calls of eventsPath on one connection, one after the other, each for one receiver.
func BenchmarkEvents(b *testing.B) {
	n := start(b, memory.NewBus().Broker(), func(o *hub.Options) { o.Transport.Loops = 1 })
	n.client("jobs", map[string]client.Handler{})
	n.sees("jobs", 1)
	body := `{"id":"1","event":"e","data":{"a":1},` + toJobs + `}`
	call := []byte(head("cron", eventsPath, len(body)) + body)
	c := n.dial()
	answer := make([]byte, 4096)
	if _, err := c.Write(call); err != nil {
		b.Fatal(err)
	}
	size, err := c.Read(answer)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Write(call); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(c, answer[:size]); err != nil {
			b.Fatal(fmt.Errorf("%w: %q", err, answer[:size]))
		}
	}
}
