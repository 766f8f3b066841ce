package redis

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/brokertest"
	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/freeport"
	"github.com/mastersocket/mastersocket/internal/redistest"
	"github.com/mastersocket/mastersocket/internal/redisurl"
)

// startCluster runs a Redis Cluster of two masters and returns them, the one that has slot first.
func startCluster(t *testing.T, slot int, args ...string) []*redistest.Server {
	t.Helper()
	args = append(args, "--cluster-enabled", "yes")
	a, b := redistest.Start(t, args...), redistest.Start(t, args...)
	a.Do("CLUSTER", "ADDSLOTSRANGE", "0", "8191")
	b.Do("CLUSTER", "ADDSLOTSRANGE", "8192", "16383")
	a.Do("CLUSTER", "MEET", "127.0.0.1", strconv.Itoa(b.Port()))
	for _, s := range []*redistest.Server{a, b} {
		eventually.True(t, "the cluster", func() bool {
			info := s.Do("CLUSTER", "INFO")
			return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_known_nodes:2")
		})
	}
	if slot > 8191 {
		a, b = b, a
	}
	return []*redistest.Server{a, b}
}

func slotOf(t *testing.T, s *redistest.Server, key string) int {
	t.Helper()
	slot, err := strconv.Atoi(s.Do("CLUSTER", "KEYSLOT", key))
	if err != nil {
		t.Fatal(err)
	}
	return slot
}

func TestConformanceCluster(t *testing.T) {
	t.Parallel()
	servers := startCluster(t, 0)
	for _, query := range []string{"", "?sharded=false"} {
		t.Run(query, func(t *testing.T) {
			t.Parallel()
			brokertest.Conform(t, func(t testing.TB) func(testing.TB) broker.Broker {
				prefix := uuid.NewString()
				url := "redis+cluster://" + servers[0].Addr() + "," + servers[1].Addr() + query
				return func(t testing.TB) broker.Broker { return newTestRedis(t, Options{URL: url, Prefix: prefix}) }
			})
		})
	}
}

// TestClusterSlotMoves moves the hub's slot to another node under load, twice.
func TestClusterSlotMoves(t *testing.T) {
	t.Parallel()
	probe := redistest.Start(t, "--cluster-enabled", "yes")
	prefix := uuid.NewString()
	slot := slotOf(t, probe, "{"+prefix+"}")
	servers := startCluster(t, slot)
	o := quick("redis+cluster://" + servers[1].Addr())
	o.Prefix = prefix
	in := redisCluster(t, 3, o)
	if n := servers[1].Calls("spublish"); n > 0 {
		t.Errorf("%d SPUBLISH on the node without the slot", n)
	}
	l := startLoad(t, in)
	l.runFor(200 * time.Millisecond)
	for range 2 {
		to := servers[1].Do("CLUSTER", "MYID")
		eventually.True(t, "the slot to move", func() bool {
			for _, s := range []*redistest.Server{servers[1], servers[0]} {
				_, _ = s.Try("FLUSHALL") // a slot with keys can't be given away so simply
				if _, err := s.Try("CLUSTER", "SETSLOT", strconv.Itoa(slot), "NODE", to); err != nil {
					return false
				}
			}
			return true
		})
		servers[0], servers[1] = servers[1], servers[0]
		l.runFor(500 * time.Millisecond)
		awaitState(t, in, true)
	}
	l.runFor(200 * time.Millisecond)
	l.end(t)
	for _, n := range in {
		if statsOf(n).Reconnects == 0 {
			t.Error("no instance noticed that the slot moved")
		}
	}
}

// TestClusterWithUnknownEndpoints: the nodes don't say their hosts, as behind a load balancer.
func TestClusterWithUnknownEndpoints(t *testing.T) {
	t.Parallel()
	servers := startCluster(t, 0, "--cluster-preferred-endpoint-type", "unknown-endpoint")
	exchangeMessages(t, servers[0], Options{URL: "redis+cluster://" + servers[0].Addr(), Prefix: prefixIn(t, servers[0], 0)})
}

