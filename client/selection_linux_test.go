package client_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/client"
	"github.com/mastersocket/mastersocket/internal/hubtest"
)

// TestSelection sends to several targets, with exceptions, through a real hub.
func TestSelection(t *testing.T) {
	t.Parallel()
	s := hubtest.Start(t, hubtest.Options{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	heard := make(chan *client.Message, 10)
	connect := func(group string) *client.Client {
		t.Helper()
		c, err := client.Connect(ctx, client.Options{
			URL: s.URL(), Token: s.Token, Group: group,
			On: map[string]client.Handler{"e": func(_ context.Context, m *client.Message) { heard <- m }},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			_ = c.Close(ctx)
		})
		return c
	}
	sender, a, left := connect("senders"), connect("a"), connect("left")
	for want, to := range map[string]client.Intent{
		"GROUP:a,left -left": client.Groups("a", "left").Except("left"),
		"GROUP:a -left":      client.Group("a").Except("left"),
		"GLOBAL -left -senders -" + left.Identity().ID:                    client.Global().Except("left", "senders", left.Identity().ID),
		"DIRECT:" + a.Identity().ID + "," + left.Identity().ID + " -left": client.Directs(a.Identity().ID, left.Identity().ID).Except("left"),
	} {
		if err := sender.Send(ctx, to, "e", nil); err != nil {
			t.Fatalf("%v: %v", to, err)
		}
		select {
		case m := <-heard:
			if m.Intent.String() != want {
				t.Errorf("%v was received as %v", want, m.Intent)
			}
		case <-ctx.Done():
			t.Fatalf("%v was not received", to)
		}
	}
	seventeen := strings.Split(strings.Repeat("g,", 16)+"g", ",")
	for _, to := range []client.Intent{
		client.Groups(), client.Groups("a", "a"), client.Groups(seventeen...), client.Group("a").Except("$b"),
		client.Any("a").Except("b"), client.Directs("a"), client.Groups("").Except("a"), client.Group("").Except("a"),
	} {
		if err := sender.Send(ctx, to, "e", nil); err == nil {
			t.Errorf("%v was sent", to)
		}
	}
	if _, err := sender.Request(ctx, client.Groups("a", "b"), "e", nil); err == nil || !strings.Contains(err.Error(), "a request has one target") {
		t.Errorf("a request to several groups: %v", err)
	}
	if len(heard) > 0 {
		t.Errorf("received %v, too", (<-heard).Intent)
	}
}
