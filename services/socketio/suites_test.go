package socketio

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/services/socketio/engineio"
	"github.com/mastersocket/mastersocket/services/socketio/packet"
	"github.com/mastersocket/mastersocket/transport"
)

// The official conformance suites test a server that echoes, not a hub. These protocols are that server, on the sessions of
// this package. Where the suites are: MASTERSOCKET_SOCKETIO_SUITES names a folder with engine.io-protocol/v4-test-suite and
// socket.io-protocol/v5-test-suite of the public repository socketio/socket.io (its folder docs), each after npm ci.
const suitesVariable = "MASTERSOCKET_SOCKETIO_SUITES"

// inert is the parts of a protocol that the suites' servers don't need.
type inert struct{}

func (inert) deliver(*opcodes.Envelope) hub.Outcome     { return hub.Ignored }
func (inert) identified()                               {}
func (inert) sweep()                                    {}
func (inert) farewell(opcodes.Reason) *transport.Buffer { return nil }
func (inert) closed()                                   {}

// engineEcho sends each message back.
type engineEcho struct {
	inert
	s *session
}

func (engineEcho) answers() bool                       { return false }
func (engineEcho) cancelled(uuid.UUID, string)         {}
func (engineEcho) settled(string, *opcodes.Settlement) {}

func (*suiteServer) answers() bool                       { return false }
func (*suiteServer) cancelled(uuid.UUID, string)         {}
func (*suiteServer) settled(string, *opcodes.Settlement) {}

func (e engineEcho) message(binary bool, b []byte) {
	if binary {
		buf := transport.AllocBuffer(len(b))
		buf.SealBinary(append(buf.Room(), b...))
		e.s.send(buf)
		buf.Release()
		return
	}
	buf := transport.NewMessage(append([]byte{byte(engineio.Message)}, b...))
	e.s.send(buf)
	buf.Release()
}

// suiteServer is the server of the Socket.IO suite: the namespaces / and /custom, which say what CONNECT said, send messages
// back, and acknowledge.
type suiteServer struct {
	inert
	s       *session
	open    map[string]bool
	begun   time.Time
	partial *packet.Packet
	wants   int
	got     [][]byte
}

// connectTimeout is how long the suite's server waits for the first CONNECT.
const connectTimeout = 1500 * time.Millisecond

func (e *suiteServer) sweep() {
	if len(e.open) == 0 && time.Since(e.begun) > connectTimeout {
		e.s.end()
	}
}

func (e *suiteServer) send(p []byte, attachments ...[]byte) {
	b := transport.NewMessage(append([]byte{byte(engineio.Message)}, p...))
	e.s.send(b)
	b.Release()
	for _, a := range attachments {
		b := transport.AllocBuffer(len(a))
		b.SealBinary(append(b.Room(), a...))
		e.s.send(b)
		b.Release()
	}
}

func (e *suiteServer) message(binary bool, b []byte) {
	if binary {
		if e.partial == nil {
			e.s.end()
			return
		}
		if e.got = append(e.got, bytes.Clone(b)); len(e.got) == e.wants {
			p, got := e.partial, e.got
			e.partial, e.got = nil, nil
			e.handle(p, got)
		}
		return
	}
	var p packet.Packet
	if err := p.Parse(bytes.Clone(b)); err != nil {
		e.s.end()
		return
	}
	if p.Attachments > 0 {
		e.partial, e.wants = &p, p.Attachments
		return
	}
	e.handle(&p, nil)
}

func (e *suiteServer) handle(p *packet.Packet, attachments [][]byte) {
	nsp := string(p.Namespace)
	header := func(t packet.Type, id []byte) []byte {
		return packet.AppendHeader(nil, t, len(attachments), nsp, id)
	}
	switch {
	case p.Type == packet.Connect && nsp != "/" && nsp != "/custom":
		e.send(append(header(packet.ConnectError, nil), `{"message":"Invalid namespace"}`...))
	case p.Type == packet.Connect:
		e.open[nsp] = true
		e.send(append(header(packet.Connect, nil), `{"sid":"abc"}`...))
		auth := p.Data
		if len(auth) == 0 {
			auth = []byte("{}")
		}
		e.send(append(append(append(header(packet.Event, nil), `["auth",`...), auth...), ']'))
	case p.Type == packet.Disconnect:
		delete(e.open, nsp)
		e.open["left"] = true
	case !e.open[nsp]:
	case p.IsEvent():
		name, _ := jsontext.AppendUnquote(nil, p.Name)
		switch string(name) {
		case "message":
			e.send(append(append(append(header(p.Type, nil), `["message-back",`...), p.Args...), ']'), attachments...)
		case "message-with-ack":
			t := packet.Ack
			if p.Type == packet.BinaryEvent {
				t = packet.BinaryAck
			}
			e.send(append(append(append(header(t, p.ID), '['), p.Args...), ']'), attachments...)
		}
	}
}

func TestOfficialSuites(t *testing.T) {
	suites := os.Getenv(suitesVariable)
	if suites == "" {
		t.Skip("the official suites are not part of this repository: " + suitesVariable + " says where they are")
	}
	times := 1
	if n, err := strconv.Atoi(os.Getenv("MASTERSOCKET_SOCKETIO_RUNS")); err == nil {
		times = n
	}
	for _, suite := range []struct {
		name, folder, path string
		protocol           func(*session) protocol
	}{
		{"Engine.IO", "engine.io-protocol/v4-test-suite", "/engine.io/", func(s *session) protocol { return engineEcho{s: s} }},
		{"Socket.IO", "socket.io-protocol/v5-test-suite", "/socket.io/", func(s *session) protocol {
			return &suiteServer{s: s, open: map[string]bool{}, begun: time.Now()}
		}},
	} {
		for _, loops := range []int{1, 2} {
			t.Run(suite.name+" with "+strconv.Itoa(loops)+" loops", func(t *testing.T) {
				all := New(Options{PingInterval: 300 * time.Millisecond, PingTimeout: 200 * time.Millisecond})
				all.path, all.protocol = suite.path, suite.protocol
				n := start(t, all, memory.NewBus().Broker(), func(o *hub.Options) {
					o.Transport.Loops = loops
					o.Transport.MaxMessageBytes = 1_000_000
				})
				dir := filepath.Join(suites, suite.folder)
				script, err := os.ReadFile(filepath.Join(dir, "test-suite.js"))
				if err != nil {
					t.Fatal(err)
				}
				copied := filepath.Join(dir, "run-"+strconv.Itoa(os.Getpid())+"-"+strconv.Itoa(loops)+".js")
				if err := os.WriteFile(copied, []byte(strings.Replace(string(script), "http://localhost:3000", "http://"+n.addr, 1)), 0o600); err != nil {
					t.Fatal(err)
				}
				defer func() { _ = os.Remove(copied) }()
				for range times {
					ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
					cmd := exec.CommandContext(ctx, "node", filepath.Join("node_modules", "mocha", "bin", "mocha"), "--exit", filepath.Base(copied))
					cmd.Dir = dir
					out, err := cmd.CombinedOutput()
					cancel()
					if err != nil {
						t.Fatalf("%v\n%s", err, out)
					}
					for line := range strings.Lines(string(out)) {
						if strings.Contains(line, "passing") || strings.Contains(line, "failing") {
							t.Log(strings.TrimSpace(line))
						}
					}
				}
			})
		}
	}
}
