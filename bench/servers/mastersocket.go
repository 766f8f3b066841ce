//go:build linux

package servers

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/mastersocket/mastersocket/bench/load"
	"github.com/mastersocket/mastersocket/opcodes"
)

const benchToken = "bench-token-5f0c9b7e31d84a26"

// OneLoop is mastersocket with one event loop instead of one for each core.
const OneLoop = "mastersocket-1-loop"

// Mastersocket is a build of mastersocket, with the memory broker.
type Mastersocket struct {
	// Label is the name in tables; several builds can be compared.
	Label string
	// Path is the binary.
	Path string
	// Args are further flags of `serve`.
	Args []string
}

// ParseMastersocket reads "PATH", "NAME=PATH" or either with further flags of `serve` behind it, separated by blanks.
func ParseMastersocket(s string) (Mastersocket, error) {
	fields := strings.Fields(s)
	if len(fields) == 0 {
		return Mastersocket{}, errors.New("no binary given")
	}
	m := Mastersocket{Label: "mastersocket", Path: fields[0], Args: fields[1:]}
	if name, path, named := strings.Cut(fields[0], "="); named {
		m.Label, m.Path = name, path
	}
	if m.Label == "" || m.Path == "" {
		return Mastersocket{}, fmt.Errorf("%q is neither PATH nor NAME=PATH", fields[0])
	}
	return m, nil
}

// Name implements Adapter.
func (m Mastersocket) Name() string { return m.Label }

// Version implements Adapter.
func (m Mastersocket) Version() (string, error) {
	return output(exec.Command(m.Path, "version"))
}

// Missing implements Adapter.
func (m Mastersocket) Missing() error {
	_, err := exec.LookPath(m.Path)
	return err
}

// Command implements Adapter.
func (m Mastersocket) Command(s Site) (*exec.Cmd, error) {
	args := []string{"serve", "--listen=" + s.Listen.String(), "--admin-listen=" + s.Admin.String(), "--log-level=error"}
	if s.Certificate != "" {
		args[1] = "--listen=off"
		args = append(args, "--tls-listen="+s.Listen.String(), "--tls-cert="+s.Certificate, "--tls-key="+s.Key)
	}
	cmd := exec.Command(m.Path, append(args, m.Args...)...)
	cmd.Env = append(os.Environ(), "MASTERSOCKET_TOKEN="+benchToken)
	return cmd, nil
}

// Secured implements Secured.
func (Mastersocket) Secured() {}

// Dialect implements Adapter.
func (m Mastersocket) Dialect(s load.Shape) load.Dialect { return masterDialect{s} }

// Allocations implements AllocationCounter, from the metrics.
func (m Mastersocket) Allocations(s Site) (float64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.Admin.String()+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, fmt.Errorf("reading the metrics: %w", err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), "go_memstats_mallocs_total "); ok {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, errors.Join(lines.Err(), errors.New("the metrics have no go_memstats_mallocs_total"))
}

type masterDialect struct{ load.Shape }

func (masterDialect) Request(*load.Client) []byte { return request("/", "") }

func (d masterDialect) Join(c *load.Client) []byte {
	group := "others"
	if c.Role.Receives() {
		group = groupName(d.GroupOf(c))
	}
	identify := fmt.Appendf(nil, `{"op":1,"data":{"token":%q,"group":%q}}`, benchToken, group)
	return load.AppendFrame(nil, load.TextFrame, identify)
}

// pong answers the hub's PING.
var pong = load.AppendFrame(nil, load.TextFrame, []byte(opcodes.PongMessage))

func (masterDialect) Message(c *load.Client, payload []byte) ([]byte, error) {
	if bytes.Equal(payload, []byte(opcodes.PingMessage)) {
		return pong, nil
	}
	var m struct {
		Op   opcodes.Op
		Data struct{ ID string }
	}
	if err := json.Unmarshal(payload, &m); err != nil || m.Op != opcodes.Identify || c.Ready {
		return nil, fmt.Errorf("unexpected message %s", payload)
	}
	c.ID, c.Ready = m.Data.ID, true
	return nil, nil
}

func (masterDialect) MinDelivery() int { return 128 }

func (masterDialect) Count() load.Counter { return nil }

func (d masterDialect) Publish(_ *load.Client, group int) []byte {
	return d.event(`{"target":"GROUP","identifier":"` + groupName(group) + `"}`)
}

func (d masterDialect) Direct(_, to *load.Client) []byte {
	return d.event(`{"target":"DIRECT","identifier":"` + to.ID + `"}`)
}

// event frames an EVENT that is delivered with the shape's size.
func (d masterDialect) event(intent string) []byte {
	return load.AppendFrame(nil, load.TextFrame, d.publication(intent))
}

// publication is an EVENT that is delivered with the shape's size: the hub adds an id and the sender.
func (d masterDialect) publication(intent string) []byte {
	const added = len(`,"id":"","sender":""`) + 2*36
	event := func(pad []byte) []byte {
		return fmt.Appendf(nil, `{"op":0,"event":"bench","data":"%s","intent":%s}`, pad, intent)
	}
	pad := padding(len(event(nil))+added, d.Payload())
	return event(pad)
}

// output returns the first line that a command prints.
func output(cmd *exec.Cmd) (string, error) {
	b, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("running %s: %w", cmd, err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return strings.TrimSpace(line), nil
}
