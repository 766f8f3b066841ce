//go:build linux

package rolltest

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/internal/figure"
	"github.com/mastersocket/mastersocket/internal/history"
	"github.com/mastersocket/mastersocket/internal/hubtest"
	"github.com/mastersocket/mastersocket/internal/rawclient"
)

// plainClients are clients without the feature drain, on an implementation other than the SDK. They are disconnected
// when an instance restarts, and reconnect.
type plainClients struct {
	t       *testing.T
	rig     *rig
	stopped chan struct{}
	ends    chan ending
	running sync.WaitGroup
}

// ending is the end of a plain client's connection.
type ending struct {
	at     int64
	reason string
	code   int
	err    error
}

// startPlainClients connects n of them.
func startPlainClients(r *rig, n int) *plainClients {
	r.t.Helper()
	p := &plainClients{t: r.t, rig: r, stopped: make(chan struct{}), ends: make(chan ending, 1000)}
	for range n {
		c, err := p.connect()
		if err != nil {
			r.t.Fatal(err)
		}
		p.running.Go(func() { p.live(c) })
	}
	r.t.Cleanup(func() { p.stop() })
	return p
}

func (p *plainClients) connect() (c *rawclient.Conn, err error) {
	err = p.rig.clients.within(func() error {
		c, err = rawclient.Dial(p.rig.balance.at.port(portHub), rawclient.Options{
			Timeout: 10 * time.Second, TLS: tlsConfig(p.rig.trust),
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	if err = c.Upgrade("/"); err == nil {
		_, err = c.Identify(hubtest.Token, "plain", "")
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("plain client: %w", err)
	}
	c.SetTimeout(time.Second)
	return c, nil
}

// live reads until the connection ends, and reconnects.
func (p *plainClients) live(c *rawclient.Conn) {
	for {
		e, told := p.read(c)
		c.Close()
		if !told {
			return
		}
		p.ends <- e
		if c = p.again(); c == nil {
			return
		}
	}
}

// again reconnects; nil if that fails or the test ends.
func (p *plainClients) again() *rawclient.Conn {
	for begin := time.Now(); ; {
		c, err := p.connect()
		if err == nil {
			return c
		}
		if time.Since(begin) > patience {
			p.ends <- ending{at: history.Now(), err: err}
			return nil
		}
		select {
		case <-p.stopped:
			return nil
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// read returns the end of the connection; false if the test ended first.
func (p *plainClients) read(c *rawclient.Conn) (e ending, told bool) {
	for {
		select {
		case <-p.stopped:
			return e, false
		default:
		}
		m, err := c.Receive()
		var closed *rawclient.ClosedError
		switch {
		case errors.Is(err, rawclient.ErrTimeout):
		case errors.As(err, &closed):
			e.at, e.code = history.Now(), closed.Code
			return e, true
		case err != nil:
			e.at, e.err = history.Now(), err
			return e, true
		case m.Is(rawclient.OpDisconnect):
			_ = json.Unmarshal(m.Data, &e.reason) // empty if it is not a string
		case m.Is(rawclient.OpPING):
			_ = c.Send(`{"op":4}`) // the next read reports a failure
		}
	}
}

// stop ends the clients and returns the ends of connections before.
func (p *plainClients) stop() []ending {
	select {
	case <-p.stopped:
		return nil
	default:
	}
	close(p.stopped)
	p.running.Wait()
	close(p.ends)
	var all []ending
	for e := range p.ends {
		all = append(all, e)
	}
	return all
}

// check expects that each restart disconnected clients, all with the right reason and code.
func (p *plainClients) check(steps []restarted) {
	p.t.Helper()
	ends := p.stop()
	told := make([]int, len(steps))
	for _, e := range ends {
		i := slices.IndexFunc(steps, func(s restarted) bool { return e.at >= s.begin && e.at <= s.gone })
		if i < 0 || e.reason != "SERVER_RESTART" || e.code != 1001 || e.err != nil {
			p.t.Errorf("a client without drain: %q, %d, %v (in restart %d); want SERVER_RESTART, 1001 in one", e.reason, e.code, e.err, i+1)
			continue
		}
		told[i]++
	}
	if slices.Contains(told, 0) {
		p.t.Errorf("clients without drain that got SERVER_RESTART in each restart: %v, want some in each", told)
	}
	figure.Printf(p.t, "clients without drain: got SERVER_RESTART in the restarts: %s times", strings.Trim(fmt.Sprint(told), "[]"))
}
