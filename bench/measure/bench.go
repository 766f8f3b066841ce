//go:build linux

package measure

import (
	"errors"
	"fmt"
	"time"

	"github.com/mastersocket/mastersocket/bench/load"
	"github.com/mastersocket/mastersocket/bench/servers"
)

// The metrics: what the values of a Run are called. Which measure has which is in the functions below.
const (
	PerSecond   = "per_second"  // connections, deliveries
	CPU         = "cpu_us"      // of the server for each of them, in microseconds
	Bytes       = "bytes"       // resident, for each client
	Allocations = "allocations" // of objects, for each delivery
	P50         = "p50_ms"      // latencies, in milliseconds
	P99         = "p99_ms"
	P999        = "p99.9_ms"
	CPUShare    = "cpu_ms_per_second"  // of the server, in milliseconds
	Offered     = "offered_per_second" // deliveries, where the rate is given
)

// bench is one started server with its clients.
type bench struct {
	times   Times
	adapter servers.Adapter
	process *servers.Process
	loop    *load.Loop
	values  map[string]map[string]float64 // by measure, for what was taken along the way
	same    float64                       // deliveries per second of LatencySame
	shape   load.Shape
}

// connect makes the scenario's clients, and measures that.
func (b *bench) connect(s scenario) error {
	if s.role == load.Subscriber {
		if err := b.loop.Connect(1, 1, load.Publisher, connectTimeout); err != nil {
			return err
		}
	}
	if err := b.loop.Connect(warmClients, parallel, s.role, connectTimeout); err != nil {
		return err
	}
	if err := b.loop.Serve(warmTime); err != nil {
		return err
	}
	memory, err1 := b.process.ResidentBytes()
	cpu, err2 := b.process.CPU()
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if s.stalled > 0 {
		if err := errors.Join(b.loop.Connect(s.stalled, parallel, load.Stalled, connectTimeout), b.loop.Stall()); err != nil {
			return err
		}
	}
	began := time.Now()
	n := s.clients - warmClients
	if err := b.loop.Connect(n, parallel, s.role, connectTimeout); err != nil {
		return err
	}
	elapsed := time.Since(began)
	// What the server still does for the last connections counts too.
	settle := b.times.Settle
	if s.name != manyClients {
		settle = warmTime
	}
	if err := b.loop.Serve(settle); err != nil {
		return err
	}
	cpuAfter, err1 := b.process.CPU()
	memoryAfter, err2 := b.process.ResidentBytes()
	b.values[Setup] = map[string]float64{
		PerSecond: float64(n) / elapsed.Seconds(),
		CPU:       (cpuAfter - cpu).Seconds() * 1e6 / float64(n),
	}
	b.values[Idle] = map[string]float64{Bytes: float64(memoryAfter-memory) / float64(n)}
	return errors.Join(err1, err2)
}

// measure takes one measure.
func (b *bench) measure(name string) (map[string]float64, error) {
	switch name {
	case Setup, Idle:
		return b.values[name], nil
	case TLSSetup:
		return b.values[Setup], nil
	case Fanout1k, TLSFanout1k:
		return b.fanout(20, b.times.Fanout1k)
	case Fanout10k:
		return b.fanout(5, b.times.Fanout10k)
	case Saturated1k1:
		return b.saturated(name, 1)
	case Saturated1k8:
		return b.saturatedWithAllocations(name, 8)
	case Saturated10k8:
		return b.saturated(name, 8)
	case Saturated1k64:
		return b.saturated(name, 64)
	case LatencyTenth:
		return b.latencyAt(0.1)
	case LatencyHalf:
		return b.latencyAt(0.5)
	case LatencyMost:
		return b.latencyAt(0.8)
	case LatencySame:
		return b.latency(b.same / float64(len(b.loop.Clients(load.Subscriber))))
	case IdleCPU:
		return b.idle()
	case Size1k, Size8k, Size32k:
		return b.saturated(name, 2)
	case Stalled, TLSSaturated8:
		return b.saturated(name, 8)
	case Groups:
		const groups = 1_000
		r, err := b.loop.Groups(groups, groups, b.times.Stream, b.process.CPU)
		return rates(r), err
	case Chat:
		r, err := b.loop.Chat(float64(len(b.loop.Clients(load.Member))), b.times.Stream, b.process.CPU)
		return rates(r), err
	case Calls:
		return b.calls()
	case LatencyFixed:
		return b.latency(fixedPerSecond)
	case Direct:
		r, err := b.loop.Ring(b.times.Direct, b.process.CPU)
		return rates(r), err
	}
	return nil, fmt.Errorf("no measure is called %q", name)
}

