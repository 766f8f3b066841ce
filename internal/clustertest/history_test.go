//go:build linux

package clustertest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/figure"
	"github.com/mastersocket/mastersocket/internal/hubtest"
)

// These tests check groups with history from end to end: members that reconnect, move and crash all the time see one
// sequence without a gap, in which everything that was acknowledged is once.

const keptGroup = "kept.orders"

// keptFrame is a message as these clients see it.
type keptFrame struct {
	Op     int             `json:"op"`
	ID     string          `json:"id"`
	Event  string          `json:"event"`
	Data   json.RawMessage `json:"data"`
	Offset uint64          `json:"offset"`
	Sender string          `json:"sender"`
}

type keptPosition struct {
	Epoch  string `json:"epoch,omitempty"`
	Offset uint64 `json:"offset"`
}

// keptConn is a client with the feature history.
type keptConn struct {
	conn *websocket.Conn
	tcp  *net.TCPConn
	id   string
	at   keptPosition // of the answer to IDENTIFY
}

// joinKept connects and identifies. recover is a position as JSON; empty for none.
func joinKept(ctx context.Context, url, token, group, recover string) (*keptConn, error) {
	p := new(keptConn)
	transport := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		var d net.Dialer
		c, err := d.DialContext(ctx, network, addr)
		if err == nil {
			p.tcp, _ = c.(*net.TCPConn)
		}
		return c, err
	}, DisableKeepAlives: true}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var err error
	if p.conn, _, err = websocket.Dial(ctx, url, &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}}); err != nil {
		return nil, err
	}
	p.conn.SetReadLimit(1 << 20)
	more := ""
	if recover != "" {
		more = fmt.Sprintf(`,"recover":{%q:%s}`, group, recover)
	}
	err = p.send(`{"op":1,"data":{"token":%q,"group":%q,"groups":["plain"],"features":["history","groups","errors","acks"]%s}}`, token, group, more)
	if err != nil {
		return nil, err
	}
	f, err := p.read(ctx)
	if err != nil || f.Op != 1 {
		_ = p.conn.CloseNow()
		return nil, fmt.Errorf("IDENTIFY: %+v, %w", f, err)
	}
	var data struct {
		ID      string
		History map[string]keptPosition
	}
	err = json.Unmarshal(f.Data, &data)
	p.id, p.at = data.ID, data.History[group]
	return p, err
}

func (p *keptConn) send(format string, args ...any) error {
	return p.conn.Write(context.Background(), websocket.MessageText, fmt.Appendf(nil, format, args...))
}

func (p *keptConn) read(ctx context.Context) (f keptFrame, err error) {
	for {
		f = keptFrame{}
		_, b, err := p.conn.Read(ctx)
		if err != nil {
			return f, err
		}
		if err := json.Unmarshal(b, &f); err != nil {
			return f, err
		}
		if f.Op != 3 {
			return f, nil
		}
		if err := p.send(`{"op":4}`); err != nil {
			return f, err
		}
	}
}

// reset breaks the connection as the network does.
func (p *keptConn) reset() {
	_ = p.tcp.SetLinger(0)
	_ = p.tcp.Close()
	_ = p.conn.CloseNow()
}

// sequence is what all members see: which message has which number.
type sequence struct {
	t       *testing.T
	mu      sync.Mutex
	ids     map[uint64]string
	offsets map[string]uint64
	acked   map[string]uint64
	last    atomic.Uint64 // the highest number that was acknowledged
	done    atomic.Bool   // nothing more is sent
	gaps    atomic.Int64
	plain   atomic.Int64 // messages that came behind a numbered one of the same sender
	epochs  atomic.Int64 // notices of a new one
}

