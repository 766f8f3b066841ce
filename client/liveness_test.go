package client

import (
	"testing"
	"time"
)

func TestLiveness(t *testing.T) {
	t.Parallel()
	const ping = 30 * time.Second
	type step struct {
		after  time.Duration // since the last check
		silent time.Duration
		want   verdict
	}
	for name, steps := range map[string][]step{
		"alive":  {{7 * time.Second, 2 * time.Second, peerAlive}, {7 * time.Second, ping, peerAlive}},
		"asked":  {{7 * time.Second, 31 * time.Second, askPeer}, {7 * time.Second, time.Second, peerAlive}},
		"gone":   {{7 * time.Second, 31 * time.Second, askPeer}, {7 * time.Second, 38 * time.Second, askPeer}, {7 * time.Second, 45 * time.Second, givePeerUp}},
		"paused": {{7 * time.Second, 7 * time.Second, peerAlive}, {10 * time.Minute, 10 * time.Minute, askPeer}, {7 * time.Second, time.Second, peerAlive}},
		"two pauses": {
			{7 * time.Second, 31 * time.Second, askPeer}, {time.Hour, time.Hour, askPeer}, {10 * time.Second, time.Hour, askPeer},
			{time.Hour, 2 * time.Hour, askPeer}, {10 * time.Second, 2 * time.Hour, askPeer}, {7 * time.Second, 2 * time.Hour, givePeerUp},
		},
		"heard in between": {
			{7 * time.Second, 31 * time.Second, askPeer}, {7 * time.Second, time.Second, peerAlive}, {15 * time.Second, 66 * time.Second, askPeer},
			{7 * time.Second, 73 * time.Second, askPeer}, {7 * time.Second, 80 * time.Second, givePeerUp},
		},
	} {
		var l liveness
		now := time.Unix(0, 0)
		for i, s := range steps {
			now = now.Add(s.after)
			if got := l.check(now, s.silent, ping); got != s.want {
				t.Errorf("%s: check %d: %v, want %v", name, i, got, s.want)
			}
		}
	}
}

// A link measures silence with the monotonic clock.
func TestSilenceIsMonotonic(t *testing.T) {
	t.Parallel()
	l := newLink(nil, 0)
	if l.began == l.began.Round(0) {
		t.Error("the link's time has no monotonic reading")
	}
	if n := l.lastRead.Load(); n < 0 || n > int64(time.Minute) {
		t.Errorf("lastRead = %d ns, want the time since the link began", n)
	}
	if d := l.silence(); d < 0 || d > time.Minute {
		t.Errorf("silence = %v", d)
	}
}
