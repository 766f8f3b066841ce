package hub

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/opcodes"
)

// BenchmarkSelection compares, on the loop, EVENTs to 16 groups and exceptions with EVENTs to one group that has the same 1,000
// members. fanout-ns is what routing and queueing take for each delivery, cpu-ns all that the loop uses, its writes
// included; the ratios are those of 16 groups to one. The two take turns, and their medians count.
func BenchmarkSelection(b *testing.B) {
	const members, batch = 1000, 16
	h, url := startHub(b, memory.NewBus().Broker(), func(o *Options) { o.Transport.Loops = 1 })
	peers := make([]*rawPeer, members)
	for i := range peers {
		peers[i] = newRawPeer(b, url, fmt.Sprintf(`,"groups":["load","g%d"]`, i%16))
	}
	newRawPeer(b, url, `,"groups":["left","g0"]`)
	from := uuid.MustParse(newRawPeerOf(b, url, "senders", "").id)
	sh := h.shards[0]
	release := onLoop(sh, runtime.LockOSThread) // so that the thread's CPU time is the loop's
	release()
	b.Cleanup(func() { onLoop(sh, runtime.UnlockOSThread)() })
	cpu := func() (used int64) {
		onLoop(sh, func() {
			var t unix.Timespec
			if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
				b.Error(err)
			}
			used = t.Nano()
		})()
		return used
	}
	type cost struct{ fanout, cpu []float64 }
	var costs [2]cost
	const one = `{"op":0,"event":"tick","data":{"text":"%s"},"intent":{"target":"GROUP","identifier":"load"}}`
	messages := [2]string{"", selectedMessage(16)}
	messages[0] = fmt.Sprintf(one, strings.Repeat("x", len(messages[1])-len(one)+len("%s"))) // of the same length
	run := func(which int) {
		before := cpu()
		var fanout time.Duration
		onLoop(sh, func() {
			sender, message := sh.client(&from), []byte(messages[which])
			var e opcodes.Envelope
			began := time.Now()
			for range batch {
				if err := e.Scan(message); err != nil {
					b.Error(err)
				}
				sender.route(&e)
			}
			fanout = time.Since(began)
		})()
		for _, p := range peers {
			for range batch {
				p.readMessage()
			}
		}
		c := &costs[which]
		c.fanout = append(c.fanout, float64(fanout)/(batch*members))
		c.cpu = append(c.cpu, float64(cpu()-before)/(batch*members))
	}
	for range 20 { // pools and queues reach their sizes
		run(0)
		run(1)
	}
	costs = [2]cost{}
	for b.Loop() {
		run(0)
		run(1)
	}
	median := func(all []float64) float64 { slices.Sort(all); return all[len(all)/2] }
	report := func(what string, one, many []float64) {
		b.ReportMetric(median(one), what+"-ns/one")
		b.ReportMetric(median(many), what+"-ns/16")
		b.ReportMetric(median(many)/median(one), what+"-ratio")
	}
	report("fanout", costs[0].fanout, costs[1].fanout)
	report("cpu", costs[0].cpu, costs[1].cpu)
}

// TestSelectionAllocations shows that 16 targets and exceptions cost no allocation, to 1,000 members.
func TestSelectionAllocations(t *testing.T) { // not parallel: it counts the allocations of the whole process
	if raceEnabled {
		t.Skip("the race detector allocates; make test runs this test without it too")
	}
	for loops, members := range map[int]int{1: 1000, 2: 100} {
		t.Run(fmt.Sprint(loops, " loops"), func(t *testing.T) {
			_, url := startHub(t, memory.NewBus().Broker(), func(o *Options) { o.Transport.Loops = loops })
			peers := make([]*rawPeer, members)
			for i := range peers {
				peers[i] = newRawPeer(t, url, fmt.Sprintf(`,"groups":["load","g%d","all"]`, i%16))
			}
			newRawPeer(t, url, `,"groups":["load","g0","left"]`)
			sender := newRawPeer(t, url, "")
			message := maskedText(selectedMessage(16))
			round := func() {
				sender.write(message)
				for _, p := range peers {
					p.readMessage()
				}
			}
			for range 50 { // pools and queues reach their sizes
				round()
			}
			if n := testing.AllocsPerRun(100, round); n != 0 {
				t.Errorf("%v allocations for each EVENT to %d members, want 0", n, members)
			}
		})
	}
}

// selectedMessage is an EVENT to so many groups g0, g1, …, with exceptions.
func selectedMessage(groups int) string {
	names := make([]string, groups)
	for i := range names {
		names[i] = fmt.Sprintf(`"g%d"`, i)
	}
	return `{"op":0,"event":"tick","data":{"n":1,"text":"` + strings.Repeat("x", 100) + `"},"intent":{"target":"GROUP","identifiers":[` +
		strings.Join(names, ",") + `],"except":["left","none","2d109e7c-0100-895b-8400-009d5d0d1e98"]}}`
}