// note notes a message that a member got.
func (q *sequence) note(f *keptFrame) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if id, ok := q.ids[f.Offset]; ok && id != f.ID {
		q.t.Errorf("number %d is %s for one member, and %s for another", f.Offset, id, f.ID)
	}
	if at, ok := q.offsets[f.ID]; ok && at != f.Offset {
		q.t.Errorf("%s has the numbers %d and %d", f.ID, at, f.Offset)
	}
	q.ids[f.Offset], q.offsets[f.ID] = f.ID, f.Offset
}

// keptMember is a member of the group, over all of its connections.
type keptMember struct {
	q      *sequence
	urls   []string
	number int
	at     keptPosition
	live   bool
	seen   [][]bool // by sender and message
	lives  int      // connections
}

// take checks a message.
func (m *keptMember) take(f *keptFrame) {
	switch {
	case f.Op == 0 && f.Event == "plain":
		var after string
		if json.Unmarshal(f.Data, &after) != nil {
			m.q.t.Errorf("member %d: plain message %s", m.number, f.Data)
		} else if s, n := keptName(after); m.live {
			if m.q.plain.Add(1); !m.seen[s][n] {
				m.q.t.Errorf("member %d: a plain message overtook %s", m.number, after)
			}
		}
	case f.Op == 0:
		if f.Offset != m.at.Offset+1 {
			m.q.t.Errorf("member %d: %d behind %d", m.number, f.Offset, m.at.Offset)
		}
		m.at.Offset = f.Offset
		s, n := keptName(f.ID)
		m.seen[s][n] = true
		m.q.note(f)
	case f.Op == 11:
		var d struct {
			keptPosition
			Live bool
			Gap  *struct{ Reason string }
		}
		if json.Unmarshal(f.Data, &d) != nil {
			m.q.t.Errorf("member %d: HISTORY %s", m.number, f.Data)
			return
		}
		m.live = m.live || d.Live
		if d.Gap != nil {
			m.q.gaps.Add(1)
			m.q.t.Errorf("member %d at %v: %s", m.number, m.at, f.Data)
		}
		if d.Epoch != m.at.Epoch && !d.Live {
			m.q.epochs.Add(1)
		}
		if d.Offset != m.at.Offset {
			m.q.t.Errorf("member %d at %v: HISTORY %s", m.number, m.at, f.Data)
		}
		m.at = d.keptPosition
	}
}

// keptName returns which message of which sender has the id.
func keptName(id string) (sender, number int) {
	_, _ = fmt.Sscanf(id, "s%d-%d", &sender, &number)
	return sender, number
}

// url returns an instance to connect to.
func (m *keptMember) url() string { return m.urls[rand.IntN(len(m.urls))] }

// run lives one life after the other until the member has everything.
func (m *keptMember) run(ctx context.Context) {
	for ctx.Err() == nil && !(m.q.done.Load() && m.at.Offset >= m.q.last.Load()) {
		position, _ := json.Marshal(m.at)
		p, err := joinKept(ctx, m.url(), hubtest.Token, keptGroup, string(position))
		if err != nil {
			time.Sleep(20 * time.Millisecond) // the instance is being killed, or Redis is away
			continue
		}
		m.lives++
		if m.live = false; m.at.Epoch == "" {
			m.at.Epoch = p.at.Epoch
		}
		m.live1(ctx, p)
	}
}

// live1 lives until something happens to the connection.
func (m *keptMember) live1(ctx context.Context, p *keptConn) {
	most := figure.Choose(200*time.Millisecond, time.Second)
	life := most/10 + rand.N(most)
	end := time.Now().Add(life)
	for ctx.Err() == nil && !(m.q.done.Load() && m.at.Offset >= m.q.last.Load()) {
		if time.Now().After(end) {
			switch rand.IntN(3) {
			case 0:
				p.reset()
				return
			case 1:
				_ = p.conn.Close(websocket.StatusNormalClosure, "")
				return
			}
			if p = m.move(ctx, p); p == nil {
				return
			}
			end = time.Now().Add(life)
		}
		wait, cancel := context.WithTimeout(ctx, 2*time.Second) // the last message may have come before done is set
		f, err := p.read(wait)
		cancel()
		if err != nil {
			_ = p.conn.CloseNow()
			return
		}
		m.take(&f)
		if m.number == 0 && f.Offset%16 == 0 { // a slow reader
			time.Sleep(time.Millisecond)
		}
	}
	_ = p.conn.CloseNow()
}

