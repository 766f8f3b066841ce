package opcodes_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/opcodes"
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
			var e opcodes.Envelope
			if err := scan(&e, []byte(tc.msg)); err != nil {
				t.Fatal(err)
			}
			got := string(opcodes.AppendDelivery([]byte("before"), &e, givenID, sender))
			if want := "before" + tc.want; got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			if size := opcodes.DeliverySize(&e); len(tc.want) > size {
				t.Errorf("%d bytes, DeliverySize says %d", len(tc.want), size)
			}
		})
	}
}

func TestAppendControl(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 21, 10, 0, 0, 123456789, time.FixedZone("", 3600))
	for name, tc := range map[string]struct {
		got  []byte
		want string
	}{
		"ping": {[]byte(opcodes.PingMessage), `{"op":3}`},
		"pong": {[]byte(opcodes.PongMessage), `{"op":4}`},
		"identified": {
			opcodes.AppendIdentified(nil, opcodes.Identified{
				ID: sender, Ping: 30 * time.Second, Node: `a"b`, SessionStarted: at, MaxMessageBytes: 32768,
				Features: opcodes.FeatureErrors | opcodes.FeatureAcks,
			}),
			`{"op":1,"data":{"id":"0198c0de-1111-8111-9111-ffffffffffff","ping":30000,"node":"a\"b",` +
				`"session_started":"2026-11-21T09:00:00.123Z","max_message_bytes":32768,"features":["errors","acks"]}}`,
		},
		"identified, plain": {
			opcodes.AppendIdentified(nil, opcodes.Identified{SessionStarted: at, Features: opcodes.FeatureAcks}),
			`{"op":1,"data":{"id":"00000000-0000-0000-0000-000000000000","ping":0,"node":"",` +
				`"session_started":"2026-11-21T09:00:00.123Z","max_message_bytes":0,"features":["acks"]}}`,
		},
		"disconnect": {opcodes.AppendDisconnect(nil, opcodes.SlowConsumer), `{"op":2,"data":"SLOW_CONSUMER"}`},
		"error": {
			opcodes.AppendError(nil, []byte(`i\n`), opcodes.CodeNoReceiver, "nobody in \"x\"\n\xff"),
			`{"op":6,"id":"i\n","data":{"code":"NO_RECEIVER","message":"nobody in \"x\"\n` + "\ufffd" + `"}}`,
		},
		"error without id": {
			opcodes.AppendError(nil, nil, opcodes.CodeForbidden, ""), `{"op":6,"data":{"code":"FORBIDDEN","message":""}}`,
		},
		"drain": {
			opcodes.AppendDrain(nil, 1500*time.Millisecond, 30*time.Second, opcodes.DrainRestart),
			`{"op":12,"data":{"after_ms":1500,"deadline_ms":30000,"reason":"restart"}}`,
		},
		"drain, no deadline": {
			opcodes.AppendDrain(nil, 999*time.Microsecond, 0, opcodes.DrainRebalance),
			`{"op":12,"data":{"after_ms":0,"reason":"rebalance"}}`,
		},
		"fence":          {opcodes.AppendFence(nil, sender), `{"op":13,"sender":"0198c0de-1111-8111-9111-ffffffffffff"}`},
		"ack":            {opcodes.AppendAck(nil, []byte("i"), 12), `{"op":7,"id":"i","data":{"nodes":12}}`},
		"ack without id": {opcodes.AppendAck(nil, nil, 0), `{"op":7,"data":{"nodes":0}}`},
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
	for _, reason := range opcodes.DrainReasons() {
		if n := len(opcodes.AppendDrain(nil, longest, longest, reason)); n > opcodes.DrainSize {
			t.Errorf("%s: %d bytes, DrainSize says %d", reason, n, opcodes.DrainSize)
		}
	}
	if n := len(opcodes.AppendFence(nil, sender)); n != opcodes.FenceSize {
		t.Errorf("FENCE: %d bytes, FenceSize says %d", n, opcodes.FenceSize)
	}
}

// What the hub does per message must not allocate, whatever the message.
func TestAllocations(t *testing.T) {
	id := []byte("i")
	var e opcodes.Envelope
	if err := e.Scan(event(250)); err != nil {
		t.Fatal(err)
	}
	dst := make([]byte, 0, 4096)
	at := time.Now()
	code := opcodes.CodeNoReceiver
	checks := map[string]func(){
		"AppendDelivery":   func() { opcodes.AppendDelivery(dst, &e, givenID, sender) },
		"AppendDisconnect": func() { opcodes.AppendDisconnect(dst, opcodes.Kicked) },
		"AppendError":      func() { opcodes.AppendError(dst, id, code, "nobody matches the intent\n") },
		"AppendAck":        func() { opcodes.AppendAck(dst, id, 3) },
		"AppendDrain":      func() { opcodes.AppendDrain(dst, time.Second, time.Minute, opcodes.DrainExpiry) },
		"AppendFence":      func() { opcodes.AppendFence(dst, sender) },
		"AppendIdentified": func() {
			opcodes.AppendIdentified(dst, opcodes.Identified{ID: sender, Ping: time.Second, Node: "n", SessionStarted: at, Features: 3})
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
