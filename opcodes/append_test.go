package opcodes

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

var (
	givenID = uuid.MustParse("0198c0de-0000-8000-8000-0000000000AA")
	sender  = uuid.MustParse("0198c0de-1111-8111-9111-ffffffffffff")
)

func TestAppendDelivery(t *testing.T) {
	t.Parallel()
	const (
		stamp = `,"sender":"0198c0de-1111-8111-9111-ffffffffffff"}`
		given = `"0198c0de-0000-8000-8000-0000000000aa"`
	)
	for name, tc := range map[string]struct{ msg, want string }{
		"own id":          {`{"op":0,"id":"\u0041",` + toAll + `}`, `{"op":0,"id":"\u0041",` + toAll + stamp},
		"no id":           {`{"op":0,` + toAll + `}`, `{"op":0,` + toAll + `,"id":` + given + stamp},
		"null id":         {`{"op":0,"id":null,` + toAll + `}`, `{"op":0,"id":` + given + `,` + toAll + stamp},
		"null id, first":  {`{"id": null ,"op":0,` + toAll + `}`, `{"id": ` + given + ` ,"op":0,` + toAll + stamp},
		"null id, last":   {` {"op":0,` + toAll + `,"id":null}`, `{"op":0,` + toAll + `,"id":` + given + stamp},
		"white space":     {" {\n\"op\": 0, " + toAll + "\n}\n", "{\n\"op\": 0, " + toAll + "\n" + `,"id":` + given + stamp},
		"ids elsewhere":   {`{"op":0,"data":{"id":null},` + toAll + `}`, `{"op":0,"data":{"id":null},` + toAll + `,"id":` + given + stamp},
		"foreign members": {`{"op":0,"x":[ 1 ],"id":"i",` + toAll + `}`, `{"op":0,"x":[ 1 ],"id":"i",` + toAll + stamp},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var e Envelope
			if err := scan(&e, []byte(tc.msg)); err != nil {
				t.Fatal(err)
			}
			got := string(AppendDelivery([]byte("before"), &e, givenID, sender))
			if want := "before" + tc.want; got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			if short := string(AppendWithoutSender([]byte("before"), []byte(tc.want))); short != "before"+strings.TrimSuffix(tc.want, stamp)+"}" {
				t.Errorf("without sender: %s", short)
			}
			if size := DeliverySize(&e); len(tc.want) > size {
				t.Errorf("%d bytes, DeliverySize says %d", len(tc.want), size)
			}
		})
	}
	for _, other := range []string{"", "{}", PingMessage, `{"op":2,"data":"SERVER_RESTART"}`, stamp[1:], `{"op":0,"receiver":"0198c0de-1111-8111-9111-ffffffffffff"}`} {
		if short := AppendWithoutSender(nil, []byte(other)); len(short) > 0 {
			t.Errorf("%s without sender: %s", other, short)
		}
	}
}