// move joins on another connection, reads the old one up to where that joined, and goes on with the new one.
func (m *keptMember) move(ctx context.Context, old *keptConn) *keptConn {
	defer func() { _ = old.conn.CloseNow() }()
	if !m.live {
		return nil
	}
	p, err := joinKept(ctx, m.url(), hubtest.Token, keptGroup, "")
	if err != nil {
		return nil
	}
	wait, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	m.live = false // plain messages come over both
	for m.at.Offset < p.at.Offset {
		f, err := old.read(wait)
		if err != nil {
			_ = p.conn.CloseNow()
			return nil
		}
		m.take(&f)
	}
	if m.at.Offset > p.at.Offset { // the new one brings what the old one brought, too
		for at := p.at.Offset; at < m.at.Offset; {
			f, err := p.read(wait)
			if err != nil {
				_ = p.conn.CloseNow()
				return nil
			}
			if f.Offset > 0 {
				if at++; f.Offset != at {
					m.q.t.Errorf("member %d: %d on the new connection behind %d", m.number, f.Offset, at-1)
				}
			}
		}
	}
	m.at.Epoch = p.at.Epoch
	m.live = true
	m.lives++
	return p
}

// keptSender sends messages until each is acknowledged.
type keptSender struct {
	q      *sequence
	urls   []string
	number int
	total  int
	resent int
}

var errNotSent = errors.New("not acknowledged")

// run sends everything, on one connection after the other.
func (s *keptSender) run(ctx context.Context) {
	for next := 0; next < s.total && ctx.Err() == nil; {
		p, err := joinKept(ctx, s.urls[rand.IntN(len(s.urls))], hubtest.Token, fmt.Sprint("senders.", s.number), "")
		if err != nil {
			time.Sleep(20 * time.Millisecond)
			continue
		}
		n, err := s.use(ctx, p, next)
		next = n
		_ = p.conn.CloseNow()
		if err != nil {
			s.resent++
			time.Sleep(5 * time.Millisecond)
		}
	}
}

// use sends on a connection from message next on, several at a time. It returns the first one that was not acknowledged.
func (s *keptSender) use(ctx context.Context, p *keptConn, next int) (int, error) {
	const window = 8
	name := func(n int) string { return fmt.Sprintf("s%d-%d", s.number, n) }
	sent, offset := next, uint64(0)
	for next < s.total {
		for sent < s.total && sent < next+window {
			if sent%10 == 9 && next > 0 { // behind what is acknowledged already
				if err := p.send(`{"op":0,"event":"plain","data":%q,"intent":{"target":"GROUP","identifier":"plain"}}`, name(next-1)); err != nil {
					return next, err
				}
			}
			if err := p.send(`{"op":0,"id":%q,"event":"kept","once":true,"data":"%0128d","intent":{"target":"GROUP","identifier":%q}}`, name(sent), sent, keptGroup); err != nil {
				return next, err
			}
			sent++
		}
		wait, cancel := context.WithTimeout(ctx, 15*time.Second)
		f, err := p.read(wait)
		cancel()
		var d struct {
			Offset    uint64
			Duplicate bool
		}
		switch {
		case err != nil:
			return next, err
		case f.Op == 6 && f.ID == name(next):
			return next, errNotSent
		case f.Op != 7 || f.ID != name(next):
			continue
		case json.Unmarshal(f.Data, &d) != nil || d.Offset == 0:
			s.q.t.Errorf("ACK %s", f.Data)
		case !d.Duplicate && d.Offset <= offset:
			s.q.t.Errorf("%s has the number %d, and the one before it %d", f.ID, d.Offset, offset)
		}
		if !d.Duplicate {
			offset = d.Offset
		}
		s.q.mu.Lock()
		s.q.acked[f.ID] = d.Offset
		s.q.mu.Unlock()
		for last := s.q.last.Load(); d.Offset > last && !s.q.last.CompareAndSwap(last, d.Offset); last = s.q.last.Load() {
		}
		next++
	}
	return next, nil
}

