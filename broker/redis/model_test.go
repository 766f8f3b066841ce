package redis

import (
	"bytes"
	"encoding/binary"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/redis/resp"
	"github.com/mastersocket/mastersocket/internal/redisurl"
)

// model runs a publisher and a receiver against a model of Redis, so that every order of events can be tried: connections that break with commands in flight, commands of a broken connection that Redis takes later and
// between those of the next, subscriptions that break with messages on their way, requests that get lost.
type model struct {
	t    *rapid.T
	pub  *publisher
	recv *receiver
	subs *subscriptions

	pipes      []*pipe // the last one is the publisher's connection
	requests   [][]byte
	inbox      [][]byte // on its way to the receiver
	subscribed bool
	published  uint64
	got        []uint64
	told       map[uint64][]fate // what the publisher was told of each message
	live       bool              // the publisher takes the receiver for alive
	wentAt     int64             // when it took it for dead last
	lapsed     bool              // the receiver may have been taken for dead since it connected
	strangers  int               // subscribers that are no instances
	probes     []int64           // when the publisher's probes were sent that Redis took
	clock      int64
}

// pipe is one of the publisher's connections: what was written to it and not taken by Redis, and what was answered.
type pipe struct {
	commands [][]byte
	replies  []reply
}

func newModel(t *rapid.T) *model {
	m := &model{t: t, pipes: []*pipe{{}}, told: make(map[uint64][]fate), live: true}
	now := func() int64 { m.clock += tickEvery; return m.clock }
	n := newNames("ms", redisurl.URL{})
	counts := newOwnCounts()
	m.subs = newSubscriptions(n, 2, counts, now, time.Second, time.Second)
	m.pub = &publisher{
		names: n, self: 1, run: 9, now: now, ownsub: func(broker.Kind, []byte, int64) bool { return false }, pressure: func(bool) {},
		limits: publisherLimits{bytes: 1 << 20, recentBytes: 1 << 20, age: time.Hour}, stats: &counters{},
		wake: make(chan struct{}, 1), global: &channelSeq{kind: broker.KindGlobal}, nodes: make(map[broker.NodeID]*channelSeq), groups: make(map[string]*channelSeq),
		resuming: make(map[broker.NodeID]uint64), expected: m.expected, unreached: func(broker.NodeID) {},
		barrier: func() *frame {
			payload := binary.BigEndian.AppendUint64(nil, uint64(now()))
			return &frame{Message: broker.Message{Kind: kindProbe, To: 1, Payload: payload}}
		},
	}
	m.recv = &receiver{
		self: 2, now: now, handler: m, subs: m.subs, stats: &counters{}, alive: func(broker.NodeID) bool { return true },
		ask: func(o *origin, request, last uint64) {
			m.requests = append(m.requests, m.subs.resumeQuestion(o, request, last))
		},
		origins: make(map[originKey]*origin),
		limits:  receiverLimits{keep: time.Hour, fences: time.Hour, retry: 1, forget: time.Hour},
	}
	m.connectReceiver(nil)
	return m
}

func (m *model) Deliver(msg *broker.Message) { m.got = append(m.got, msg.Seq) }
func (m *model) Pressure(bool)               {}
func (m *model) StateChanged(broker.State)   {}
func (m *model) NodeGone(broker.Node)        {}
func (m *model) Gap(string, broker.Gap)      {}

func (m *model) DeliverNumbered(*broker.Message, broker.Position) {}

func (m *model) Answer(query []byte) []byte { return nil }

func (m *model) expected(_ broker.Kind, _ broker.NodeID, _ []byte, sent int64) (x expectation) {
	x.complete = true
	if m.live {
		x.instances = 1
	} else if m.wentAt >= sent {
		x.left = 1
	}
	return x
}

// die has the publisher take the receiver for dead.
func (m *model) die() {
	if m.live {
		m.live, m.lapsed, m.wentAt = false, true, m.pub.now()
	}
}

// probeReturns lets the publisher's oldest probe come back to it.
func (m *model) probeReturns() {
	if len(m.probes) > 0 {
		report(m.pub.caughtUp(m.probes[0]))
		m.probes = m.probes[1:]
	}
}

