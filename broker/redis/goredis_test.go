package redis

import (
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/mastersocket/mastersocket/broker/brokertest"
	"github.com/mastersocket/mastersocket/internal/faultproxy"
	"github.com/mastersocket/mastersocket/internal/figure"
	"github.com/mastersocket/mastersocket/internal/redistest"
)

// TestGoRedisNoticesNothing puts go-redis's own subscriber beside ours behind a proxy that swallows what Redis says. It
// is why this package has a receive loop of its own: PubSub.Channel pings when it hears nothing, and awaits no answer.
func TestGoRedisNoticesNothing(t *testing.T) {
	t.Parallel()
	watch := 8 * time.Second // two of its health checks, of 3 s each
	if figure.Full() {
		watch = 24 * time.Second
	}
	s := redistest.Start(t)
	mine, theirs := faultproxy.Start(t, s.Addr()), faultproxy.Start(t, s.Addr())
	in := brokertest.Join(t, newTestRedis(t, Options{URL: "redis://" + mine.Addr()}))
	client := goredis.NewClient(&goredis.Options{Addr: theirs.Addr()})
	defer client.Close()
	sub := client.Subscribe(t.Context(), "channel")
	defer sub.Close()
	if _, err := sub.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	messages := sub.Channel()
	s.Do("PUBLISH", "channel", "before")
	if m := <-messages; m.Payload != "before" {
		t.Fatalf("got %q", m.Payload)
	}
	connections := theirs.Accepted()

	mine.Set(faultproxy.SwallowReplies)
	theirs.Set(faultproxy.SwallowReplies)
	began := time.Now()
	in.Await(t, "the report", func() bool { return len(in.States) > 0 && !in.States[len(in.States)-1].Available })
	noticed := time.Since(began)
	s.Do("PUBLISH", "channel", "meanwhile")
	select {
	case m, ok := <-messages:
		t.Errorf("go-redis's subscriber got %v, %v", m, ok)
	case <-time.After(watch - noticed):
	}
	if n := theirs.Accepted() - connections; n != 0 {
		t.Errorf("go-redis's subscriber made %d new connections in %v: it notices now, and our own receive loop may have had its day", n, watch)
	}
	figure.Printf(t, "replies swallowed: noticed after %v; go-redis's subscriber noticed nothing in %v", noticed.Round(time.Millisecond), watch)
	if noticed > 3*time.Second {
		t.Errorf("noticed after %v", noticed)
	}
}