// TestHistory has members that crash, reconnect and move while messages are sent, connections to Redis are cut, and an
// instance is killed and started again. No member may miss a number, or see one twice, and all see the same.
func TestHistory(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, clusterOptions{flags: []string{"--history", `[{groups: "kept.*", messages: 1000000, age: 1h, bytes: 2GiB}]`}})
	q := &sequence{t: t, ids: make(map[uint64]string), offsets: make(map[string]uint64), acked: make(map[string]uint64)}
	ctx, cancel := context.WithTimeout(t.Context(), figure.Choose(2*time.Minute, 25*time.Minute))
	defer cancel()
	senders, each, members := 4, figure.Choose(600, 250_000), figure.Choose(6, 12)
	urls := c.urls() // an instance that starts again has the address that it had
	var sending, receiving sync.WaitGroup
	all := make([]*keptMember, members)
	for i := range all {
		all[i] = &keptMember{q: q, urls: urls, number: i, seen: make([][]bool, senders)}
		for k := range all[i].seen {
			all[i].seen[k] = make([]bool, each)
		}
		receiving.Go(func() { all[i].run(ctx) })
	}
	resent := atomic.Int64{}
	for i := range senders {
		sending.Go(func() {
			s := &keptSender{q: q, urls: urls, number: i, total: each}
			s.run(ctx)
			resent.Add(int64(s.resent))
		})
	}
	begun := time.Now()
	go func() {
		sending.Wait()
		q.done.Store(true)
	}()
	rounds := 0
	for ; !q.done.Load(); rounds++ {
		mark := q.last.Load()
		further := uint64(figure.Choose(200, 20_000))
		err := eventually.Within(30*time.Second, func() bool { return q.last.Load() > mark+further || q.done.Load() })
		if err != nil || q.done.Load() {
			break
		}
		switch rounds % 3 {
		case 1:
			_, _ = c.redis.Try("CLIENT", "KILL", "TYPE", "pubsub")
		case 0:
			_, _ = c.redis.Try("CLIENT", "KILL", "TYPE", "normal")
		case 2:
			c.hubs[2].Kill()
			c.hubs[2] = c.start(2, c.hubs[2].HubAddr, "")
		}
	}
	sending.Wait()
	receiving.Wait()
	if ctx.Err() != nil {
		t.Fatalf("not done in time: %d numbers, members at %v", q.last.Load(), positions(all))
	}
	lives := 0
	for _, m := range all {
		lives += m.lives
		if m.at.Offset < q.last.Load() {
			t.Errorf("member %d got %d of %d", m.number, m.at.Offset, q.last.Load())
		}
	}
	if want := senders * each; len(q.acked) != want {
		t.Errorf("%d messages were acknowledged, want %d", len(q.acked), want)
	}
	for id, offset := range q.acked {
		if q.offsets[id] != offset {
			t.Errorf("%s was acknowledged as %d, and members got it as %d", id, offset, q.offsets[id])
		}
	}
	figure.Printf(t, "%d numbered messages in %v, %d members with %d connections, %d faults, sent again %d times: %d gaps, %d plain messages in their places",
		q.last.Load(), figure.MS(time.Since(begun)), members, lives, rounds, resent.Load(), q.gaps.Load(), q.plain.Load())
}

func positions(all []*keptMember) (at []keptPosition) {
	for _, m := range all {
		at = append(at, m.at)
	}
	return at
}
