package client

import "time"

// leastAnswerTime is how long a hub has at least to answer a PING. A longer ping interval gives it nearly half of that.
const leastAnswerTime = 900 * time.Millisecond

// verdict is what to do about a peer's silence.
type verdict uint8

const (
	peerAlive  verdict = iota
	askPeer            // send a PING
	givePeerUp         // end the connection
)

// liveness decides about a silent peer. It is checked every quarter of a ping interval, so that it gives a peer up within two
// intervals of 2 s or more, and only if the peer had time to answer a PING: a check that comes late shows that this process was paused, and the answer may be unread.
type liveness struct {
	checked time.Time // the last check
	asked   time.Time // the first PING since the peer was heard or this process was paused; zero for none
}

// heard forgets earlier PINGs.
func (l *liveness) heard() { *l = liveness{} }

// check judges a silence.
func (l *liveness) check(now time.Time, silent, ping time.Duration) verdict {
	paused := !l.checked.IsZero() && now.Sub(l.checked) > ping/2+time.Second
	l.checked = now
	if paused || silent <= ping {
		l.asked = time.Time{}
	}
	switch {
	case silent <= ping:
		return peerAlive
	case l.asked.IsZero():
		l.asked = now
	case now.Sub(l.asked) >= max(ping/20*9, leastAnswerTime):
		return givePeerUp
	}
	return askPeer
}
