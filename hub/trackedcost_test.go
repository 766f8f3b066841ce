package hub

import (
	"fmt"
	"runtime"
	"testing"
	"unsafe"

	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/internal/eventually"
)

// TestRequestMemoryPerRequest: an open request takes 256 bytes, and 32 for each receiver.
func TestRequestMemoryPerRequest(t *testing.T) {
	if n := unsafe.Sizeof(tracked{}); n > 80 {
		t.Errorf("tracked has %d bytes, want at most 80", n)
	}
	if n := unsafe.Sizeof(request{}); n > 112 {
		t.Errorf("request has %d bytes, want at most 112", n)
	}
	t.Logf("a request has %d bytes, tracked %d", unsafe.Sizeof(request{}), unsafe.Sizeof(tracked{}))
	if raceEnabled {
		t.Skip("sizes of the race detector's")
	}
	const clients, each = 32, maxRequests
	h, url := startHub(t, memory.NewBus().Broker(), func(o *Options) { o.Transport.Loops = 1 })
	b := identify(t, url, "workers", m{"features": []string{"requests"}})
	go func() {
		for {
			if _, _, err := b.conn.Read(b.ctx); err != nil {
				return
			}
		}
	}()
	var all []*peer
	for range clients {
		all = append(all, identify(t, url, "askers", m{"features": []string{"requests"}}))
	}
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return s.HeapAlloc
	}
	before := heap()
	for i, a := range all {
		for n := range each {
			a.send(expectation(fmt.Sprintf("7b0c2f3e-4a1d-4c6e-9d00-%06d%06d", i, n), directTo(b), within(60000)))
		}
	}
	eventually.True(t, "all are open", func() bool { return h.Stats().Requests.Open == clients*each })
	eventually.True(t, "all are read", func() bool { return h.Stats().Transport.Loops[0].QueueBytes == 0 })
	perRequest := float64(heap()-before) / (clients * each)
	t.Logf("figure: an open request with one receiver takes %.0f bytes", perRequest)
	const noise = 24 // that the size of the heap is off by, where other tests ran before
	if perRequest > requestBytes+owedBytes+noise {
		t.Errorf("%.0f bytes, want at most %d", perRequest, requestBytes+owedBytes)
	}
}
