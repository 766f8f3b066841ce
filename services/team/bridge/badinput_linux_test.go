package bridge_test

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/mastersocket/mastersocket/services/team/bridge"
	"github.com/mastersocket/mastersocket/services/team/rtm"
	"github.com/mastersocket/mastersocket/services/team/rtmtest"
)

// victim is the team under attack, bystander the one that must not notice.
var victim, bystander = rtm.IntID(1), rtm.IntID(2)

// undisturbed runs an attack while another team gets messages, and checks that these all arrive in time over one
// connection.
func undisturbed(t *testing.T, r *rig, bad func()) {
	t.Helper()
	const each = 20
	send := func() {
		for range each {
			r.said++
			r.send(bystander, fmt.Sprint(r.said))
		}
		r.sink.await("the bystander's messages", func() bool { return r.sink.byTeam[bystander] == r.said })
	}
	send()
	before := r.rtm.Sockets(bystander)
	bad()
	send()
	if n := r.rtm.Sockets(bystander); n != before {
		t.Errorf("the bystander was connected %d times more", n-before)
	}
	r.counted(bystander)
}

// ignored are frames that are counted without effect: on a team's connection, on Global, or on both.
var ignored = []struct {
	name, team, global string
	kind               string
}{
	{"malformed", `{"type":"message"`, `{"type":`, "malformed"},
	{"no object", `[]`, `"hello"`, "malformed"},
	{"no type", `{}`, `{"team_id":1}`, "malformed"},
	{"invalid member", `{"type":"message","text":5}`, `{"type":"team.join","team_id":1.5}`, "malformed"},
	{"repeated name", `{"type":"message","text":"a","text":"b"}`, `{"type":"team.left","team_id":1,"team_id":2}`, "malformed"},
	{"control character in an id", "", `{"type":"team.join","team_id":"a\u0000b"}`, "malformed"},
	{"deep", strings.Repeat("[", 50_000), strings.Repeat(`{"a":`, 50_000), "malformed"},
	{"unknown type", `{"type":"team.explode"}`, `{"type":"team.explode","team_id":2}`, "unknown_type"},
	{"on the wrong connection", `{"type":"team.join","team_id":3}`, `{"type":"message","text":"x"}`, "misplaced"},
	{"of the client", `{"type":"ping","unique_id":1}`, `{"type":"pong","unique_id":1}`, "misplaced"},
	{"left of another team", `{"type":"team.left","team_id":2}`, `{"type":"team.left","team_id":"2"}`, "unknown_team"},
	{"unasked answer", "", `{"type":"team.connect","team_id":2,"ws_url":"ws://127.0.0.1:1/"}`, "unasked"},
	{"answer for an unknown team", "", `{"type":"team.connect","team_id":99,"ws_url":"ws://127.0.0.1:1/"}`, "unasked"},
	{"unasked pong", `{"type":"pong","unique_id":"x"}`, "", "unasked_pong"},
	{"error", `{"type":"error","message":"no"}`, `{"type":"error","message":"no","team_id":2}`, "server_error"},
}

func TestIgnoredFrames(t *testing.T) {
	t.Parallel()
	r := start(t, fast(), rtmtest.Options{})
	r.join(victim, bystander)
	for _, tc := range ignored {
		undisturbed(t, r, func() {
			before := r.bridge.Status().Ignored[tc.kind]
			want := before
			if tc.team != "" {
				r.rtm.SendTeam(victim, tc.team)
				want++
			}
			if tc.global != "" {
				r.rtm.SendGlobal(tc.global)
				want++
			}
			r.until(tc.name, func(s bridge.Status) bool { return s.Ignored[tc.kind] >= want })
		})
	}
	if n := r.rtm.Sockets(victim); n != 1 || r.rtm.Globals() != 1 {
		t.Errorf("%d connections of the victim and %d Global ones, want 1 of each", n, r.rtm.Globals())
	}
	r.send(victim, "still there")
	r.sink.await("the victim's message", func() bool { return r.sink.byTeam[victim] == 1 })
}

