//go:build linux

package clustertest

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/faultproxy"
	"github.com/mastersocket/mastersocket/internal/figure"
	"github.com/mastersocket/mastersocket/internal/hubtest"
	rc "github.com/mastersocket/mastersocket/internal/rawclient"
	"github.com/mastersocket/mastersocket/internal/redistest"
)

// TestFenceAcrossCuts moves a client between two instances. At each move the old instance's connection to Redis is cut,
// while senders on all three instances send to the client's group. The broker recovers the missed messages, in any
// order: a FENCE must not overtake them.
func TestFenceAcrossCuts(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	proxies := []*faultproxy.Proxy{faultproxy.Start(t, redis.Addr()), faultproxy.Start(t, redis.Addr())}
	c := startCluster(t, 3, clusterOptions{redis: redis, url: func(i int) string {
		if i < len(proxies) {
			return "redis://" + proxies[i].Addr()
		}
		return redis.URL()
	}})
	ctx, stop := context.WithCancel(t.Context())
	var others sync.WaitGroup
	defer others.Wait()
	defer stop()
	for i := range 6 {
		p := identified(t, c.hubs[i%3], "senders")
		others.Go(func() { sendUntil(ctx, t, p, "g") })
	}
	m := &movingClient{t: t, last: make(map[string]int)}
	m.conn, m.id = m.connect(c.hubs[0])
	moves := 0
	for ; moves < size(12, 200); moves++ {
		m.move(c.hubs[(moves+1)%2], proxies[moves%2])
		awaitReady(t, c.hubs...)
	}
	recovered, missed := c.sum("mastersocket_broker_recovered_total"), c.sum("mastersocket_broker_missed_total")
	figure.Printf(t, "%d moves, in each of which the old instance's connection to Redis was cut: %d messages missed by the client, "+
		"%d by instances; %d had again", moves, m.gaps, missed, recovered)
	if m.gaps > missed {
		t.Errorf("%d gaps, and the instances counted %d messages as missed", m.gaps, missed)
	}
	if recovered == 0 {
		t.Error("no message was recovered, so the test proves nothing")
	}
}

// movingClient checks the sequence of each sender's messages to its group.
type movingClient struct {
	t    *testing.T
	conn *rc.Conn
	id   string
	last map[string]int
	gaps int
}

// connect tries until the instance accepts it: the instance is cut off at times.
func (m *movingClient) connect(h *hubtest.Server) (conn *rc.Conn, id string) {
	m.t.Helper()
	err := eventually.Within(patience, func() bool {
		c, err := rc.Dial(h.HubAddr, rc.Options{Timeout: patience})
		if err != nil {
			return false
		}
		if err = c.Upgrade("/"); err == nil {
			id, err = c.Identify(h.Token, "g", `,"features":["drain","errors"]`)
		}
		if err != nil {
			_ = c.Close()
			return false
		}
		conn = c
		return true
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return conn, id
}

// take records one message of a sender.
func (m *movingClient) take(e rc.Envelope) {
	n, err := strconv.Atoi(e.ID)
	if err != nil {
		m.t.Fatalf("got %v", e)
	}
	last, known := m.last[e.Sender]
	if known && n > last+1 {
		m.gaps += n - last - 1
	}
	m.last[e.Sender] = max(n, last)
}

// move moves to another instance, and cuts the old instance's connection to Redis.
func (m *movingClient) move(to *hubtest.Server, old *faultproxy.Proxy) {
	m.t.Helper()
	old.Cut()
	next, id := m.connect(to)
	held := make(chan []rc.Envelope, 1)
	quit := make(chan struct{})
	go func() { held <- m.hold(next, quit) }()
	for fenced := false; !fenced; {
		m.send(next, fmt.Sprintf(`{"op":13,"id":"f","intent":{"target":"DIRECT","identifier":%q}}`, m.id))
		fenced = m.readUntil(13, time.Second)
	}
	close(quit)
	for _, e := range <-held {
		if e.Is(0) {
			m.take(e)
		}
	}
	_ = m.conn.Close()
	m.conn, m.id = next, id
	m.readUntil(4, patience)
}

// hold reads from the new connection up to the PONG for a last PING.
func (m *movingClient) hold(c *rc.Conn, quit <-chan struct{}) (all []rc.Envelope) {
	for {
		select {
		case <-quit:
			m.send(c, `{"op":3}`)
			return all
		default:
		}
		m.send(c, `{"op":3}`)
		for {
			e, err := c.Receive()
			if err != nil {
				m.t.Errorf("the new connection: %v", err)
				return all
			}
			if e.Is(4) {
				break
			}
			all = append(all, e)
		}
	}
}

// readUntil records messages up to one with that op. It returns false on a timeout.
func (m *movingClient) readUntil(op int, within time.Duration) bool {
	m.t.Helper()
	for end := time.Now().Add(within); time.Now().Before(end); {
		e, err := m.conn.Receive()
		switch {
		case err != nil:
			m.t.Fatalf("the old connection: %v", err)
		case e.Is(op):
			return true
		case e.Is(0):
			m.take(e)
		}
	}
	return false
}

func (m *movingClient) send(c *rc.Conn, message string) {
	if err := c.Send(message); err != nil {
		m.t.Error(err)
	}
}

// identified returns a client of the instance.
func identified(t *testing.T, h *hubtest.Server, group string) *rc.Conn {
	t.Helper()
	c, err := rc.Dial(h.HubAddr, rc.Options{Timeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.Upgrade("/"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Identify(h.Token, group, ""); err != nil {
		t.Fatal(err)
	}
	return c
}

// sendUntil sends EVENTs with the ids 1, 2, … to the group, a few at a time, until ctx ends.
func sendUntil(ctx context.Context, t *testing.T, c *rc.Conn, group string) {
	for n := 1; ctx.Err() == nil; {
		batch := []byte{}
		for range 4 {
			batch = append(batch, rc.Frames(rc.Text(fmt.Sprintf(
				`{"op":0,"id":"%d","intent":{"target":"GROUP","identifier":%q}}`, n, group)))...)
			n++
		}
		if err := c.Write(append(batch, rc.Frames(rc.Text(`{"op":3}`))...)); err != nil {
			t.Error(err)
			return
		}
		for {
			e, err := c.Receive()
			if err != nil {
				t.Error(err)
				return
			}
			if e.Is(4) {
				break
			}
		}
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
		}
	}
}
