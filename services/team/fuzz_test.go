package team

import (
	"testing"
	"unicode/utf8"

	"github.com/mastersocket/mastersocket/services/team/rtm"
	"github.com/mastersocket/mastersocket/services/team/teamtest"
)

// FuzzFrames: after any text the connection stays open, every answer is a frame of the protocol, and the next ping is
// answered.
func FuzzFrames(f *testing.F) {
	for _, text := range badFrames {
		if len(text) < 1000 {
			f.Add([]byte(text))
		}
	}
	f.Add([]byte(`{"type":"team.connect","team_id":"1"}`))
	f.Add([]byte(`{"type":"ping","unique_id":1}`))
	f.Add([]byte(`{"type":"healthcheck","stats":[{"id":1,"connected":true,"message_count":100,"props_count":10}]}`))
	i := start(f, settings{})
	i.store.join(rtm.IntID(1))
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 16<<10 || !utf8.Valid(text) {
			return // the transport refuses it
		}
		g := teamtest.Global(t, i.base, token)
		for _, c := range []*teamtest.Conn{g, g.Team("1")} {
			c.Send(string(text))
			c.Send(`{"type":"ping","unique_id":"the last"}`)
			for answers := 0; ; answers++ {
				frame := c.Read()
				switch {
				case frame.Type == rtm.Pong && frame.UniqueID.String() == "the last":
					c.Close()
				case answers < 1 && (frame.Type == rtm.Pong || frame.Type == rtm.Error || frame.Type == rtm.TeamConnect):
					continue
				default:
					t.Fatalf("%q was answered %s", text, frame.Append(nil))
				}
				break
			}
		}
	})
}

// FuzzEvents: any data of an event is either applied or counted as malformed.
func FuzzEvents(f *testing.F) {
	for _, d := range []string{`{"team_id":1}`, `{"team_id":"1","text":"x"}`, `{"text":"\u0070rops"}`, `{"text":"\ud83d\ude00"}`, `[]`, `{"text":{}}`, `{"team_id":"$"}`} {
		f.Add([]byte(d))
	}
	f.Fuzz(func(t *testing.T, d []byte) {
		if id, ok := teamID(d); ok && !validTeam(id) {
			t.Errorf("%q has the id %v", d, id)
		}
		text, ok := teamText(d)
		if !ok {
			return
		}
		b := messageFrame(text)
		defer b.Release()
		frame, err := rtm.Parse(b.Payload())
		if err != nil || frame.Type != rtm.Message {
			t.Fatalf("%q became %q: %v", d, b.Payload(), err)
		}
		hasProps(text)
	})
}