// raw are bytes that end the victim's connection; the bridge then reconnects.
var raw = []struct {
	name string
	raw  []byte
}{
	{"in the middle of a header", []byte{0x81, 0x7e, 0x01}},
	{"in the middle of a payload", append([]byte{0x81, 0x7e, 0x10, 0x00}, `{"type":"message"`...)},
	{"in the middle of a fragmented message", ws.MustCompileFrame(ws.NewFrame(ws.OpText, false, []byte(`{"type":`)))},
	{"reserved bit", []byte{0xc1, 0x02, '{', '}'}},
	{"reserved opcode", []byte{0x83, 0x00}},
	{"continuation of nothing", ws.MustCompileFrame(ws.NewFrame(ws.OpContinuation, true, []byte("x")))},
	{"long ping", []byte{0x89, 0x7e, 0x01, 0x00}},
	{"bad close code", ws.MustCompileFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(1005, "")))},
	{"huge length", []byte{0x81, 0x7f, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 'x'}},
	{"close", ws.MustCompileFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(4321, "bye")))},
	{"binary and end", ws.MustCompileFrame(ws.NewBinaryFrame([]byte{0xff, 0x00}))},
}

func TestBrokenStreams(t *testing.T) {
	t.Parallel()
	r := start(t, fast(), rtmtest.Options{})
	r.join(victim, bystander)
	for i, tc := range raw {
		undisturbed(t, r, func() {
			r.rtm.SendRaw(victim, tc.raw)
			r.await(tc.name+": the team comes back", func() bool { return r.rtm.Sockets(victim) >= i+2 })
			r.connected(2)
		})
		r.send(victim, fmt.Sprint(i+1))
		r.sink.await("the victim's message", func() bool { return r.sink.byTeam[victim] == i+1 })
	}
	r.counted(victim, bystander)
}

// failures are ways in which the victim's first attempts fail, with the reason that counts them. Later attempts
// succeed.
var failures = []struct {
	name    string
	word    bridge.Reason
	ask     *rtmtest.Answer
	socket  *rtmtest.Socket
	timeout bool // it takes a timeout to fail
}{
	{"never answered", bridge.ReasonNoAnswer, ptr(rtmtest.Silent()), nil, true},
	{"answered with an error", bridge.ReasonRefused, ptr(rtmtest.Instead(`{"type":"error","message":"no","team_id":1}`)), nil, false},
	{"without a URL", bridge.ReasonBadURL, ptr(rtmtest.Instead(`{"type":"team.connect","team_id":1}`)), nil, false},
	{"URL of another type", bridge.ReasonNoAnswer, ptr(rtmtest.Instead(`{"type":"team.connect","team_id":1,"ws_url":{}}`)), nil, true},
	{"answered for another team", bridge.ReasonNoAnswer, ptr(rtmtest.Instead(`{"type":"team.connect","team_id":"1","ws_url":"ws://127.0.0.1:1/"}`)), nil, true},
	{"empty URL", bridge.ReasonBadURL, url(""), nil, false},
	{"malformed URL", bridge.ReasonBadURL, url("http://[::1"), nil, false},
	{"a file", bridge.ReasonBadURL, url("file:///etc/passwd"), nil, false},
	{"no host", bridge.ReasonBadURL, url("ws:///x"), nil, false},
	{"a password", bridge.ReasonBadURL, url("ws://a:b@127.0.0.1/"), nil, false},
	{"huge URL", bridge.ReasonBadURL, url("ws://127.0.0.1/" + strings.Repeat("x", 5000)), nil, false},
	{"another host", bridge.ReasonNotAllowed, url("ws://127.0.0.2:1/"), nil, false},
	{"a public host", bridge.ReasonNotAllowed, url("wss://192.0.2.1/"), nil, false},
	{"a cloud's metadata", bridge.ReasonNotAllowed, url("http://169.254.169.254/latest/meta-data"), nil, false},
	{"a dead port", bridge.ReasonDial, url("ws://127.0.0.1:1/"), nil, false},
	{"TLS where there is none", bridge.ReasonHandshake, ptr(rtmtest.WithURL(victim, func(u string) string { return strings.Replace(u, "http://", "https://", 1) })), nil, false},
	{"a ticket that is none", bridge.ReasonHandshake, ptr(rtmtest.WithURL(victim, func(u string) string { return u + "0000" })), nil, false},
	{"unavailable", bridge.ReasonHandshake, nil, &rtmtest.Socket{Status: http.StatusServiceUnavailable}, false},
	{"redirect", bridge.ReasonHandshake, nil, &rtmtest.Socket{Status: http.StatusFound, Location: "http://127.0.0.1:1/"}, false},
	{"no handshake", bridge.ReasonHandshake, nil, &rtmtest.Socket{After: time.Hour}, true},
	{"no hello", bridge.ReasonNoHello, nil, &rtmtest.Socket{NoHello: true}, true},
	{"closed without a word", bridge.ReasonLost, nil, &rtmtest.Socket{Takeover: func(net.Conn) {}}, false},
	{"garbage", bridge.ReasonProtocol, nil, &rtmtest.Socket{Takeover: func(c net.Conn) { _, _ = c.Write([]byte("HTTP/1.1 200 OK\r\n\r\n")) }}, false},
}

