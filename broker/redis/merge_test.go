package redis

import (
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/redis/resp"
	"github.com/mastersocket/mastersocket/internal/redisurl"
)

// mixModel has clients at two instances mix plain and numbered messages, and one instance that gets them over connections
// that break. It tries the orders in which what was missed may come.
type mixModel struct {
	t     *rapid.T
	recv  *receiver
	subs  *subscriptions
	clock int64

	pubSeq  map[broker.NodeID]uint64
	clients []*mixClient
	queues  map[broker.NodeID]map[string][]*mixed // numbered messages that their instances have not sent
	passed  []*mixed                              // what Redis passed on, in order
	streams map[string][]*mixed

	next     int // of passed, to come on the connection; -1: there is none
	requests []mixRequest
	readings []mixReading
	got      map[uuid.UUID][]int // of each client, in order
	numbers  map[string][]uint64
}

// mixed is a message.
type mixed struct {
	from   broker.NodeID
	client *mixClient
	n      int    // of the client
	group  string // empty: a plain message
	offset uint64
	raw    []byte
	pubSeq uint64

	answers uint64 // the request for which it is sent again; zero: none
	end     bool   // of the answer
	probe   int64  // when a probe was sent
}

// mixClient is a client. It has numbered messages on the way to one group alone, and nothing else then.
type mixClient struct {
	id    uuid.UUID
	node  broker.NodeID
	sent  int
	group string
	open  int
}

// mixRequest asks an instance for what it sent.
type mixRequest struct {
	to            broker.NodeID
	request, last uint64
}

// mixReading is a page that was asked for.
type mixReading struct {
	group string
	from  broker.Position
	done  func(*broker.Page, []publication, error)
}

const mixEpoch = "e"

func newMixModel(t *rapid.T) *mixModel {
	m := &mixModel{
		t: t, clock: 1 << 50, pubSeq: make(map[broker.NodeID]uint64), streams: make(map[string][]*mixed), next: -1,
		queues: map[broker.NodeID]map[string][]*mixed{1: {}, 3: {}},
		got:    make(map[uuid.UUID][]int), numbers: make(map[string][]uint64),
	}
	for i := range 4 {
		m.clients = append(m.clients, &mixClient{id: uuid.UUID{byte(i + 1)}, node: []broker.NodeID{1, 3}[i%2]})
	}
	now := func() int64 { m.clock += tickEvery; return m.clock }
	m.subs = newSubscriptions(newNames("ms", redisurl.URL{}), 2, newOwnCounts(), now, time.Second, time.Second)
	m.recv = &receiver{
		self: 2, now: now, handler: m, subs: m.subs, stats: &counters{}, alive: func(broker.NodeID) bool { return true },
		ask: m.ask, origins: make(map[originKey]*origin),
		limits:    receiverLimits{keep: time.Hour, fences: time.Hour, retry: 1, forget: time.Hour},
		sequences: make(map[string]*sequence), filling: make(map[*sequence]struct{}), told: newArrivals(now, m.subs.comesHere),
		parseNumber: func(raw []byte, f *frame) error { err := parseFrame(raw, f); f.Kind = broker.KindGroup; return err },
		probe:       func() { m.passed = append(m.passed, &mixed{probe: m.clock}) },
		read: func(group string, from broker.Position, done func(*broker.Page, []publication, error)) {
			m.readings = append(m.readings, mixReading{group, from, done})
		},
	}
	for _, group := range []string{"g", "h"} {
		m.subs.subscribe(group, nil)
	}
	m.connect(nil)
	for _, group := range []string{"g", "h"} {
		m.recv.follow(group, m.recv.stand(group), broker.Position{Epoch: mixEpoch})
	}
	return m
}

func (m *mixModel) Pressure(bool)               {}
func (m *mixModel) StateChanged(broker.State)   {}
func (m *mixModel) NodeGone(broker.Node)        {}
func (m *mixModel) Answer(query []byte) []byte  { return nil }
func (m *mixModel) Gap(g string, at broker.Gap) { m.t.Fatalf("gap of %s: %+v", g, at) }