// prefixIn returns a prefix whose slot is in the half of the slots that first is in.
func prefixIn(t *testing.T, s *redistest.Server, first int) string {
	t.Helper()
	for {
		prefix := uuid.NewString()
		if slotOf(t, s, "{"+prefix+"}")/8192 == first/8192 {
			return prefix
		}
	}
}

// TestClusterSlotMigrates: for some time the hub's slot is on its way to another node, where its keys are already.
func TestClusterSlotMigrates(t *testing.T) {
	t.Parallel()
	probe := redistest.Start(t, "--cluster-enabled", "yes")
	prefix := uuid.NewString()
	slot := slotOf(t, probe, "{"+prefix+"}")
	servers := startCluster(t, slot)
	from, to := servers[0], servers[1]
	o := quick("redis+cluster://" + from.Addr())
	o.Prefix = prefix
	in := redisCluster(t, 2, o)
	l := startLoad(t, in)
	to.Do("CLUSTER", "SETSLOT", strconv.Itoa(slot), "IMPORTING", from.Do("CLUSTER", "MYID"))
	from.Do("CLUSTER", "SETSLOT", strconv.Itoa(slot), "MIGRATING", to.Do("CLUSTER", "MYID"))
	from.Do("FLUSHALL")
	asked := func() int { // how often the node sent a client to the other one
		_, rest, _ := strings.Cut(from.Do("INFO", "errorstats"), "errorstat_ASK:count=")
		n, _ := strconv.Atoi(strings.TrimSpace(strings.SplitN(rest, "\n", 2)[0]))
		return n
	}
	const rounds = 20 // of leases: longer than one lasts
	eventually.True(t, "leases to be refused", func() bool { return asked() >= rounds })
	for _, n := range in {
		if s := n.State(); !s.Available || len(n.Nodes()) != 2 {
			t.Errorf("state %+v, instances %v", s, n.Nodes())
		}
	}
	for _, s := range []*redistest.Server{to, from} {
		s.Do("CLUSTER", "SETSLOT", strconv.Itoa(slot), "NODE", to.Do("CLUSTER", "MYID"))
	}
	eventually.True(t, "the other node to carry the hub", func() bool { return to.Calls("spublish") > 0 })
	awaitState(t, in, true)
	l.end(t)
}

// TestSentinelsThatDisagree: of three Sentinels one names a server that is gone, one hangs, and one is right; and a majority
// is believed though the first one says otherwise.
func TestSentinelsThatDisagree(t *testing.T) {
	t.Parallel()
	gone, master := redistest.Start(t), redistest.Start(t)
	stale := redistest.StartSentinel(t, gone, "hub")
	gone.Kill()
	right, hangs := redistest.StartSentinel(t, master, "hub"), redistest.StartSentinel(t, master, "hub")
	for _, c := range []struct {
		name      string
		sentinels []*redistest.Server
	}{
		{"majority", []*redistest.Server{stale, right, hangs}},
		{"one hangs", []*redistest.Server{hangs, stale, right}},
		{"the only one that answers", []*redistest.Server{hangs, right}},
	} {
		if c.name == "one hangs" {
			hangs.Pause()
			defer hangs.Resume()
		}
		var addrs []string
		for _, s := range c.sentinels {
			addrs = append(addrs, s.Addr())
		}
		o := quick("redis+sentinel://" + strings.Join(addrs, ",") + "/hub")
		o.DialTimeout = 30 * time.Second // a hub that waits for the one that hangs is too late
		began := time.Now()
		exchangeMessages(t, master, o)
		if d := time.Since(began); d > o.DialTimeout/2 {
			t.Errorf("%s: it took %v", c.name, d)
		}
	}
}

