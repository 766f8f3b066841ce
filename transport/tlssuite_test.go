package transport

import (
	"crypto/tls"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/internal/tlstest"
)

// overTLS makes listen open TLS listeners, so that the tests that were written for plain connections try those over TLS.
// TestBehaviourOverTLS runs them so.
var overTLS = os.Getenv(suiteVariable) != ""

const suiteVariable = "TRANSPORT_TEST_TLS"

// suiteListeners has the configuration of clients for each TLS listener that listen opened, by address.
var suiteListeners sync.Map

// suiteConfigs returns the configurations of the listeners and of their clients.
var suiteConfigs = sync.OnceValue(func() [2]*tls.Config {
	ca := tlstest.NewAuthority(new(testing.T))
	server := NewTLSConfig(ca.Issue(new(testing.T), tlstest.Template{}), nil)
	return [2]*tls.Config{server, {RootCAs: ca.Pool(), ServerName: "127.0.0.1"}}
})

func listenSuite(t testing.TB, s *Server, e Endpoint) net.Addr {
	t.Helper()
	configs := suiteConfigs()
	addr, err := s.ListenWebSocketTLS(t.Context(), "127.0.0.1:0", func() *tls.Config { return configs[0] },
		func([]byte) Endpoint { return e })
	if err != nil {
		t.Fatal(err)
	}
	suiteListeners.Store(addr.String(), configs[1])
	t.Cleanup(func() { suiteListeners.Delete(addr.String()) })
	return addr
}

// notOverTLS are tests that are about the bytes of plain connections, about many of them, or about nothing of the kind.
var notOverTLS = []string{"TLS", "Alloc", "Idle.*Size", "Soak", "Fuzz", "TestStats$", "Descriptor"}

// TestBehaviourOverTLS runs the package's tests again in another process, with TLS beneath every WebSocket.
func TestBehaviourOverTLS(t *testing.T) {
	if overTLS {
		t.Skip("this is that process")
	}
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.skip="+strings.Join(notOverTLS, "|"), "-test.short", "-test.timeout=300s")
	cmd.Env = append(os.Environ(), suiteVariable+"=1")
	cmd.WaitDelay = time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