func ptr[T any](v T) *T { return &v }

func url(s string) *rtmtest.Answer {
	return ptr(rtmtest.WithURL(victim, func(string) string { return s }))
}

func TestFailedAttempts(t *testing.T) {
	t.Parallel()
	for _, tc := range failures {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			o := fast()
			if tc.timeout {
				o.ConnectTimeout = time.Second
			}
			plan := &rtmtest.Plan{
				Ask: func(id rtm.ID, n int) rtmtest.Answer {
					if id == victim && n <= 2 && tc.ask != nil {
						return *tc.ask
					}
					return rtmtest.Answer{}
				},
				Socket: func(id rtm.ID, n int) rtmtest.Socket {
					if id == victim && n <= 2 && tc.socket != nil {
						return *tc.socket
					}
					return rtmtest.Socket{}
				},
			}
			r := start(t, o, rtmtest.Options{Plan: plan})
			r.join(bystander)
			undisturbed(t, r, func() {
				r.rtm.Join(victim)
				r.connected(2)
			})
			if n := r.bridge.Status().Connections.Failed[string(tc.word)]; n < 2 {
				t.Errorf("%d failures are counted as %s, want 2: %v", n, tc.word, r.bridge.Status().Connections.Failed)
			}
			r.send(victim, "there at last")
			r.sink.await("the victim's message", func() bool { return r.sink.byTeam[victim] == 1 })
			if log := r.log.String(); strings.Contains(log, "/connect/team") {
				t.Error("the log has the path of a ws_url")
			}
		})
	}
}

// A repeated answer leads to one connection.
func TestAnsweredTwice(t *testing.T) {
	t.Parallel()
	r := start(t, fast(), rtmtest.Options{Plan: &rtmtest.Plan{Ask: func(id rtm.ID, _ int) rtmtest.Answer { return rtmtest.Twice(id) }}})
	r.join(victim, bystander)
	undisturbed(t, r, func() {
		r.until("the second answers", func(s bridge.Status) bool { return s.Ignored["unasked"] == 2 })
	})
	if n := r.rtm.Asks(victim) + r.rtm.Sockets(victim); n != 2 {
		t.Errorf("%d requests and connections, want one of each", n)
	}
}

// A flood of one team's messages makes the server wait; nothing is lost.
func TestFloodOfMessages(t *testing.T) {
	t.Parallel()
	const flood = 5000
	o := fast()
	o.TeamQueue, o.Queue = 50, 200
	r := start(t, o, rtmtest.Options{})
	r.join(victim, bystander)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range flood {
			r.rtm.Message(victim, fmt.Sprint(i+1, " props"))
		}
	}()
	undisturbed(t, r, func() {})
	<-done
	r.sink.await("the flood", func() bool { return r.sink.byTeam[victim] == flood })
	r.counted(victim, bystander)
	if s := r.bridge.Status(); s.Messages.Outcomes["queue_full"] != 0 {
		t.Errorf("messages were dropped while the hub was there: %v", s.Messages.Outcomes)
	}
}