func (m *model) publish() {
	msg := &broker.Message{Kind: broker.KindGlobal, Seq: m.published}
	if m.published%2 == 1 {
		msg.Kind, msg.To = broker.KindDirect, 2
	}
	seq := m.published
	done := broker.CompletionFunc(func(n int, err error) { m.told[seq] = append(m.told[seq], fate{n, err}) })
	if err := m.pub.publish(msg, done); err != nil {
		m.t.Fatal(err)
	}
	m.published++
}

// write puts what the publisher would send on its connection.
func (m *model) write() {
	p := m.pipes[len(m.pipes)-1]
	before := m.pub.inflight.Len()
	in := resp.NewReader(bytes.NewReader(m.pub.fill(nil)), new(resp.Hearing))
	for range m.pub.inflight.Len() - before {
		p.commands = append(p.commands, command(m.t, in))
	}
}

// command reads one PUBLISH and returns its payload.
func command(t *rapid.T, in *resp.Reader) []byte {
	n, err := in.Number('*')
	var payload []byte
	for range n {
		payload, err = in.Bulk()
		if err != nil {
			t.Fatal(err)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(payload)
}

// take lets Redis take the next command of one connection.
func (m *model) take(p *pipe) {
	if len(p.commands) == 0 {
		return
	}
	receivers := m.strangers
	switch command := p.commands[0]; {
	case broker.Kind(command[3]) == kindProbe:
		m.probes = append(m.probes, int64(binary.BigEndian.Uint64(command[headerFixed:])))
	case m.subscribed:
		m.inbox = append(m.inbox, command)
		receivers++
	}
	p.commands = p.commands[1:]
	p.replies = append(p.replies, reply{receivers: receivers})
}

// answer lets the publisher read what Redis answered on its connection.
func (m *model) answer() {
	p := m.pipes[len(m.pipes)-1]
	outcomes, ok := m.pub.complete(p.replies, nil)
	if !ok {
		m.t.Fatal("more replies than commands")
	}
	p.replies = nil
	report(outcomes)
}

// breakPublisher ends the publisher's connection. Redis may have got only a part of what was written.
func (m *model) breakPublisher(arrived int) {
	p := m.pipes[len(m.pipes)-1]
	p.commands = p.commands[:min(arrived, len(p.commands))]
	m.pub.requeue()
	m.probes = nil
	m.pipes = append(m.pipes, &pipe{})
}

// receive lets the receiver read its next message.
func (m *model) receive() {
	if len(m.inbox) == 0 {
		return
	}
	if m.lapsed {
		m.breakReceiver()
		return
	}
	raw := m.inbox[0]
	m.inbox = m.inbox[1:]
	var f, inner frame
	if err := parseFrame(raw, &f); err != nil {
		m.t.Fatal(err)
	}
	switch request, rest, _ := parseRequest(f.Payload); f.Kind {
	case kindResent:
		if err := parseFrame(rest, &inner); err != nil {
			m.t.Fatal(err)
		}
		m.recv.recovered(originKey{1, 9}, request, &inner, rest)
	case kindResumed:
		m.recv.recoveryEnded(originKey{1, 9}, request, rest)
	default:
		m.recv.data(&f, raw, m.recv.now())
	}
}

// breakReceiver ends the subscription, with all that is on its way.
func (m *model) breakReceiver() {
	if !m.subscribed {
		return
	}
	m.subscribed, m.inbox = false, nil
	m.subs.disconnected()
	m.recv.disconnected()
}

func (m *model) connectReceiver(known []originKey) {
	if m.subscribed {
		return
	}
	m.live, m.lapsed = true, false // it announces itself before it subscribes
	m.recv.connected(known)
	m.subs.connected()
	for _, channel := range []string{m.subs.names.global(), m.subs.names.channels + m.subs.node} {
		if err := m.subs.commandAnswered(resp.PushSubscribed, []byte(channel)); err != nil {
			m.t.Fatal(err)
		}
	}
	m.subscribed = true
	m.recv.joined()
}

// ask lets a request reach the publisher, or get lost.
func (m *model) ask(lost bool) {
	if len(m.requests) == 0 {
		return
	}
	q, ok := parseResumeQuestion(2, m.requests[0])
	m.requests = m.requests[1:]
	if !ok {
		m.t.Fatal("malformed request")
	}
	if !lost {
		report(m.pub.answerResume(q))
	}
}

// heal lets everything come to an end without further faults.
func (m *model) heal() {
	if m.lapsed {
		m.breakReceiver()
	}
	m.connectReceiver([]originKey{{1, 9}})
	for range 4 {
		m.recv.tick()
		for len(m.requests) > 0 {
			m.ask(false)
		}
		for m.pub.pending() {
			m.write()
			for _, p := range m.pipes {
				for len(p.commands) > 0 {
					m.take(p)
				}
			}
			m.answer()
			m.probeReturns()
		}
		for len(m.inbox) > 0 {
			m.receive()
		}
	}
}

// checkFates expects that each message's fate was told once, and truly. One exception: a message to all that was sent
// twice may have been delivered with the first, by an instance that the publisher takes for dead since.
func (m *model) checkFates() {
	m.pub.giveUp()
	for seq := range m.published {
		told, delivered := m.told[seq], slices.Contains(m.got, seq)
		switch {
		case len(told) != 1:
			m.t.Fatalf("message %d: told %v", seq, told)
		case told[0].err == nil && told[0].instances == 0 && delivered && seq%2 == 0:
		case told[0].err == nil && (told[0].instances > 0) != delivered:
			m.t.Fatalf("message %d: told %v, delivered %v", seq, told, delivered)
		}
	}
}

// TestModelFates adds that the publisher takes the receiver for dead at times, so that it strikes messages, and that
// subscribers which are no instances make Redis count too many.
func TestModelFates(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t)
		m.clock += 1 << 50
		m.run(t, map[string]func(*rapid.T){
			"dead":      func(*rapid.T) { m.die() },
			"time":      func(*rapid.T) { m.pub.expire() },
			"strangers": func(t *rapid.T) { m.strangers = rapid.IntRange(0, 2).Draw(t, "strangers") },
			"probe":     func(*rapid.T) { m.probeReturns() },
		})
		for i, seq := range m.got {
			if i > 0 && seq <= m.got[i-1] {
				t.Fatalf("%d after %d", seq, m.got[i-1])
			}
		}
		m.checkFates()
	})
}

