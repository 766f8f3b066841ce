//go:build linux

package servers

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/mastersocket/mastersocket/bench/load"
)

// CentrifugoVariable is the environment variable that says where Centrifugo's binary is.
const CentrifugoVariable = "MASTERSOCKET_BENCH_CENTRIFUGO"

// Centrifugo is Centrifugo 6 with its memory engine.
type Centrifugo struct {
	// Path is the binary.
	Path string
}

// Name implements Adapter.
func (Centrifugo) Name() string { return "centrifugo" }

// Version implements Adapter.
func (c Centrifugo) Version() (string, error) { return output(exec.Command(c.Path, "version")) }

// Missing implements Adapter.
func (c Centrifugo) Missing() error {
	if _, err := exec.LookPath(c.Path); err != nil {
		return fmt.Errorf("%s does not say where it is, and go install can't get it", CentrifugoVariable)
	}
	return nil
}

// Command implements Adapter.
func (c Centrifugo) Command(s Site) (*exec.Cmd, error) {
	config, err := json.Marshal(map[string]any{
		"http_server": map[string]any{
			"address": s.Listen.Addr().String(), "port": portOf(s.Listen), "internal_port": portOf(s.Admin),
		},
		"http_api": map[string]any{"key": centrifugoKey},
		"log":      map[string]any{"level": "error"},
		"client": map[string]any{
			"insecure": true, "allowed_origins": []string{"*"}, "connection_limit": 0,
			"ping_interval": "1h", "pong_timeout": "30m",
		},
		"channel": map[string]any{
			"without_namespace": map[string]any{
				"allow_subscribe_for_client": true, "allow_subscribe_for_anonymous": true,
				"allow_publish_for_client": true, "allow_publish_for_anonymous": true,
			},
		},
	})
	if err != nil {
		return nil, err
	}
	name := filepath.Join(s.Dir, "config.json")
	if err := os.WriteFile(name, config, 0o600); err != nil {
		return nil, err
	}
	return exec.Command(c.Path, "--config", name), nil
}

// Covers implements Limited: it is not compared at a rate that it may not reach.
func (Centrifugo) Covers(measure string) bool { return measure != "latency-same" }

// Dialect implements Adapter.
func (Centrifugo) Dialect(s load.Shape) load.Dialect { return centrifugoDialect{s} }

// centrifugoDialect is Centrifugo's JSON protocol. A frame of the server holds a reply or several, one in a line.
type centrifugoDialect struct{ load.Shape }

func (centrifugoDialect) Request(*load.Client) []byte {
	return request("/connection/websocket", "Origin: http://127.0.0.1\r\n")
}

const (
	centrifugoConnect   = `{"id":1,"connect":{}}`
	centrifugoSubscribe = `{"id":2,"subscribe":{"channel":%q}}`
	centrifugoPublish   = `{"id":3,"publish":{"channel":%q,"data":"%s"}}`
)

// channel is what a client subscribes to, or none.
func (d centrifugoDialect) channel(c *load.Client) string {
	switch c.Role {
	case load.Subscriber, load.Stalled:
		return groupName(d.GroupOf(c))
	case load.Member:
		return fmt.Sprintf("to%05d", c.Index)
	}
	return ""
}

func (d centrifugoDialect) Join(c *load.Client) []byte {
	commands := centrifugoConnect
	if channel := d.channel(c); channel != "" {
		commands += "\n" + fmt.Sprintf(centrifugoSubscribe, channel)
	}
	return load.AppendFrame(nil, load.TextFrame, []byte(commands))
}

// centrifugoPong answers the server's ping, which is an empty object as well.
var centrifugoPong = load.AppendFrame(nil, load.TextFrame, []byte("{}"))

func (centrifugoDialect) Message(c *load.Client, payload []byte) (reply []byte, err error) {
	for line := range bytes.Lines(payload) {
		var r struct {
			ID    int
			Error json.RawMessage
		}
		if err := json.Unmarshal(line, &r); err != nil || r.Error != nil {
			return nil, fmt.Errorf("unexpected reply %s", line)
		}
		switch {
		case r.ID == 0:
			reply = centrifugoPong
		case r.ID == 2, r.ID == 1 && c.Role == load.Publisher:
			c.Ready = true
		}
	}
	return reply, nil
}

func (centrifugoDialect) MinDelivery() int { return 128 }

func (centrifugoDialect) Count() load.Counter { return countCentrifugo }

// countCentrifugo counts the pushes in a frame. What else there is, replies to publishes, is shorter than any push.
func countCentrifugo(b []byte) (n int, reply []byte, err error) {
	for line := range bytes.Lines(b) {
		if len(line) >= centrifugoPush {
			n++
		}
	}
	return n, nil, nil
}

// centrifugoPush is less than the length of any delivery and more than that of any other reply.
const centrifugoPush = 128

func (d centrifugoDialect) Publish(_ *load.Client, group int) []byte {
	return d.frame(groupName(group))
}

func (d centrifugoDialect) Direct(_, to *load.Client) []byte { return d.frame(d.channel(to)) }

func (d centrifugoDialect) frame(channel string) []byte {
	_, data := d.publication(channel)
	return load.AppendFrame(nil, load.TextFrame, fmt.Appendf(nil, centrifugoPublish, channel, data))
}

// publication returns the data of a message that is delivered with the shape's size.
func (d centrifugoDialect) publication(to string) (channel string, data []byte) {
	delivered := fmt.Sprintf(`{"push":{"channel":%q,"pub":{"data":""}}}`, to)
	return to, padding(len(delivered), d.Payload())
}
