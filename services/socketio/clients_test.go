package socketio

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/broker/redis"
	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/freeport"
	"github.com/mastersocket/mastersocket/internal/redistest"
	"github.com/mastersocket/mastersocket/internal/tlstest"
)

// clientsVariable is set where the client libraries are installed: make socketio-test does that.
const clientsVariable = "MASTERSOCKET_SOCKETIO_CLIENTS"

// need skips a test that something is not installed for, unless it has to be.
func need(t *testing.T, what string, installed bool) {
	t.Helper()
	switch {
	case installed:
	case os.Getenv(clientsVariable) != "":
		t.Fatal(what + " is not installed")
	default:
		t.Skip(what + " is not installed: make socketio-test installs it")
	}
}

// library is a client library of Socket.IO, and a program in the folder clients that uses it.
type library struct {
	name, program, script string
	installed             func() bool
}

var libraries = []library{
	{"JavaScript", "node", "client.mjs", func() bool {
		_, err := os.Stat(filepath.Join("clients", "node_modules", "socket.io-client"))
		return err == nil
	}},
	{"Python", "/usr/bin/python3", "client.py", func() bool { // Debian's, whose packages it uses
		return exec.CommandContext(context.Background(), "/usr/bin/python3", "-c", "import socketio, aiohttp").Run() == nil
	}},
}

// run runs the library's program.
func (l *library) run(t *testing.T, env ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, l.program, l.script)
	cmd.Dir = "clients"
	cmd.Env = append(append(os.Environ(), "TOKEN=secret"), env...)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil || !strings.HasSuffix(strings.TrimSpace(string(out)), "done") {
		t.Fatalf("%v\n%s%s", err, out, complaints.String())
	}
	t.Logf("%s", out)
}

// trusting are the variables that make the programs trust an authority.
func trusting(t *testing.T, a *tlstest.Authority) []string {
	t.Helper()
	file := tlstest.WriteFile(t, t.TempDir(), "ca.pem", a.PEM())
	return []string{"CA=" + file, "SSL_CERT_FILE=" + file}
}

// TestClientLibraries runs the client libraries that Socket.IO has for JavaScript and Python against a hub.
func TestClientLibraries(t *testing.T) {
	t.Parallel()
	for _, l := range libraries {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			need(t, "the library", l.installed())
			l.run(t, "URL=http://"+alone(t).addr)
		})
		t.Run(l.name+" over TLS", func(t *testing.T) {
			t.Parallel()
			need(t, "the library", l.installed())
			n, a := alone(t), tlstest.NewAuthority(t)
			n.listenTLS("127.0.0.1:0", a.Issue(t, tlstest.Template{}))
			l.run(t, append(trusting(t, a), "URL=https://"+n.secure)...)
		})
	}
}

// TestClientLibrariesWithoutStickySessions runs them behind haproxy, which gives each request to the next of three instances.
func TestClientLibrariesWithoutStickySessions(t *testing.T) {
	t.Parallel()
	for _, secure := range []bool{false, true} {
		for _, l := range libraries {
			for _, c := range []struct{ transports, upgrades string }{{"polling", "never"}, {"polling,websocket", "perhaps"}} {
				t.Run(fmt.Sprintf("%s %s TLS=%v", l.name, c.transports, secure), func(t *testing.T) {
					need(t, "the library", l.installed())
					_, err := exec.LookPath("haproxy")
					need(t, "haproxy", err == nil)
					env := []string{"TRANSPORTS=" + c.transports, "UPGRADES=" + c.upgrades}
					var authority *tlstest.Authority
					if secure {
						authority = tlstest.NewAuthority(t)
						env = append(env, trusting(t, authority)...)
					}
					nodes := withRedis(t, 3, authority)
					balancer := startHaproxy(t, nodes, authority)
					l.run(t, append(env, "URL="+balancer.String())...)
					relayed := uint64(0)
					for _, n := range nodes {
						relayed += n.all.count.relayed.Load()
						if failed := n.all.count.failedRelays.Load(); failed != 0 {
							t.Errorf("%s: %d relayed requests failed", n.hub.Node().Name, failed)
						}
					}
					if relayed == 0 {
						t.Error("no request was relayed")
					}
					t.Logf("%d requests were relayed", relayed)
				})
			}
		}
	}
}

// withRedis starts instances on one Redis, which advertise their addresses. With an authority these are for TLS.
func withRedis(t *testing.T, n int, authority *tlstest.Authority) []*node {
	t.Helper()
	server := redistest.Start(t)
	var nodes []*node
	for i := range n {
		b, err := redis.New(redis.Options{URL: server.URL(), Prefix: "ms"})
		if err != nil {
			t.Fatal(err)
		}
		address, o := freeport.Address(t), Options{}
		if authority != nil {
			o.Authorities = authority.Pool()
		}
		change := func(o *hub.Options) {
			o.NodeName = fmt.Sprint("node-", i)
			o.Address = "http://" + address
			if authority != nil {
				o.Address = "https://" + address
			}
		}
		if authority == nil {
			nodes = append(nodes, startAt(t, address, New(o), b, change))
			continue
		}
		at := start(t, New(o), b, change)
		at.listenTLS(address, authority.Issue(t, tlstest.Template{}))
		nodes = append(nodes, at)
	}
	for _, at := range nodes {
		eventually.True(t, "the instances to know each other's addresses", func() bool {
			known := 0
			for _, other := range at.hub.Nodes() {
				if other.Address != "" {
					known++
				}
			}
			return known == n
		})
	}
	return nodes
}

// startHaproxy starts a balancer without sticky sessions, over TLS with an authority, and returns its URL.
func startHaproxy(t *testing.T, nodes []*node, authority *tlstest.Authority) *url.URL {
	t.Helper()
	dir, address := t.TempDir(), freeport.Address(t)
	at, bind, to := &url.URL{Scheme: "http", Host: address}, address, ""
	if authority != nil {
		at.Scheme = "https"
		certificate, key := tlstest.PEM(t, authority.Issue(t, tlstest.Template{}))
		bind += " ssl crt " + tlstest.WriteFile(t, dir, "haproxy.pem", append(certificate, key...))
		to = " ssl verify required ca-file " + tlstest.WriteFile(t, dir, "ca.pem", authority.PEM())
	}
	var config bytes.Buffer
	fmt.Fprintf(&config, "defaults\n mode http\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n timeout tunnel 1h\n"+
		"frontend clients\n bind %s\n default_backend hubs\nbackend hubs\n balance roundrobin\n", bind)
	for _, n := range nodes {
		hub := n.addr
		if authority != nil {
			hub = n.secure
		}
		fmt.Fprintf(&config, " server %s %s%s\n", n.hub.Node().Name, hub, to)
	}
	var log bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "haproxy", "-db", "-f", tlstest.WriteFile(t, dir, "haproxy.cfg", config.Bytes()))
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		if _ = cmd.Wait(); t.Failed() {
			t.Logf("haproxy: %s", log.String())
		}
	})
	eventually.True(t, "haproxy", func() bool {
		c, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	return at
}