func (m *mixModel) Deliver(msg *broker.Message) { m.note(msg) }

func (m *mixModel) DeliverNumbered(msg *broker.Message, at broker.Position) {
	m.numbers[string(msg.Group)] = append(m.numbers[string(msg.Group)], at.Offset)
	m.note(msg)
}

func (m *mixModel) note(msg *broker.Message) {
	m.got[msg.Sender] = append(m.got[msg.Sender], int(msg.Seq))
}

// send has a client send a plain message, or one to a group.
func (m *mixModel) send(c *mixClient, group string) {
	if c.open > 0 && c.group != group {
		return // it waits
	}
	m.pubSeq[c.node]++
	x := &mixed{from: c.node, client: c, n: c.sent, group: group, pubSeq: m.pubSeq[c.node]}
	c.sent++
	f := frame{
		Message: broker.Message{Kind: broker.KindGlobal, From: c.node, Sender: c.id, Seq: uint64(x.n)}, run: 9, pubSeq: x.pubSeq,
	}
	if group != "" {
		f.Kind, f.Group = kindNumbered, []byte(group)
	}
	x.raw, _ = appendFrame(nil, &f, nil)
	if group == "" {
		m.passed = append(m.passed, x)
		return
	}
	c.group = group
	c.open++
	m.queues[c.node][group] = append(m.queues[c.node][group], x)
}

// append lets Redis append some of what an instance has for a group.
func (m *mixModel) append(node broker.NodeID, group string, n int) {
	q := m.queues[node][group]
	n = min(n, len(q))
	for _, x := range q[:n] {
		m.streams[group] = append(m.streams[group], x)
		x.offset = uint64(len(m.streams[group]))
		x.client.open--
		m.passed = append(m.passed, x)
	}
	m.queues[node][group] = q[n:]
}

// connect makes a connection. What Redis passed on before is missed.
func (m *mixModel) connect(known []originKey) {
	if m.next >= 0 {
		return
	}
	m.recv.connected(known)
	m.subs.connected()
	for _, channel := range []string{"ms:global", "ms:" + m.subs.node, "ms:group:g", "ms:group:h"} {
		if err := m.subs.commandAnswered(resp.PushSubscribed, []byte(channel)); err != nil {
			m.t.Fatal(err)
		}
	}
	m.next = len(m.passed)
	m.recv.joined()
}

func (m *mixModel) disconnect() {
	if m.next < 0 {
		return
	}
	m.next = -1
	m.subs.disconnected()
	m.recv.disconnected()
	m.readings, m.requests = nil, nil
}

// ask notes a request for what an instance had sent.
func (m *mixModel) ask(o *origin, request, last uint64) {
	m.requests = append(m.requests, mixRequest{o.key.node, request, last})
}

// answer lets a request reach its instance, or get lost.
func (m *mixModel) answer(lost bool) {
	if len(m.requests) == 0 {
		return
	}
	r := m.requests[0]
	m.requests = m.requests[1:]
	if lost {
		return
	}
	for _, x := range m.passed {
		if x.group == "" && x.from == r.to && x.pubSeq > r.last && x.answers == 0 {
			again := *x
			again.answers = r.request
			m.passed = append(m.passed, &again)
		}
	}
	m.passed = append(m.passed, &mixed{from: r.to, answers: r.request, end: true})
}

// receive lets the next message come on the connection.
func (m *mixModel) receive() {
	if m.next < 0 || m.next >= len(m.passed) {
		return
	}
	x := m.passed[m.next]
	m.next++
	var f frame
	if x.probe != 0 {
		m.recv.caughtUp(x.probe)
		return
	}
	if x.end {
		if err := m.recv.recoveryEnded(originKey{x.from, 9}, x.answers, nil); err != nil {
			m.t.Fatal(err)
		}
		return
	}
	if x.group != "" {
		b := numberedMessage(mixEpoch, x.offset, x.raw)
		if err := m.recv.numbered(b, &f, m.recv.now()); err != nil {
			m.t.Fatal(err)
		}
		return
	}
	if err := parseFrame(x.raw, &f); err != nil {
		m.t.Fatal(err)
	}
	if x.answers != 0 {
		m.recv.recovered(originKey{x.from, 9}, x.answers, &f, x.raw)
		return
	}
	m.recv.data(&f, x.raw, m.recv.now())
}

