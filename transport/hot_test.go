package transport

import (
	"fmt"
	"math"
	"runtime"
	"runtime/metrics"
	"slices"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/mastersocket/mastersocket/internal/figure"
)

// TestHeat: a loop is hot after two events that were close to each other, and stays so for as long.
func TestHeat(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	var h heat
	for _, turn := range []struct {
		began, ended time.Duration
		hot          bool
	}{
		{1000 * ms, 1001 * ms, false},
		{1001*ms + hotFor, 1002*ms + hotFor, true},
		{1002*ms + 2*hotFor, 1400 * ms, true}, // a long turn is no pause
		{1400*ms + hotFor + 1, 1500 * ms, false},
		{1600 * ms, 1600 * ms, false}, // such a loop never waits raw
		{1700 * ms, 1700 * ms, false},
		{1701 * ms, 1701 * ms, true},
	} {
		if h.worked(turn.began, turn.ended); h.hot != turn.hot {
			t.Errorf("a turn from %v to %v: hot is %v", turn.began, turn.ended, h.hot)
		}
	}
}

// withProcessors sets GOMAXPROCS during a test, which must not be parallel.
func withProcessors(t *testing.T, n int) {
	t.Helper()
	old := runtime.GOMAXPROCS(n)
	t.Cleanup(func() { runtime.GOMAXPROCS(old) })
}

// keepHot starts a server with two loops, and sends messages over each of them until the test ends.
func keepHot(t *testing.T) *Server {
	t.Helper()
	s := startServer(t, testOptions())
	e := newTape()
	addr := listen(t, s, e)
	var clients []*client
	busy := map[*Loop]bool{}
	for len(busy) < len(s.loops) {
		clients = append(clients, connect(t, addr))
		busy[e.expect(t, "open").Loop()] = true
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
			for _, c := range clients {
				c.write(clientFrame(true, ws.OpPing, "x"))
				c.expect(ws.OpPong, "x")
			}
		}
	}()
	t.Cleanup(func() { close(stop); <-stopped })
	return s
}

// rawWaitsOf returns how often the loops of a server waited raw so far.
func rawWaitsOf(t *testing.T, s *Server) (n uint64) {
	t.Helper()
	for _, l := range s.loops {
		onLoop(t, l, func() { n += l.poll.heat.raw })
	}
	return n
}

// lateness returns by how much a goroutine that sleeps for a millisecond, again and again, is woken too late.
func lateness(n int) (p50, p99 time.Duration) {
	late := make([]time.Duration, n)
	for i := range late {
		began := time.Now()
		time.Sleep(time.Millisecond)
		late[i] = time.Since(began) - time.Millisecond
	}
	slices.Sort(late)
	return late[n/2], late[n*99/100]
}

// TestHotLoopsAndOthers: hot loops leave processors to others, even if one of those computes and the garbage collector has
// work all the time; where there are none to spare, no loop waits raw.
func TestHotLoopsAndOthers(t *testing.T) {
	for processors, hot := range map[int]bool{1: false, 2: false, 3: true, 4: true} {
		t.Run(fmt.Sprintf("GOMAXPROCS=%d", processors), func(t *testing.T) {
			withProcessors(t, processors)
			s := keepHot(t)
			stop, stopped := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(stopped)
				heap := make([][]byte, 100_000)
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
						heap[i%len(heap)] = make([]byte, 500)
					}
				}
			}()
			most := 5 * time.Millisecond
			if !hot {
				most *= 10 // a goroutine that computes runs for 10 ms before it has to let others run
			}
			var p50, p99 time.Duration
			for range 5 { // the machine has other work, too
				if p50, p99 = lateness(100); p50 < most {
					break
				}
			}
			close(stop)
			<-stopped
			figure.Printf(t, "a goroutine is late by %v (p50), %v (p99)", p50, p99)
			if p50 >= most {
				t.Errorf("a goroutine is late by %v (p50)", p50)
			}
			if n := rawWaitsOf(t, s); n > 0 != hot {
				t.Errorf("%d raw waits", n)
			}
		})
	}
}

// TestHotPauses: the garbage collector waits no longer for loops that wait raw than for those that block. On a machine
// that has nothing else to do that is less than 1 ms; on a busy one, both are what threads wait for a processor.
func TestHotPauses(t *testing.T) {
	withProcessors(t, 4)
	s := keepHot(t)
	for rawWaitsOf(t, s) == 0 { // the loops look at GOMAXPROCS in their sweeps
	}
	hot, cold := math.Inf(1), math.Inf(1)
	for range 5 {
		hot = min(hot, pauseP99())
		rawWaits.Add(1 << 20) // all loops block
		cold = min(cold, pauseP99())
		rawWaits.Add(-1 << 20)
		if hot < 0.001 {
			break
		}
	}
	figure.Printf(t, "the world stands still for %.0f µs at most (p99), %.0f µs where loops block", hot*1e6, cold*1e6)
	if hot >= 0.001+2*cold {
		t.Errorf("p99 of the pauses is %v s, and %v s where loops block", hot, cold)
	}
}

// pauseP99 returns the 99th percentile of the collector's pauses of the process, over many of them, in seconds.
func pauseP99() float64 {
	before := pauses()
	for range 100 {
		runtime.GC()
	}
	return quantile(before, pauses(), 0.99)
}

// pauses returns the histogram of the collector's pauses of the process.
func pauses() *metrics.Float64Histogram {
	sample := []metrics.Sample{{Name: "/sched/pauses/total/gc:seconds"}}
	metrics.Read(sample)
	h := sample[0].Value.Float64Histogram()
	return &metrics.Float64Histogram{Counts: slices.Clone(h.Counts), Buckets: slices.Clone(h.Buckets)}
}

// quantile returns the upper bound of the bucket that a quantile of what came between two looks is in.
func quantile(before, after *metrics.Float64Histogram, q float64) float64 {
	total := uint64(0)
	for i := range after.Counts {
		total += after.Counts[i] - before.Counts[i]
	}
	seen := uint64(0)
	for i := range after.Counts {
		if seen += after.Counts[i] - before.Counts[i]; float64(seen) >= q*float64(total) {
			return after.Buckets[i+1]
		}
	}
	return math.Inf(1)
}