// TestModel tries orders of events at random. Whatever they are, every message is delivered, once and in order.
func TestModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t)
		m.clock += 1 << 50 // the subscription is old: see resumeRequest for one that isn't
		m.run(t, nil)
		for i, seq := range m.got {
			if seq != uint64(i) {
				t.Fatalf("message %d is number %d", i, seq)
			}
		}
		if uint64(len(m.got)) != m.published {
			t.Fatalf("%d of %d messages", len(m.got), m.published)
		}
		m.checkFates()
	})
}

// TestModelFresh does the same with a subscription that has just been made, to which some messages may not belong.
func TestModelFresh(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t)
		m.run(t, nil)
		for i, seq := range m.got {
			if i > 0 && seq <= m.got[i-1] {
				t.Fatalf("%d after %d", seq, m.got[i-1])
			}
		}
	})
}

func (m *model) run(t *rapid.T, more map[string]func(*rapid.T)) {
	actions := map[string]func(*rapid.T){
		"publish": func(*rapid.T) { m.publish() },
		"write":   func(*rapid.T) { m.write() },
		"take": func(t *rapid.T) {
			m.take(m.pipes[rapid.IntRange(max(0, len(m.pipes)-3), len(m.pipes)-1).Draw(t, "pipe")])
		},
		"answer":           func(*rapid.T) { m.answer() },
		"break publisher":  func(t *rapid.T) { m.breakPublisher(rapid.IntRange(0, 5).Draw(t, "arrived")) },
		"receive":          func(*rapid.T) { m.receive() },
		"break receiver":   func(*rapid.T) { m.breakReceiver() },
		"connect receiver": func(*rapid.T) { m.connectReceiver([]originKey{{1, 9}}) },
		"ask":              func(t *rapid.T) { m.ask(rapid.Bool().Draw(t, "lost")) },
		"tick":             func(*rapid.T) { m.recv.tick() },
	}
	maps.Copy(actions, more)
	t.Repeat(actions)
	m.heal()
}
