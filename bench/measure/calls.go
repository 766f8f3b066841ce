//go:build linux

package measure

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mastersocket/mastersocket/bench/servers"
)

// callers is how many connections call by HTTP at the same time, each with one call on its way.
const callers = 16

// calls has a server send messages by HTTP, each to one subscriber of its own group, as fast as it answers.
func (b *bench) calls() (map[string]float64, error) {
	caller, ok := b.adapter.(servers.Caller)
	if !ok {
		return nil, errors.New("it takes no calls by HTTP")
	}
	ctx, cancel := context.WithTimeout(context.Background(), b.times.Direct)
	defer cancel()
	var done atomic.Int64
	var failure error
	var once sync.Once
	var all sync.WaitGroup
	received := b.received()
	before, err := b.process.CPU()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	for i := range callers {
		at, request := caller.Call(b.process.Site, b.shape, i)
		all.Go(func() {
			if err := callUntil(ctx, at, request, &done); err != nil {
				once.Do(func() { failure = err })
			}
		})
	}
	serving := b.loop.Listen(b.times.Direct)
	all.Wait()
	elapsed := time.Since(began)
	after, err := b.process.CPU()
	if err := errors.Join(err, serving, failure, b.loop.Listen(warmTime)); err != nil {
		return nil, err
	}
	n := done.Load()
	if got := b.received() - received; n == 0 || int64(got) < n {
		return nil, fmt.Errorf("%d deliveries for %d calls", got, n)
	}
	return map[string]float64{PerSecond: float64(n) / elapsed.Seconds(), CPU: (after - before).Seconds() * 1e6 / float64(n)}, nil
}

// callUntil repeats a call on one connection until ctx ends, and counts the calls.
func callUntil(ctx context.Context, at netip.AddrPort, request []byte, done *atomic.Int64) error {
	conn, err := net.Dial("tcp", at.String())
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(connectTimeout))
	answers := bufio.NewReader(conn)
	for ctx.Err() == nil {
		if _, err := conn.Write(request); err != nil {
			return err
		}
		r, err := http.ReadResponse(answers, nil)
		if err != nil {
			return err
		}
		body, err := io.ReadAll(r.Body)
		_ = r.Body.Close()
		if err != nil || r.StatusCode >= 300 {
			return fmt.Errorf("a call is answered with %s: %s, %w", r.Status, body, err)
		}
		done.Add(1)
	}
	return nil
}