// TestSentinelFailover kills the master under load; a Sentinel makes the replica the new one.
func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	master := redistest.Start(t)
	replica := redistest.Start(t, "--replicaof", "127.0.0.1", strconv.Itoa(master.Port()))
	eventually.True(t, "the replica", func() bool { return strings.Contains(replica.Do("INFO", "replication"), "master_link_status:up") })
	sentinel := redistest.StartSentinel(t, master, "hub")
	eventually.True(t, "the sentinel to know the replica", func() bool {
		return strings.Contains(sentinel.Do("SENTINEL", "replicas", "hub"), strconv.Itoa(replica.Port()))
	})
	o := quick("redis+sentinel://127.0.0.1:1," + sentinel.Addr() + "/hub")
	in := redisCluster(t, 3, o)
	l := startLoad(t, in)
	l.runFor(200 * time.Millisecond)
	master.Kill()
	awaitState(t, in, false)
	awaitState(t, in, true)
	l.runFor(200 * time.Millisecond)
	l.end(t)
	if n := replica.Calls("publish"); n == 0 {
		t.Error("nothing was published on the new master")
	}
	unknown := newTestRedis(t, quick("redis+sentinel://"+sentinel.Addr()+"/nobody"))
	if err := unknown.Start(t.Context(), broker.Node{ID: 1}, brokertest.NewRecorder()); err != nil {
		t.Fatal(err)
	}
	defer unknown.Close(t.Context())
	if s := unknown.State(); s.Available || !strings.Contains(s.Err, "nobody") {
		t.Errorf("state: %+v", s)
	}
}

func TestTLSConfig(t *testing.T) {
	t.Parallel()
	base := &tls.Config{ServerName: "pinned"}
	if c := tlsConfig(redisurl.URL{}, base); c != nil {
		t.Errorf("without TLS: %+v", c)
	}
	for _, skip := range []bool{false, true} {
		c := tlsConfig(redisurl.URL{TLS: true, SkipVerify: skip}, base)
		if c == nil || c.ServerName != "pinned" || c.InsecureSkipVerify != skip {
			t.Errorf("skip_verify=%v: %+v", skip, c)
		}
	}
	if base.InsecureSkipVerify {
		t.Error("the caller's configuration was changed")
	}
	if c := tlsConfig(redisurl.URL{TLS: true}, nil); c == nil || c.MinVersion < tls.VersionTLS12 {
		t.Errorf("without a configuration: %+v", c)
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	certificate, key, pool := selfSigned(t)
	port := strconv.Itoa(freeport.Take(t))
	addr := net.JoinHostPort("127.0.0.1", port)
	redistest.Start(t, "--tls-port", port, "--tls-cert-file", certificate, "--tls-key-file", key,
		"--tls-ca-cert-file", certificate, "--tls-auth-clients", "no")
	o := quick("rediss://" + addr)
	o.Login = func() Login { return Login{TLS: &tls.Config{RootCAs: pool}} }
	in := redisCluster(t, 2, o)
	if n, err := in[0].Outcome(t, &broker.Message{Kind: broker.KindGlobal}); n != 1 || err != nil {
		t.Errorf("%d instances, %v", n, err)
	}
	trusting := brokertest.Join(t, newTestRedis(t, Options{URL: "rediss://" + addr + "?skip_verify=true"}))
	if !trusting.State().Available {
		t.Errorf("skip_verify: %+v", trusting.State())
	}
	strict := brokertest.Join(t, newTestRedis(t, Options{URL: "rediss://" + addr}))
	if s := strict.State(); s.Available || !strings.Contains(s.Err, "certificate") {
		t.Errorf("unknown authority: %+v", s)
	}
}

// selfSigned writes a certificate for 127.0.0.1 and its key to files.
func selfSigned(t *testing.T) (certificate, key string, pool *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "redis"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certificate, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	pemCertificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(pemCertificate)
	for file, content := range map[string][]byte{
		certificate: pemCertificate, key: pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}),
	} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certificate, key, pool
}

func TestUnixSocket(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "redis") // the test's own directory may be too long for a socket's name
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	redistest.Start(t, "--unixsocket", socket)
	in := redisCluster(t, 2, Options{URL: "unix://" + socket + "?db=2"})
	if n, err := in[0].Outcome(t, &broker.Message{Kind: broker.KindGlobal}); n != 1 || err != nil {
		t.Errorf("%d instances, %v", n, err)
	}
}