func rates(r load.Result) map[string]float64 {
	if r.Delivered == 0 {
		return nil
	}
	return map[string]float64{PerSecond: r.PerSecond(), CPU: r.CPUPerDelivery()}
}

func (b *bench) saturated(name string, inFlight int) (map[string]float64, error) {
	r, err := b.loop.Saturate(inFlight, b.times.Saturated, b.process.CPU)
	if err != nil {
		return nil, err
	}
	b.values[name] = rates(r)
	return rates(r), nil
}

// saturatedWithAllocations looks at the server's allocations too, if it tells them. A look allocates as well, and not
// always the same, so that it takes a million deliveries or so for a figure.
func (b *bench) saturatedWithAllocations(name string, inFlight int) (map[string]float64, error) {
	counter, ok := b.adapter.(servers.AllocationCounter)
	if !ok {
		return b.saturated(name, inFlight)
	}
	before, overhead, err := allocations(counter, b.process.Site)
	if err != nil {
		return nil, err
	}
	received := b.received()
	values, err := b.saturated(name, inFlight)
	if err != nil {
		return nil, err
	}
	after, err := counter.Allocations(b.process.Site)
	if err != nil {
		return nil, err
	}
	values[Allocations] = max(0, after-before-overhead) / float64(b.received()-received)
	return values, nil
}

// received returns the number of all deliveries so far.
func (b *bench) received() int {
	n := 0
	for _, c := range b.loop.Clients(load.Subscriber) {
		n += c.Received()
	}
	return n
}

func (b *bench) fanout(perSecond float64, d time.Duration) (map[string]float64, error) {
	r, err := b.loop.Pace(perSecond, d, b.process.CPU, nil)
	if err != nil {
		return nil, err
	}
	return map[string]float64{CPU: r.CPUPerDelivery()}, nil
}

// allocations returns the server's count of allocations, and what asking for it adds.
func allocations(c servers.AllocationCounter, s servers.Site) (now, overhead float64, err error) {
	var seen [3]float64
	for i := range seen {
		if seen[i], err = c.Allocations(s); err != nil {
			return 0, 0, err
		}
	}
	return seen[2], seen[2] - seen[1], nil
}

// idle measures a server whose clients are silent.
func (b *bench) idle() (map[string]float64, error) {
	before, err := b.process.CPU()
	if err != nil {
		return nil, err
	}
	if err := b.loop.Serve(b.times.Idle); err != nil {
		return nil, err
	}
	after, err := b.process.CPU()
	return map[string]float64{CPUShare: (after - before).Seconds() * 1e3 / b.times.Idle.Seconds()}, err
}

// latencyAt measures at a part of the rate that the server reached with 8 messages in flight.
func (b *bench) latencyAt(part float64) (map[string]float64, error) {
	if b.values[Saturated1k8] == nil {
		if _, err := b.saturated(Saturated1k8, 8); err != nil {
			return nil, err
		}
	}
	subscribers := len(b.loop.Clients(load.Subscriber))
	return b.latency(b.values[Saturated1k8][PerSecond] * part / float64(subscribers))
}

func (b *bench) latency(perSecond float64) (map[string]float64, error) {
	h := load.NewHistogram()
	r, err := b.loop.Pace(perSecond, b.times.Latency, b.process.CPU, h)
	if err != nil {
		return nil, err
	}
	subscribers := len(b.loop.Clients(load.Subscriber))
	at := func(quantile float64) float64 { return float64(h.ValueAtQuantile(quantile)) / 1e6 }
	return map[string]float64{
		P50: at(50), P99: at(99), P999: at(99.9),
		CPU: r.CPUPerDelivery(), Offered: perSecond * float64(subscribers),
	}, nil
}
