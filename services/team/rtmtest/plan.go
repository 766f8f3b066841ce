package rtmtest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/mastersocket/mastersocket/services/team/rtm"
)

// Plan is what the server does wrong. Its functions are called from several goroutines at once. nil stands for a server
// without fault.
type Plan struct {
	// Ask decides how the n-th team.connect of a team, from 1, is answered.
	Ask func(id rtm.ID, n int) Answer
	// Socket decides what happens to the n-th WebSocket of a team that was opened with a good ticket, from 1.
	Socket func(id rtm.ID, n int) Socket
	// Global decides whether the n-th Global connection is refused with an HTTP status; 0 is not.
	Global func(n int) (status int)
	// Forgetful has a new Global connection not learn of the teams that are there.
	Forgetful bool
}

// Answer is how a team.connect is answered. The zero Answer is the right one.
type Answer struct {
	After time.Duration // how long the answer takes
	// Frames returns what is sent in place of the right answer, given the right URL. nil means that answer.
	Frames func(url string) []string
}

// Silent never answers.
func Silent() Answer { return Answer{Frames: func(string) []string { return nil }} }

// Instead answers with the frames.
func Instead(frames ...string) Answer { return Answer{Frames: func(string) []string { return frames }} }

// Refusal answers with an error, as the server does for a team that has left.
func Refusal(id rtm.ID) Answer {
	return Instead(fmt.Sprintf(`{"type":"error","message":"no such team","team_id":%s}`, id.Append(nil)))
}

// Twice answers twice with the same one-time URL.
func Twice(id rtm.ID) Answer {
	return Answer{Frames: func(url string) []string {
		f := rtm.Frame{Type: rtm.TeamConnect, TeamID: id, WSURL: url}
		return []string{string(f.Append(nil)), string(f.Append(nil))}
	}}
}

// WithURL answers with another URL, made of the right one.
func WithURL(id rtm.ID, change func(url string) string) Answer {
	return Answer{Frames: func(url string) []string {
		f := rtm.Frame{Type: rtm.TeamConnect, TeamID: id, WSURL: change(url)}
		return []string{string(f.Append(nil))}
	}}
}

// Socket is what happens to a team's WebSocket. The zero Socket is a good one.
type Socket struct {
	Status   int           // refuse with this HTTP status
	Location string        // of a refusal that is a redirect
	After    time.Duration // how long the handshake takes
	NoHello  bool
	// Deaf opens the WebSocket, says hello and then neither reads nor answers: a half-open connection.
	Deaf bool
	// NoPong answers no ping.
	NoPong bool
	// Takeover gets the connection after the handshake in place of the server. It is closed when Takeover returns.
	Takeover func(conn net.Conn)
}

// Chaos returns a plan that lets about one in four of the first three attempts for each team fail, each time in another
// way, the same for the same seed. Later attempts succeed.
func Chaos(seed uint64) *Plan {
	var mu sync.Mutex
	rng := rand.New(rand.NewPCG(seed, 1))
	draw := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return rng.IntN(n)
	}
	return &Plan{
		Ask: func(id rtm.ID, n int) Answer {
			if n > 3 {
				return Answer{}
			}
			switch draw(20) {
			case 0:
				return Silent()
			case 1:
				return Twice(id)
			case 2:
				return Refusal(id)
			case 3:
				return WithURL(id, func(url string) string { return url + "x" })
			case 4:
				return Instead(`{"type":"team.connect"`, `{"type":"team.connect","team_id":"nobody","ws_url":"ws://127.0.0.1:1/"}`)
			}
			return Answer{After: time.Duration(draw(20)) * time.Millisecond}
		},
		Socket: func(_ rtm.ID, n int) Socket {
			if n > 3 {
				return Socket{}
			}
			switch draw(20) {
			case 0:
				return Socket{Status: http.StatusServiceUnavailable}
			case 1:
				return Socket{NoHello: true}
			case 2:
				return Socket{Deaf: true}
			case 3:
				return Socket{Takeover: func(conn net.Conn) { _, _ = conn.Write([]byte{0x81, 0x7e, 0x01}) }}
			}
			return Socket{After: time.Duration(draw(20)) * time.Millisecond}
		},
	}
}
