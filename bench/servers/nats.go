//go:build linux

package servers

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/mastersocket/mastersocket/bench/load"
)

// NATS is nats-server, with core NATS over WebSocket.
type NATS struct {
	// Bin is the folder with its binary.
	Bin string
}

// Name implements Adapter.
func (n NATS) Name() string { return "nats-server" }

func (n NATS) path() string { return filepath.Join(n.Bin, "nats-server") }

// Version implements Adapter.
func (n NATS) Version() (string, error) {
	return moduleVersion(n.path(), "github.com/nats-io/nats-server/v2")
}

// Missing implements Adapter.
func (n NATS) Missing() error {
	if _, err := os.Stat(n.path()); err != nil {
		return errNotInstalled
	}
	return nil
}

// Command implements Adapter.
func (n NATS) Command(s Site) (*exec.Cmd, error) {
	secure := "no_tls: true"
	if s.Certificate != "" {
		secure = fmt.Sprintf("tls { cert_file: %q, key_file: %q }", s.Certificate, s.Key)
	}
	config := fmt.Sprintf("listen: %q\nping_interval: \"1h\"\nwebsocket { listen: %q, %s, compression: false }\n",
		s.Admin, s.Listen, secure)
	name := filepath.Join(s.Dir, "nats.conf")
	if err := os.WriteFile(name, []byte(config), 0o600); err != nil {
		return nil, err
	}
	return exec.Command(n.path(), "-c", name, "-l", os.DevNull), nil
}

// Secured implements Secured.
func (NATS) Secured() {}

// Covers implements Limited: it is not compared at a rate that it may not reach.
func (NATS) Covers(measure string) bool { return measure != "latency-same" }

// Dialect implements Adapter.
func (n NATS) Dialect(s load.Shape) load.Dialect { return natsDialect{s} }

// natsDialect is the NATS protocol in binary frames. The server puts as many messages into a frame as wait.
type natsDialect struct{ load.Shape }

func (natsDialect) Request(*load.Client) []byte { return request("/", "") }

func (d natsDialect) Join(c *load.Client) []byte {
	b := []byte(`CONNECT {"verbose":false,"pedantic":false,"echo":false,"lang":"bench","version":"1","protocol":1}` + "\r\n")
	switch c.Role {
	case load.Subscriber, load.Stalled:
		b = fmt.Appendf(b, "SUB %s 1\r\n", groupName(d.GroupOf(c)))
	case load.Member:
		b = fmt.Appendf(b, "SUB %s 1\r\n", natsInbox(c))
	}
	return natsFrame(append(b, "PING\r\n"...))
}

// natsInbox is the subject of a client that others send to.
func natsInbox(c *load.Client) string { return fmt.Sprintf("to.%05d", c.Index) }

// natsPong answers the server's PING, which comes two seconds after the client's first, and then once an hour.
var natsPong = natsFrame([]byte("PONG\r\n"))

func (natsDialect) Message(c *load.Client, payload []byte) (reply []byte, err error) {
	for line := range bytes.Lines(payload) {
		switch line = bytes.TrimSpace(line); {
		case string(line) == "PONG":
			c.Ready = true
		case string(line) == "PING":
			reply = natsPong
		case bytes.HasPrefix(line, []byte("INFO ")):
		default:
			return nil, fmt.Errorf("unexpected line %q", line)
		}
	}
	return reply, nil
}

func (natsDialect) MinDelivery() int { return 128 }

func (natsDialect) Count() load.Counter { return countNATS }

var errNATSMessage = errors.New("malformed or cut NATS message")

// countNATS counts the messages in a frame: MSG, subject, subscription, length, and the payload. PING and INFO may stand
// among them.
func countNATS(b []byte) (n int, reply []byte, err error) {
	for len(b) > 0 {
		end := bytes.IndexByte(b, '\n')
		if end < 0 {
			return n, nil, fmt.Errorf("%w: %.40q", errNATSMessage, b)
		}
		line := bytes.TrimRight(b[:end], "\r")
		b = b[end+1:]
		switch {
		case bytes.HasPrefix(line, []byte("MSG ")):
			whole := natsLength(line) + len("\r\n")
			if whole > len(b) {
				return n, nil, fmt.Errorf("%w: %q and %d bytes", errNATSMessage, line, len(b))
			}
			b = b[whole:]
			n++
		case string(line) == "PING":
			reply = natsPong
		case !bytes.HasPrefix(line, []byte("INFO ")):
			return n, nil, fmt.Errorf("%w: %.40q", errNATSMessage, line)
		}
	}
	return n, reply, nil
}

// natsLength reads the number at the end of a MSG line.
func natsLength(line []byte) int {
	length := 0
	for _, digit := range line[bytes.LastIndexByte(line, ' ')+1:] {
		length = length*10 + int(digit-'0')
	}
	return length
}

func (d natsDialect) Publish(_ *load.Client, group int) []byte { return d.publish(groupName(group)) }

func (d natsDialect) Direct(_, to *load.Client) []byte { return d.publish(natsInbox(to)) }

func (d natsDialect) publish(subject string) []byte {
	length := len(strconv.Itoa(d.Payload() - len("MSG  1 \r\n\r\n") - len(subject)))
	data := padding(len("MSG  1 \r\n\r\n")+length+len(subject), d.Payload())
	b := append([]byte("PUB "+subject+" "), strconv.Itoa(len(data))...)
	b = append(append(append(b, "\r\n"...), data...), "\r\n"...)
	return natsFrame(b)
}

func natsFrame(b []byte) []byte { return load.AppendFrame(nil, load.BinaryFrame, b) }