func TestAppendControl(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 21, 10, 0, 0, 123456789, time.FixedZone("", 3600))
	for name, tc := range map[string]struct {
		got  []byte
		want string
	}{
		"ping": {[]byte(PingMessage), `{"op":3}`},
		"pong": {[]byte(PongMessage), `{"op":4}`},
		"identified": {
			AppendIdentified(nil, Identified{
				ID: sender, Ping: 30 * time.Second, Node: `a"b`, SessionStarted: at, MaxMessageBytes: 32768,
				Features: FeatureErrors | FeatureAcks,
			}),
			`{"op":1,"data":{"id":"0198c0de-1111-8111-9111-ffffffffffff","ping":30000,"node":"a\"b",` +
				`"session_started":"2026-11-21T09:00:00.123Z","max_message_bytes":32768,"features":["errors","acks"]}}`,
		},
		"identified, plain": {
			AppendIdentified(nil, Identified{SessionStarted: at, Features: FeatureAcks}),
			`{"op":1,"data":{"id":"00000000-0000-0000-0000-000000000000","ping":0,"node":"",` +
				`"session_started":"2026-11-21T09:00:00.123Z","max_message_bytes":0,"features":["acks"]}}`,
		},
		"disconnect": {AppendDisconnect(nil, SlowConsumer), `{"op":2,"data":"SLOW_CONSUMER"}`},
		"error": {
			AppendError(nil, []byte(`i\n`), CodeNoReceiver, "none in \"x\"\n\xff"),
			`{"op":6,"id":"i\n","data":{"code":"NO_RECEIVER","message":"none in \"x\"\n` + "\ufffd" + `"}}`,
		},
		"error without id": {
			AppendError(nil, nil, CodeForbidden, ""), `{"op":6,"data":{"code":"FORBIDDEN","message":""}}`,
		},
		"drain": {
			AppendDrain(nil, 1500*time.Millisecond, 30*time.Second, DrainRestart),
			`{"op":12,"data":{"after_ms":1500,"deadline_ms":30000,"reason":"restart"}}`,
		},
		"drain, no deadline": {
			AppendDrain(nil, 999*time.Microsecond, 0, DrainRebalance),
			`{"op":12,"data":{"after_ms":0,"reason":"rebalance"}}`,
		},
		"fence":                     {AppendFence(nil, sender), `{"op":13,"sender":"0198c0de-1111-8111-9111-ffffffffffff"}`},
		"ack":                       {AppendAck(nil, []byte("i"), 12), `{"op":7,"id":"i","data":{"nodes":12}}`},
		"ack of a numbered message": {AppendNumberedAck(nil, []byte("i"), 1042, false), `{"op":7,"id":"i","data":{"nodes":1,"offset":1042}}`},
		"ack of a duplicate":        {AppendNumberedAck(nil, nil, 7, true), `{"op":7,"data":{"nodes":1,"offset":7,"duplicate":true}}`},
		"ack without id":            {AppendAck(nil, nil, 0), `{"op":7,"data":{"nodes":0}}`},
	} {
		if string(tc.got) != tc.want {
			t.Errorf("%s:\ngot  %s\nwant %s", name, tc.got, tc.want)
		}
		if !json.Valid(tc.got) {
			t.Errorf("%s: not JSON: %s", name, tc.got)
		}
	}
}

func TestDrainSizes(t *testing.T) {
	t.Parallel()
	const longest = time.Duration(1<<63 - 1)
	for _, reason := range []DrainReason{DrainRestart, DrainRebalance, DrainExpiry} {
		if n := len(AppendDrain(nil, longest, longest, reason)); n > DrainSize {
			t.Errorf("%s: %d bytes, DrainSize says %d", reason, n, DrainSize)
		}
	}
	if n := len(AppendFence(nil, sender)); n != FenceSize {
		t.Errorf("FENCE: %d bytes, FenceSize says %d", n, FenceSize)
	}
}

// Scan and the Append functions do not allocate, for any message of the tables.
func TestAllocations(t *testing.T) {
	id := []byte("i")
	var e Envelope
	if err := e.Scan(event(250)); err != nil {
		t.Fatal(err)
	}
	dst := make([]byte, 0, 4096)
	at := time.Now()
	code := CodeNoReceiver
	checks := map[string]func(){
		"AppendDelivery":   func() { AppendDelivery(dst, &e, givenID, sender) },
		"AppendDisconnect": func() { AppendDisconnect(dst, Kicked) },
		"AppendError":      func() { AppendError(dst, id, code, "no client matches the intent\n") },
		"AppendAck":        func() { AppendAck(dst, id, 3) },
		"AppendNumbered":   func() { AppendNumbered(dst, AppendDelivery(dst[:0:2048], &e, givenID, sender), 1042) },
		"AppendDrain":      func() { AppendDrain(dst, time.Second, time.Minute, DrainExpiry) },
		"AppendFence":      func() { AppendFence(dst, sender) },
		"AppendIdentified": func() {
			AppendIdentified(dst, Identified{ID: sender, Ping: time.Second, Node: "n", SessionStarted: at, Features: 3})
		},
	}
	for name, f := range checks {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	var msgs [][]byte
	for _, tc := range accepted {
		msgs = append(msgs, []byte(tc.msg))
	}
	for _, tc := range refused {
		msgs = append(msgs, []byte(tc.msg))
	}
	for _, s := range sized {
		msgs = append(msgs, s.msg)
	}
	msgs = append(msgs, []byte(`{"op":3,"event":"`+strings.Repeat(`\u0041`, 5000)+`"}`))
	for _, msg := range msgs {
		e.Scan(msg) // may grow the scratch memory once
		if n := testing.AllocsPerRun(10, func() { e.Scan(msg) }); n != 0 {
			t.Errorf("Scan(%.60q): %v allocations", msg, n)
		}
	}
}
