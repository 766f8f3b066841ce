//go:build linux

package hubtest

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	rc "github.com/mastersocket/mastersocket/internal/rawclient"
)

// The hub's deadlines for unfinished input, shorter than the defaults.
const (
	requestDeadline = 3 * time.Second
	messageDeadline = 6 * time.Second
	tolerance       = 2 * time.Second
)

// TestSlowInput sends requests and messages that trickle and never end. It takes as long as the hub's deadlines, for
// all cases at once.
func TestSlowInput(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for deadlines")
	}
	t.Parallel()
	a := newArena(t, "--handshake-timeout="+requestDeadline.String(), "--message-timeout="+messageDeadline.String())
	var group sync.WaitGroup
	check := func(name string, want time.Duration, run func() (rc.End, error), fits func(rc.End) bool) {
		group.Go(func() {
			begin := time.Now()
			end, err := run()
			took := time.Since(begin)
			if err != nil || !fits(end) {
				t.Errorf("%s: got %v, %v", name, end, err)
			}
			if took < want-tolerance || took > want+5*tolerance {
				t.Errorf("%s: ended after %v, want %v", name, took.Round(time.Millisecond), want)
			}
		})
	}
	a.slowRequests(t, check)
	a.slowMessages(t, check)
	group.Wait()
	a.finish(t)
}

type slowCheck func(name string, want time.Duration, run func() (rc.End, error), fits func(rc.End) bool)

// drip writes b one byte at a time while it reads how the connection ends.
func drip(t *testing.T, c *rc.Conn, b []byte, interval time.Duration) (rc.End, error) {
	ctx, cancel := context.WithCancel(context.Background())
	c.SetTimeout(messageDeadline + 2*tolerance)
	var writing sync.WaitGroup
	writing.Go(func() {
		if _, err := c.Drip(ctx, b, interval); err == nil {
			t.Error("all has dripped in: the test's messages are too short")
		}
	})
	defer writing.Wait()
	defer cancel()
	return c.End()
}

func (a *arena) slowRequests(t *testing.T, check slowCheck) {
	request := rc.NewRequest(a.HubAddr, "/").Add("X-Attacker: " + strings.Repeat("a", 5000)).Bytes()
	// The answer may be HTTP 408 or none: the end must come in any case.
	ended := func(end rc.End) bool { return end.Transport == io.EOF || end.Transport == rc.ErrReset }
	for name, n := range map[string]int{"nothing": 0, "one byte": 1, "half a request": 100} {
		c := a.dial(t)
		c.SetTimeout(requestDeadline + 2*tolerance)
		send(t, c, request[:n])
		check("request: "+name, requestDeadline, func() (rc.End, error) {
			_, err := c.ReadResponse("GET")
			if errors.Is(err, rc.ErrTimeout) {
				return rc.End{}, err
			}
			return rc.End{Transport: io.EOF}, nil
		}, ended)
	}
	c := a.dial(t)
	check("request: dripping", requestDeadline, func() (rc.End, error) {
		ctx, cancel := context.WithTimeout(context.Background(), requestDeadline+2*tolerance)
		defer cancel()
		if _, err := c.Drip(ctx, request, 50*time.Millisecond); !errors.Is(err, rc.ErrReset) {
			return rc.End{}, err
		}
		return rc.End{Transport: rc.ErrReset}, nil
	}, ended)
}

func (a *arena) slowMessages(t *testing.T, check slowCheck) {
	long := rc.Text(`{"op":3}` + strings.Repeat(" ", 20000)).Bytes()
	half := rc.Fragment(rc.OpText, `{"op"`).Bytes()
	overdue := func(end rc.End) bool { return end.Code == policy.code && len(end.Before) == 0 }
	for _, s := range states {
		for name, begin := range map[string][]byte{
			"one byte of a header": long[:1], "a header": long[:8], "a part of a payload": long[:1000], "a first fragment": half,
		} {
			c := a.open(t, s)
			c.SetTimeout(messageDeadline + 2*tolerance)
			send(t, c, begin)
			check(name+", "+string(s), messageDeadline, c.End, overdue)
		}
		c := a.open(t, s)
		check("dripping payload, "+string(s), messageDeadline, func() (rc.End, error) { return drip(t, c, long, 20*time.Millisecond) }, overdue)
		d := a.open(t, s)
		send(t, d, half)
		fragments := []byte(strings.Repeat(string(rc.Fragment(rc.OpContinuation, " ").Bytes()), 700))
		check("dripping fragments, "+string(s), messageDeadline, func() (rc.End, error) { return drip(t, d, fragments, 20*time.Millisecond) }, overdue)

		e := a.openTCP(t, s)
		e.SetTimeout(messageDeadline + 2*tolerance)
		send(t, e, []byte(`{"op"`))
		check("TCP value, "+string(s), messageDeadline, e.End, func(end rc.End) bool { return end.Said != "" && end.Transport == io.EOF })
	}
}
