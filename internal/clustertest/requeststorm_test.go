//go:build linux

package clustertest

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/figure"
)

// This test checks what the hub says of requests against what their receivers did.

// deed is what a receiver did with a request.
type deed byte

const (
	deedReply deed = iota
	deedStream
	deedTwice
	deedPass
	deedHang
	deedLate // answers when it is cancelled
)

// ledger is the truth: what each receiver did with each request, and how the receivers ended.
type ledger struct {
	mu    sync.Mutex
	deeds map[string]map[string]deed // by request and receiver
	ends  map[string]string          // reasons by receiver
	all   map[string]bool            // receivers

	unheard int // requests of which SETTLED says that an instance did not report
}

func (l *ledger) note(request, receiver string, d deed) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.deeds[request] == nil {
		l.deeds[request] = make(map[string]deed)
	}
	l.deeds[request][receiver] = d
}

func (l *ledger) ended(receiver, reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ends[receiver] = reason
}

// check compares what the hub said of a request with the truth, and forgets the request. replied are those whose last REPLY
// came before the SETTLED.
func (l *ledger) check(request string, s *settled, replied []string, closed string) (faults []string) {
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Sprintf(format, args...))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	deeds := l.deeds[request]
	delete(l.deeds, request)
	missing := map[string]string{}
	others, unnamed, unheard := 0, false, false
	for _, m := range s.Missing {
		switch {
		case m.ID != "":
			if missing[m.ID] != "" {
				fault("%s is missing twice", m.ID)
			}
			missing[m.ID] = m.Reason
		case m.Count > 0: // likewise: it did not say who had not answered
			others += m.Count
			unnamed = unnamed || m.Reason == closed
		case m.Reason == "OUTCOME_UNKNOWN": // an instance that stands still for long
			unheard = true
		case m.Reason != "NOT_DELIVERED":
			fault("missing: %+v", m)
		}
	}
	if s.Receivers != s.Replied+s.Passed+len(missing)+others+s.More {
		fault("%d receivers are not %d + %d + %d", s.Receivers, s.Replied, s.Passed, len(missing))
	}
	if s.Replied != len(replied) {
		fault("%d replied, and %d REPLYs came", s.Replied, len(replied))
	}
	passes := 0
	for id, d := range deeds {
		reason, gone := missing[id]
		answered := slices.Contains(replied, id)
		end := l.ends[id]
		switch {
		case answered && gone:
			fault("%s answered, and is missing", id)
		case end != "" && (answered || reason == end):
		case unnamed && !gone && !answered && d != deedPass, unheard && !gone && !answered:
		case d == deedPass && !gone && !answered:
			passes++
		case reason != "" && reason == closed:
		case (d == deedReply || d == deedStream || d == deedTwice) && answered:
		default:
			fault("%s did %d, ended %q: missing %q, answered %v, closed by %q", id, d, end, reason, answered, closed)
		}
	}
	if s.Passed != passes && !unheard {
		fault("%d passed, want %d", s.Passed, passes)
	}
	for id, reason := range missing {
		if _, ok := deeds[id]; !ok && reason != l.ends[id] && reason != closed {
			fault("%s, which never saw the request and ended %q, is missing for %s", id, l.ends[id], reason)
		}
	}
	if unheard {
		l.unheard++
	}
	return faults
}

// receive answers requests as chance has it until it ends, and returns whether it broke off. seed makes its choices.
func (l *ledger) receive(ctx context.Context, p *party, random *rand.Rand, most int) {
	l.mu.Lock()
	l.all[p.id] = true
	l.mu.Unlock()
	late := map[string]reqFrame{}
	for range most {
		f, err := p.read(ctx)
		if err != nil {
			return // the test is over
		}
		if f.Op == 15 {
			if asked, ok := late[f.ID+f.Sender]; ok {
				delete(late, f.ID+f.Sender)
				_ = p.reply(&asked, "")
			}
			continue
		}
		if f.Op != 0 {
			continue
		}
		d := deedReply
		switch n := random.IntN(100); {
		case n < 2:
			d = deedHang
		case n < 4:
			d = deedLate
		case n < 20:
			d = deedPass
		case n < 30:
			d = deedTwice
		case n < 40:
			d = deedStream
		}
		l.note(f.ID, p.id, d)
		switch d {
		case deedReply:
			err = p.reply(&f, "")
		case deedTwice:
			_ = p.reply(&f, "")
			err = p.reply(&f, `,"data":"again"`)
		case deedStream:
			for range 1 + random.IntN(3) {
				_ = p.reply(&f, `,"more":true`)
			}
			err = p.reply(&f, "")
		case deedPass:
			err = p.pass(&f)
		case deedLate:
			late[f.ID+f.Sender] = f
		}
		if err != nil {
			return
		}
	}
	if random.IntN(2) == 0 {
		l.ended(p.id, "LOST")
		p.reset()
		return
	}
	l.ended(p.id, "NO_REASON")
	_ = p.send(`{"op":2}`)
	for {
		if _, err := p.read(ctx); err != nil {
			_ = p.conn.CloseNow()
			return
		}
	}
}

// asked is a request that is open.
type asked struct {
	replied   []string
	cancelled bool
}

