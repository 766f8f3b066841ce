package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/mastersocket/mastersocket/client"
)

const (
	doubleTimeout = 20 * time.Second
	doubleSlack   = 20 * time.Second // what takes longer than this beyond the timeout hangs
)

// asking is many clients that ask each other.
type asking struct {
	load    *load
	clients []*client.Client
	halt    context.CancelFunc
	sending sync.WaitGroup

	mu                          sync.Mutex // guards the fields below
	sent, answered, wrong, hung int
	failed                      map[string]int
}

func double(_ context.Context, m *client.Message) (any, error) {
	var n int
	if err := m.Unmarshal(&n); err != nil {
		return nil, err
	}
	return 2 * n, nil
}

func (k *asking) start(c command) error {
	k.failed = map[string]int{}
	teams := max(1, c.Clients/10)
	ctx, cancel := context.WithCancel(context.Background())
	k.halt = cancel
	for i := range c.Clients {
		var mu sync.Mutex
		var connected, lost bool
		one, err := client.Connect(ctx, client.Options{
			URL: c.URL, Token: c.Token, Group: group(i % teams), Name: "agent " + strconv.Itoa(i),
			MinBackoff: 100 * time.Millisecond, MaxBackoff: time.Second,
			On:     map[string]client.Handler{"double": client.HandleFunc(double)},
			Logger: slog.New(slog.DiscardHandler),
			OnConnect: func(client.Identity) {
				mu.Lock()
				defer mu.Unlock()
				if connected {
					k.load.print(map[string]any{"event": map[bool]string{true: "back", false: "moved"}[lost]})
				}
				connected, lost = true, false
			},
			OnDisconnect: func(error) {
				mu.Lock()
				defer mu.Unlock()
				lost = true
			},
		})
		if err != nil {
			return err
		}
		k.clients = append(k.clients, one)
	}
	each := time.Duration(float64(time.Second) * float64(c.Clients) / c.Rate)
	for i, one := range k.clients {
		k.sending.Go(func() {
			tick := time.NewTicker(each)
			defer tick.Stop()
			for n := i; ; n += len(k.clients) {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
					k.ask(one, group(rand.IntN(teams)), n)
				}
			}
		})
	}
	return nil
}

func (k *asking) finish() map[string]any {
	k.halt()
	k.sending.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	for _, c := range k.clients {
		_ = c.Close(ctx)
	}
	return map[string]any{"sent": k.sent, "answered": k.answered, "wrong": k.wrong, "hung": k.hung, "failed": k.failed}
}

// ask sends a request and counts its outcome.
func (k *asking) ask(c *client.Client, team string, n int) {
	began := time.Now()
	reason, right := double3(c, team, n)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.sent++
	switch {
	case reason != "":
		k.failed[kinds[n%3]+" "+reason]++
	case right:
		k.answered++
	default:
		k.wrong++
	}
	if time.Since(began) > doubleTimeout+doubleSlack {
		k.hung++
	}
}

// kinds are those of requests: to a group, to any member with a retry, to any member.
var kinds = [3]string{"all", "retry", "any"}

// double3 sends a request of one of the kinds. It returns why there was no answer, or whether the answer was right.
func double3(c *client.Client, team string, n int) (reason string, right bool) {
	ctx, cancel := context.WithTimeout(context.Background(), doubleTimeout)
	defer cancel()
	want := strconv.Itoa(2 * n)
	if n%3 == 0 {
		replies, s, err := c.RequestAll(ctx, client.Group(team), "double", n)
		if err != nil {
			return reasonOf(err), false
		}
		if s == nil || s.Replied != len(replies) || s.Receivers != s.Replied+s.Passed+s.More+lost(s.Missing) {
			return "", false
		}
		for _, m := range replies {
			if string(m.Data) != want {
				return "", false
			}
		}
		if len(s.Missing) > 0 || s.Replied == 0 {
			return reasonOf(&client.RequestError{Settlement: *s}), false
		}
		return "", true
	}
	var opts []client.SendOption
	if n%3 == 1 {
		opts = append(opts, client.WithRetry())
	}
	m, err := c.Request(ctx, client.Any(team), "double", n, opts...)
	if err != nil {
		return reasonOf(err), false
	}
	return "", string(m.Data) == want
}

// lost returns how many receivers are among those who are missing.
func lost(missing []client.Missing) (n int) {
	for _, m := range missing {
		if n += m.Count; m.ID != "" {
			n++
		}
	}
	return n
}

func reasonOf(err error) string {
	var unanswered *client.RequestError
	var refused *client.HubError
	switch {
	case errors.As(err, &unanswered) && len(unanswered.Missing) > 0:
		return unanswered.Missing[0].Reason
	case errors.As(err, &refused):
		return string(refused.Code)
	case errors.Is(err, client.ErrOutcomeUnknown):
		return "OUTCOME_UNKNOWN"
	}
	return fmt.Sprintf("%T", err)
}
