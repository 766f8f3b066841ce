package echo

import (
	"sync/atomic"

	"github.com/mastersocket/mastersocket/hub"
)

// counters belongs to one loop.
type counters struct {
	waiting, given atomic.Int64

	messages, oks, answered, unasked                          atomic.Uint64
	returned, passedOn, givenUp                               atomic.Uint64
	refusedFrame, refusedWaiting, refusedMemory, refusedGiven atomic.Uint64

	_ [64]byte // the next loop's counters are on another cache line
}

// Metrics implements hub.Meter. Without connections both gauges are zero.
func (t *Type) Metrics() []hub.Metric {
	gauge := func(name, help string, of func(*counters) *atomic.Int64) hub.Metric {
		m := hub.Metric{Name: name, Help: help}
		for _, l := range t.loops {
			m.Value += float64(of(&l.count).Load())
		}
		return m
	}
	count := func(name, help string, of func(*counters) *atomic.Uint64) hub.Metric {
		m := hub.Metric{Name: name, Help: help, Counter: true}
		for _, l := range t.loops {
			m.Value += float64(of(&l.count).Load())
		}
		return m
	}
	return []hub.Metric{
		gauge("waiting", "Messages whose senders here wait for an ok.", func(c *counters) *atomic.Int64 { return &c.waiting }),
		gauge("given", "Messages given to connections here that have not answered.", func(c *counters) *atomic.Int64 { return &c.given }),
		count("messages_total", "Messages accepted.", func(c *counters) *atomic.Uint64 { return &c.messages }),
		count("oks_total", "Oks that clients here sent.", func(c *counters) *atomic.Uint64 { return &c.oks }),
		count("answered_total", "Oks that senders here got.", func(c *counters) *atomic.Uint64 { return &c.answered }),
		count("unasked_oks_total", "Oks of what the connection was not given, or had answered.", func(c *counters) *atomic.Uint64 { return &c.unasked }),
		count("returned_total", "Messages whose receiver here left without an ok.", func(c *counters) *atomic.Uint64 { return &c.returned }),
		count("passed_on_total", "Messages of senders here drawn again after their receiver had left.", func(c *counters) *atomic.Uint64 { return &c.passedOn }),
		count("given_up_total", "Messages of senders here not drawn again: too many receivers had left.", func(c *counters) *atomic.Uint64 { return &c.givenUp }),
		count("refused_frame_total", "Connections ended for what is no frame of the protocol.", func(c *counters) *atomic.Uint64 { return &c.refusedFrame }),
		count("refused_waiting_total", "Connections ended for too many messages without an ok.", func(c *counters) *atomic.Uint64 { return &c.refusedWaiting }),
		count("refused_memory_total", "Connections ended because the messages that wait are too large together.", func(c *counters) *atomic.Uint64 { return &c.refusedMemory }),
		count("refused_given_total", "Connections ended for too many messages that they did not answer.", func(c *counters) *atomic.Uint64 { return &c.refusedGiven }),
	}
}