// TestRequestStorm sends requests of all kinds between three instances, to receivers that answer, stream, pass, hang, answer
// twice, answer late, crash and leave. Each gets exactly one SETTLED, whose counts and reasons are the truth, and no REPLY
// comes behind it.
func TestRequestStorm(t *testing.T) {
	t.Parallel()
	const window = 48
	total := int64(figure.Choose(60_000, 1_000_000))
	c := startCluster(t, 3, clusterOptions{})
	urls, token := c.urls(), c.hubs[0].Token
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	truth := &ledger{deeds: map[string]map[string]deed{}, ends: map[string]string{}, all: map[string]bool{}}

	var receivers, requesters sync.WaitGroup
	var direct sync.Map // by place: the id of a receiver of the moment
	ready := make(chan struct{}, 12)
	for i := range 12 {
		receivers.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), 7))
			for first := true; ctx.Err() == nil; first = false {
				p, err := joinParty(ctx, urls[(i+random.IntN(2))%3], token, "workers")
				if err != nil {
					if ctx.Err() == nil {
						t.Error(err)
					}
					return
				}
				direct.Store(i, p.id)
				if first {
					ready <- struct{}{}
				}
				truth.receive(ctx, p, random, 200+random.IntN(2000))
			}
		})
	}
	for range 12 {
		<-ready
	}
	var sent, done, faults atomic.Int64
	outcomes := [8]atomic.Int64{}
	began := time.Now()
	for i := range 6 {
		requesters.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), 8))
			p, err := joinParty(ctx, urls[i%3], token, "askers")
			if err != nil {
				t.Error(err)
				return
			}
			defer p.conn.CloseNow()
			open, over := map[string]*asked{}, map[string]bool{}
			ask := func() bool {
				n := sent.Add(1)
				if n > total {
					return false
				}
				id := fmt.Sprintf("q%d-%d", i, n)
				intent, expect := `{"target":"GROUP","identifier":"workers"}`, `{"timeout_ms":400}`
				switch k := random.IntN(20); {
				case k < 8:
					to, _ := direct.Load(random.IntN(12))
					intent = fmt.Sprintf(`{"target":"DIRECT","identifier":%q}`, to)
				case k < 13:
					intent = `{"target":"ANY","identifier":"workers"}`
				case k < 18:
					intent, expect = `{"target":"ANY","identifier":"workers"}`, `{"timeout_ms":400,"retry":true}`
				case k < 19:
					intent, expect = `{"target":"ANY","identifier":"workers"}`, fmt.Sprintf(`{"timeout_ms":400,"key":"k%d"}`, n)
				}
				open[id] = &asked{}
				if err := p.send(`{"op":0,"id":%q,"intent":%s,"expect":%s}`, id, intent, expect); err != nil {
					t.Error(err)
					return false
				}
				if random.IntN(50) == 0 {
					open[id].cancelled = true
					_ = p.send(`{"op":15,"id":%q}`, id)
				}
				return true
			}
			more := true
			for more && len(open) < window {
				more = ask()
			}
			for len(open) > 0 {
				limit, cancel := context.WithTimeout(ctx, 20*time.Second)
				f, err := p.read(limit)
				cancel()
				if err != nil {
					t.Errorf("requester %d, with %d open: %v", i, len(open), err)
					return
				}
				a := open[f.ID]
				switch {
				case f.Op == 5 && a != nil && !f.More:
					a.replied = append(a.replied, f.Sender)
				case f.Op == 5 && a != nil:
				case f.Op == 14 && a != nil:
					var s settled
					if err := json.Unmarshal(f.Data, &s); err != nil {
						t.Error(err)
						return
					}
					closed := "TIMEOUT"
					if a.cancelled {
						closed = "CANCELLED"
					}
					for _, fault := range truth.check(f.ID, &s, a.replied, closed) {
						if faults.Add(1) < 20 {
							t.Errorf("%s: %s; SETTLED %s", f.ID, fault, f.Data)
						}
					}
					outcomes[min(s.Replied, 2)].Add(1)
					delete(open, f.ID)
					over[f.ID] = true
					done.Add(1)
					for more && len(open) < window {
						more = ask()
					}
				default:
					if faults.Add(1) < 20 {
						t.Errorf("got op %d of %s, which was settled before: %v: %s", f.Op, f.ID, over[f.ID], f.Data)
					}
				}
				if len(over) > 1<<16 {
					clear(over)
				}
			}
		})
	}
	requesters.Wait()
	took := time.Since(began)
	eventually.True(t, "nothing is open any more", func() bool { return c.sum("mastersocket_requests_open") == 0 })
	stop()
	receivers.Wait()
	if done.Load() != total {
		t.Errorf("%d of %d requests were settled", done.Load(), total)
	}
	figure.Printf(t, "%d requests over three instances in %v, %d clients ended: SETTLED once each, %d faults, %d with an instance that did not report; no answer %d, one %d, several %d; retries %d, late replies %d",
		total, took.Round(time.Millisecond), len(truth.ends), faults.Load(), truth.unheard, outcomes[0].Load(), outcomes[1].Load(), outcomes[2].Load(),
		c.sum("mastersocket_request_retries_total"), c.sum("mastersocket_drops_total", `reason="late"`))
}