// A flood of invalid or redundant frames is read and counted.
func TestFloodOfFrames(t *testing.T) {
	t.Parallel()
	const flood = 3000
	r := start(t, fast(), rtmtest.Options{})
	r.join(victim, bystander)
	undisturbed(t, r, func() {
		for range flood {
			r.rtm.SendTeam(victim, `{"type":`)
			r.rtm.SendGlobal(`{"type":"team.join","team_id":1}`)
			r.rtm.SendGlobal(`{"type":"healthcheck"}`)
		}
		r.until("the flood", func(s bridge.Status) bool {
			return s.Ignored["malformed"] == flood && s.Ignored["repeated_join"] == flood && s.Healthchecks > 0
		})
	})
	if n := len(r.log.String()); n > 100_000 {
		t.Errorf("the log has %d bytes", n)
	}
}

// A flood of joins ends at MaxTeams; teams that have left make room.
func TestFloodOfJoins(t *testing.T) {
	t.Parallel()
	o := fast()
	o.MaxTeams = 10
	r := start(t, o, rtmtest.Options{})
	r.join(victim, bystander)
	undisturbed(t, r, func() {
		r.rtm.Join(ids(40)[2:]...)
		r.until("a bound", func(s bridge.Status) bool { return s.Ignored["too_many"] == 30 && s.Teams.Seen == 10 })
		r.connected(10)
		r.rtm.Leave(rtm.IntID(3))
		r.until("a team less", func(s bridge.Status) bool { return s.Teams.Present == 9 })
		r.rtm.Join(rtm.IntID(50))
		r.connected(10)
		r.until("a team forgotten", func(s bridge.Status) bool { return s.Teams.Forgotten == 1 && s.Teams.Seen == 10 })
	})
}

// Texts of 1 MiB are read and counted, though the hub would refuse them; a frame beyond MaxFrameBytes ends the
// connection.
func TestLargeTexts(t *testing.T) {
	t.Parallel()
	o := fast()
	o.MaxFrameBytes = 2 << 20
	r := start(t, o, rtmtest.Options{})
	r.join(victim, bystander)
	undisturbed(t, r, func() {
		for range 5 {
			r.send(victim, strings.Repeat("x", 1<<20))
		}
		r.until("5 counted", func(s bridge.Status) bool { return s.Messages.Outcomes["too_big"] == 5 })
		r.send(victim, strings.Repeat("y", 30_000))
		r.sink.await("a large one", func() bool { return r.sink.byTeam[victim] == 1 })
		r.counted(victim)
		r.rtm.SendTeam(victim, `{"type":"message","text":"`+strings.Repeat("x", 3<<20)+`"}`)
		r.until("too big", func(s bridge.Status) bool { return s.Connections.Ended["too_big"] == 1 })
		r.await("the victim is back", func() bool { return r.rtm.Sockets(victim) == 2 })
		r.connected(2)
	})
}

// A message that is never finished ends the connection, though the server still answers pings.
func TestUnfinishedMessage(t *testing.T) {
	t.Parallel()
	o := fast()
	o.MessageTimeout = 2 * time.Second
	r := start(t, o, rtmtest.Options{})
	r.join(victim, bystander)
	undisturbed(t, r, func() {
		r.rtm.SendPart(victim, append([]byte{0x81, 0x7e, 0x10, 0x00}, `{"type":"message"`...))
		r.sink.event(`team.disconnected {"team_id":1,"reason":"slow"}`)
		r.connected(2)
	})
}

// The bridge notices a half-open connection and a server that answers no pings.
func TestSilence(t *testing.T) {
	t.Parallel()
	halfOpen, noPong := victim, rtm.IntID(3)
	o := fast()
	o.PingInterval, o.PongTimeout = 100*time.Millisecond, 8*time.Second
	r := start(t, o, rtmtest.Options{Plan: &rtmtest.Plan{Socket: func(id rtm.ID, n int) rtmtest.Socket {
		return rtmtest.Socket{Deaf: id == halfOpen && n == 1, NoPong: id == noPong && n == 1}
	}}})
	r.join(bystander)
	undisturbed(t, r, func() {
		r.rtm.Join(halfOpen, noPong)
		r.sink.event(`team.disconnected {"team_id":1,"reason":"pong_timeout"}`)
		r.sink.event(`team.disconnected {"team_id":3,"reason":"pong_timeout"}`)
		r.connected(3)
	})
}
