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

// Plan plans the server's faults. Its functions are called from several goroutines at once. nil means no faults.
type Plan struct {
	// Ask returns the answer to the n-th team.connect of a team, from 1.
	Ask func(id rtm.ID, n int) Answer
	// Socket returns the fate of the n-th WebSocket of a team that is opened with a valid ticket, from 1.
	Socket func(id rtm.ID, n int) Socket
	// Global returns the HTTP status that refuses the n-th Global connection; 0: accepted.
	Global func(n int) (status int)
	// Forgetful makes the server not announce present teams on a new Global connection.
	Forgetful bool
}

// Answer is the answer to a team.connect. The zero Answer is the correct one.
type Answer struct {
	After time.Duration // delay of the answer
	// Frames, if not nil, returns the frames instead of the correct answer, given the correct URL.
	Frames func(url string) []string
}

// Silent never answers.
func Silent() Answer { return Answer{Frames: func(string) []string { return nil }} }

// Instead answers with these frames.
func Instead(frames ...string) Answer { return Answer{Frames: func(string) []string { return frames }} }

// Refusal answers with an error, as for a team that has left.
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

// WithURL answers with another URL, made from the correct one.
func WithURL(id rtm.ID, change func(url string) string) Answer {
	return Answer{Frames: func(url string) []string {
		f := rtm.Frame{Type: rtm.TeamConnect, TeamID: id, WSURL: change(url)}
		return []string{string(f.Append(nil))}
	}}
}

// Socket is the fate of a team's WebSocket. The zero Socket works.
type Socket struct {
	Status   int           // refuse with this HTTP status
	Location string        // of a refusal that is a redirect
	After    time.Duration // delay of the handshake
	NoHello  bool
	// Deaf opens the WebSocket, says hello and then neither reads nor answers: a half-open connection.
	Deaf bool
	// NoPong answers no ping.
	NoPong bool
	// Takeover gets the connection after the handshake in place of the server. It is closed when Takeover returns.
	Takeover func(conn net.Conn)
}

// Chaos returns a plan in which about one in four of the first three attempts for each team fails, in varying ways that
// depend on the seed. Later attempts succeed.
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