// read answers the question that waits for longest with at most n messages.
func (m *mixModel) read(n int) {
	if len(m.readings) == 0 || m.next < 0 {
		return
	}
	r := m.readings[0]
	m.readings = m.readings[1:]
	stream := m.streams[r.group]
	p := &broker.Page{Extent: broker.Extent{Epoch: mixEpoch, First: 1, Last: uint64(len(stream))}}
	var by []publication
	for _, x := range stream[r.from.Offset:min(len(stream), int(r.from.Offset)+n)] {
		var f frame
		if err := m.recv.parseNumber(x.raw, &f); err != nil {
			m.t.Fatal(err)
		}
		p.Messages = append(p.Messages, broker.Numbered{Position: broker.Position{Epoch: mixEpoch, Offset: x.offset}, Message: f.Message})
		by = append(by, publication{f.run, f.pubSeq})
	}
	r.done(p, by, nil)
}

// heal lets everything come to an end.
func (m *mixModel) heal() {
	for node, groups := range m.queues {
		for group := range groups {
			m.append(node, group, 1<<20)
		}
	}
	m.connect([]originKey{{1, 9}, {3, 9}})
	for range 4 {
		m.recv.tick()
		for len(m.requests) > 0 {
			m.answer(false)
		}
		for len(m.readings) > 0 {
			m.read(3)
		}
		for m.next < len(m.passed) {
			m.receive()
		}
	}
}

// TestMergeModel tries orders of events at random: every client's messages are delivered in the order in which it sent
// them, plain and numbered ones, and each once.
func TestMergeModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := newMixModel(t)
		client := rapid.IntRange(0, len(m.clients)-1)
		node := rapid.SampledFrom([]broker.NodeID{1, 3})
		send := func(t *rapid.T) {
			c := m.clients[client.Draw(t, "client")]
			m.send(c, rapid.SampledFrom([]string{"", "g", "h"}).Draw(t, "group"))
		}
		t.Repeat(map[string]func(*rapid.T){
			"send": send, "send more": send,
			"append": func(t *rapid.T) {
				m.append(node.Draw(t, "node"), rapid.SampledFrom([]string{"g", "h"}).Draw(t, "group"), rapid.IntRange(1, 3).Draw(t, "n"))
			},
			"receive":    func(*rapid.T) { m.receive() },
			"disconnect": func(*rapid.T) { m.disconnect() },
			"connect":    func(*rapid.T) { m.connect([]originKey{{1, 9}, {3, 9}}) },
			"answer":     func(t *rapid.T) { m.answer(rapid.Bool().Draw(t, "lost")) },
			"read":       func(t *rapid.T) { m.read(rapid.IntRange(1, 3).Draw(t, "n")) },
			"tick":       func(*rapid.T) { m.recv.tick() },
		})
		m.heal()
		for _, c := range m.clients {
			if want := upTo(c.sent); !slices.Equal(m.got[c.id], want) {
				t.Fatalf("client %d: %v of %d messages", c.id[0], m.got[c.id], c.sent)
			}
		}
		for group, stream := range m.streams {
			if len(m.numbers[group]) != len(stream) {
				t.Fatalf("group %s: %v of %d", group, m.numbers[group], len(stream))
			}
		}
		if m.recv.merge != nil || len(m.recv.filling) > 0 {
			t.Fatalf("a merge goes on: %+v", m.recv.merge)
		}
	})
}

func upTo(n int) (all []int) {
	for i := range n {
		all = append(all, i)
	}
	return all
}
