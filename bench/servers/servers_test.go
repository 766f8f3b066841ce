//go:build linux

package servers

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os/exec"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/bench/load"
	"github.com/mastersocket/mastersocket/opcodes"
)

func TestParseMastersocket(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]Mastersocket{
		"/bin/m":                {Label: "mastersocket", Path: "/bin/m", Args: []string{}},
		"old=/bin/m":            {Label: "old", Path: "/bin/m", Args: []string{}},
		"one=/bin/m --loops=1 ": {Label: "one", Path: "/bin/m", Args: []string{"--loops=1"}},
	} {
		if got, err := ParseMastersocket(s); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", " ", "=x", "x="} {
		if got, err := ParseMastersocket(s); err == nil {
			t.Errorf("%q: %+v", s, got)
		}
	}
}

// unframed returns the payload of a client's frame.
func unframed(t *testing.T, frame []byte) []byte {
	t.Helper()
	size, n := 2, int(frame[1]&0x7f)
	if n == 126 {
		size, n = 4, int(binary.BigEndian.Uint16(frame[2:]))
	}
	mask, masked := frame[size:size+4], frame[size+4:]
	if len(masked) != n {
		t.Fatalf("%d bytes behind a header that says %d", len(masked), n)
	}
	payload := make([]byte, n)
	for i, b := range masked {
		payload[i] = b ^ mask[i&3]
	}
	return payload
}

const someID = "cfb4b56e-0000-83e2-9b00-0076cc877074"

// TestDeliveriesHaveTheSameSize compares what each server makes of a message, as it was seen, in bytes on the wire.
func TestDeliveriesHaveTheSameSize(t *testing.T) {
	t.Parallel()
	to := &load.Client{Index: 7, ID: someID, Role: load.Member}
	data := func(b []byte, member string) string {
		_, rest, _ := strings.Cut(string(b), member+`":"`)
		value, _, _ := strings.Cut(rest, `"`)
		return value
	}
	for _, shape := range []load.Shape{load.Usual, {Wire: 1_000, Groups: 1}, {Wire: 8_000, Groups: 1}, {Wire: 32_000, Groups: 1_000}} {
		for name, test := range map[string]struct {
			dialect   load.Dialect
			delivered func(published []byte) string
		}{
			"mastersocket": {masterDialect{shape}, func(b []byte) string {
				return strings.TrimSuffix(string(b), "}") + `,"id":"` + someID + `","sender":"` + someID + `"}`
			}},
			"plain": {plainDialect{shape}, func(b []byte) string { return string(b) }},
			"socket.io": {socketIODialect{shape}, func(b []byte) string {
				return `42["m","` + strings.Split(string(b), `"`)[len(strings.Split(string(b), `"`))-2] + `"]`
			}},
			"mastersocket-socketio": {hubSocketIODialect{socketIODialect{shape}}, func(b []byte) string {
				return `42["m","` + strings.Split(string(b), `"`)[5] + `"]`
			}},
			"nats-server": {natsDialect{shape}, func(b []byte) string {
				line, rest, _ := strings.Cut(strings.Replace(string(b), "PUB ", "MSG ", 1), "\r\n")
				at := strings.LastIndexByte(line, ' ')
				return line[:at] + " 1" + line[at:] + "\r\n" + rest
			}},
			"centrifugo": {centrifugoDialect{shape}, func(b []byte) string {
				return fmt.Sprintf(`{"push":{"channel":%q,"pub":{"data":%q}}}`, data(b, "channel"), data(b, "data"))
			}},
		} {
			for kind, frame := range map[string][]byte{"publish": test.dialect.Publish(to, 3), "direct": test.dialect.Direct(to, to)} {
				got := test.delivered(unframed(t, frame))
				if n := len(got) + load.HeaderBytes(len(got)); n != shape.Wire {
					t.Errorf("%s, %s: %d bytes on the wire, want %d: %.100s", name, kind, n, shape.Wire, got)
				}
			}
		}
	}
}

func TestMastersocketMessagesAreValid(t *testing.T) {
	t.Parallel()
	to := &load.Client{ID: someID}
	for _, frame := range [][]byte{masterDialect{load.Usual}.Join(to), masterDialect{load.Usual}.Publish(to, 0), masterDialect{load.Usual}.Direct(to, to)} {
		var e opcodes.Envelope
		if err := e.Scan(unframed(t, frame)); err != nil {
			t.Errorf("%s: %v", unframed(t, frame), err)
		}
	}
}

func TestMastersocketIdentifies(t *testing.T) {
	t.Parallel()
	c := &load.Client{}
	if _, err := (masterDialect{}).Message(c, []byte(`{"op":1,"data":{"id":"`+someID+`","ping":1}}`)); err != nil || !c.Ready || c.ID != someID {
		t.Errorf("%+v, %v", c, err)
	}
	if reply, err := (masterDialect{}).Message(c, []byte(opcodes.PingMessage)); err != nil || reply == nil {
		t.Errorf("PING: %q, %v", reply, err)
	}
	if _, err := (masterDialect{}).Message(c, []byte(`{"op":2,"data":"SLOW_CONSUMER"}`)); err == nil {
		t.Error("no error for DISCONNECT")
	}
}

func TestCountNATS(t *testing.T) {
	t.Parallel()
	one := "MSG bench 1 5\r\nhello\r\n"
	for _, test := range []struct {
		payload string
		n       int
		reply   bool
	}{
		{one, 1, false},
		{strings.Repeat(one, 64), 64, false},
		{"INFO {}\r\n" + one + "PING\r\n" + one, 2, true},
		{"MSG bench 1 5\r\nMSG 1\r\n", 1, false},
	} {
		n, reply, err := countNATS([]byte(test.payload))
		if n != test.n || (reply != nil) != test.reply || err != nil {
			t.Errorf("%q: %d, %q, %v", test.payload, n, reply, err)
		}
	}
	for _, payload := range []string{one[:10], one[:18], "-ERR 'x'\r\n", one + "M"} {
		if n, _, err := countNATS([]byte(payload)); !errors.Is(err, errNATSMessage) {
			t.Errorf("%q: %d, %v", payload, n, err)
		}
	}
}

func TestCountCentrifugo(t *testing.T) {
	t.Parallel()
	push := `{"push":{"channel":"bench","pub":{"data":"` + strings.Repeat("x", 180) + `"}}}`
	for payload, want := range map[string]int{
		push:                                  1,
		strings.Repeat(push+"\n", 63) + push:  64,
		`{"id":3,"publish":{}}` + "\n" + push: 1,
		"{}\n" + push + "\n" + push:           2,
		strings.Repeat(`{"id":3}`+"\n", 30):   0,
	} {
		if n, _, err := countCentrifugo([]byte(payload)); n != want || err != nil {
			t.Errorf("%.60q: %d, %v, want %d", payload, n, err, want)
		}
	}
}

func TestSocketIOSubscribes(t *testing.T) {
	t.Parallel()
	c := &load.Client{}
	for _, step := range []struct {
		packet string
		ready  bool
	}{{`0{"sid":"a","upgrades":[]}`, false}, {`40{"sid":"abc"}`, false}, {"2", false}, {"430[]", true}} {
		if _, err := (socketIODialect{}).Message(c, []byte(step.packet)); err != nil || c.Ready != step.ready {
			t.Fatalf("%s: ready %v, %v", step.packet, c.Ready, err)
		}
	}
	if c.ID != "abc" {
		t.Errorf("id %q", c.ID)
	}
}

func TestProcessFigures(t *testing.T) {
	t.Parallel()
	redis, err := exec.LookPath("redis-server")
	if err != nil {
		t.Fatalf("this test needs redis-server, which make test installs: %v", err)
	}
	p, err := StartRedis()
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	if n, err := p.ResidentBytes(); err != nil || n < 1<<20 {
		t.Errorf("%s has %d bytes, %v", redis, n, err)
	}
	if used, err := p.CPU(); err != nil || used <= 0 || used > time.Minute {
		t.Errorf("%s used %s, %v", redis, used, err)
	}
}

func TestRunOfACommandThatEnds(t *testing.T) {
	t.Parallel()
	site, err := NewSite()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Run(exec.Command("sh", "-c", "echo no licence"), site); err == nil || !strings.Contains(err.Error(), "no licence") {
		t.Errorf("got %v", err)
	}
}
