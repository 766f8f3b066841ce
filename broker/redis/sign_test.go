package redis

import (
	"bytes"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/brokertest"
	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/redistest"
)

// The secrets of tests.
var (
	secretA = strings.Repeat("a", 32)
	secretB = strings.Repeat("b", 32)
)

func fixed(secrets ...string) func() []string { return func() []string { return secrets } }

// mustSigner returns a signer for a hub.
func mustSigner(t testing.TB, domain string, secrets ...string) *signer {
	t.Helper()
	s, ok := newSigner(fixed(secrets...), domain)
	if !ok {
		t.Fatal("no signer")
	}
	return s
}

func mustSign(t testing.TB, s *signer, f *frame) []byte {
	t.Helper()
	b, err := appendFrame(nil, f, s)
	if err != nil {
		t.Fatal(err)
	}
	if len(b) != frameLen(f, s) {
		t.Errorf("%d bytes, frameLen says %d", len(b), frameLen(f, s))
	}
	return b
}

func TestSignature(t *testing.T) {
	t.Parallel()
	s := mustSigner(t, "ms:", secretA)
	f := sampleFrame()
	b := mustSign(t, s, f)
	var got frame
	if err := parseFrame(b, &got); err != nil || !bytes.Equal(got.Payload, f.Payload) || got.Flags != f.Flags || !s.genuine(b) {
		t.Fatalf("%v: flags %v, payload %q", err, got.Flags, got.Payload)
	}
	for name, other := range map[string]*signer{
		"another secret": mustSigner(t, "ms:", secretB), "another hub": mustSigner(t, "other:", secretA), "the secret to come": mustSigner(t, "ms:", secretB, secretB+"c"),
	} {
		if other.genuine(b) {
			t.Errorf("accepted with %s", name)
		}
	}
	for name, other := range map[string]*signer{"no secret": nil, "the former secret": mustSigner(t, "ms:", secretB, secretA)} {
		if !other.genuine(b) {
			t.Errorf("refused with %s", name)
		}
	}
	if s.genuine(mustSign(t, nil, f)) {
		t.Error("accepted without a signature")
	}
	for i := range b { // the checksum is no secret: an attacker repairs it
		forged := bytes.Clone(b)
		forged[i] ^= 0x10
		forged = withChecksum(forged)
		if parseFrame(forged, new(frame)) == nil && s.genuine(forged) && (i < 8 || i >= 12) {
			t.Errorf("a changed byte %d is accepted", i)
		}
	}
}

func TestSignerRefresh(t *testing.T) {
	t.Parallel()
	var secrets atomic.Pointer[[]string]
	secrets.Store(&[]string{secretA})
	s, ok := newSigner(func() []string { return *secrets.Load() }, "ms:")
	if !ok {
		t.Fatal("no signer")
	}
	old := mustSign(t, s, sampleFrame())
	secrets.Store(&[]string{secretB, secretA})
	s.refresh()
	if fresh := mustSign(t, s, sampleFrame()); bytes.Equal(fresh, old) || !s.genuine(fresh) || !s.genuine(old) {
		t.Error("while both secrets are in force")
	}
	secrets.Store(&[]string{secretB})
	s.refresh()
	if s.genuine(old) {
		t.Error("the old secret is accepted when it is gone")
	}
	secrets.Store(new([]string))
	s.refresh()
	if s.genuine(old) || !s.genuine(mustSign(t, s, sampleFrame())) {
		t.Error("without secrets the last are not kept")
	}
	if _, ok := newSigner(fixed(), "ms:"); ok {
		t.Error("there is a signer without a secret")
	}
}

func TestSignatureAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates; make test counts without it too")
	}
	s, f, buf := mustSigner(t, "ms:", secretA), sampleFrame(), make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() {
		if b, _ := appendFrame(buf, f, s); !s.genuine(b) {
			t.Error("refused")
		}
	}); n != 0 {
		t.Errorf("%v allocations for one signature and one check, want 0", n)
	}
}

func TestConformanceSigned(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	brokertest.Conform(t, func(t testing.TB) func(testing.TB) broker.Broker {
		o := Options{URL: server.URL(), Prefix: uuid.NewString(), Secrets: fixed(secretA, secretB)}
		return func(t testing.TB) broker.Broker { return newTestRedis(t, o) }
	})
}

// TestForgedMessages has a program that may publish on the hub's channels pretend to be an instance.
func TestForgedMessages(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	o := quick(server.URL())
	o.Secrets = fixed(secretA)
	a, b := brokertest.Join(t, newTestRedis(t, o)), brokertest.Join(t, newTestRedis(t, o))
	eventually.True(t, "the other instance", func() bool { return len(a.Nodes()) == 2 })
	attacker := mustSigner(t, o.Prefix+":", secretB)
	forge := func(kind broker.Kind, s *signer) {
		f := &frame{
			Message: broker.Message{Kind: kind, From: b.ID, Payload: []byte("forged")},
			run:     b.Broker.(*Broker).run, pubSeq: 1<<64 - 1, chanSeq: 1 << 40,
		}
		server.Do("PUBLISH", o.Prefix+":global", string(mustSign(t, s, f)))
	}
	forgeries := 0
	for _, s := range []*signer{nil, attacker} {
		for _, kind := range []broker.Kind{broker.KindGlobal, kindBye, kindHello} {
			forge(kind, s)
			forgeries++
		}
	}
	eventually.True(t, "the forgeries are counted", func() bool { return statsOf(a).Forged == uint64(forgeries) })
	if n, err := b.Outcome(t, &broker.Message{Kind: broker.KindGlobal, Payload: []byte("genuine")}); n != 1 || err != nil {
		t.Fatalf("a genuine message behind them reached %d instances, %v", n, err)
	}
	a.Await(t, "the genuine message", func() bool { return len(a.Got) == 1 && a.Got[0].Payload == "genuine" })
	if s := statsOf(a); s.Missed != 0 || s.Corrupt != 0 {
		t.Errorf("counted %+v", s)
	}
	if n := len(a.Nodes()); n != 2 {
		t.Errorf("%d instances are known", n)
	}
}

// TestSecretsRotate changes the secret of one instance after the other, as a rotation does, while they exchange messages.
func TestSecretsRotate(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	prefix := uuid.NewString()
	var instances []*brokertest.Instance
	var secrets [2]atomic.Pointer[[]string]
	for i := range secrets {
		secrets[i].Store(&[]string{secretA})
		o := quick(server.URL())
		o.Prefix, o.Secrets = prefix, func() []string { return *secrets[i].Load() }
		instances = append(instances, brokertest.Join(t, newTestRedis(t, o)))
	}
	sent := 0
	exchange := func(when string) {
		t.Helper()
		for _, from := range instances {
			if n, err := from.Outcome(t, &broker.Message{Kind: broker.KindGlobal, Payload: []byte(when)}); n != 1 || err != nil {
				t.Errorf("%s: %d instances, %v", when, n, err)
			}
		}
		sent++
	}
	exchange("at first")
	for _, step := range [][]string{{secretA, secretB}, {secretB, secretA}, {secretB}} {
		for i := range secrets {
			secrets[i].Store(&step)
			ring := func() *ring { return instances[i].Broker.(*Broker).names.signer.ring.Load() }
			eventually.True(t, "the secrets are in force", func() bool { return ring().secrets[0] == step[0] && len(ring().secrets) == len(step) })
			exchange("during the rotation")
		}
	}
	for _, in := range instances {
		in.Await(t, "all messages", func() bool { return len(in.Got) == sent })
		if s := statsOf(in); s.Forged != 0 || s.Missed != 0 {
			t.Errorf("counted %+v", s)
		}
	}
}

func BenchmarkSignature(b *testing.B) {
	s, f, buf := mustSigner(b, "ms:", secretA), sampleFrame(), make([]byte, 0, 1024)
	f.Payload = make([]byte, 250)
	b.ReportAllocs()
	for b.Loop() {
		w, _ := appendFrame(buf, f, s)
		if !s.genuine(w) {
			b.Fatal("refused")
		}
	}
}

// TestForgedNumbers: without a secret, one message with a number out of reach does not make an instance deaf.
func TestForgedNumbers(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	o := quick(server.URL())
	a, b := brokertest.Join(t, newTestRedis(t, o)), brokertest.Join(t, newTestRedis(t, o))
	eventually.True(t, "the other instance", func() bool { return len(a.Nodes()) == 2 })
	forge := func(pubSeq, chanSeq uint64) {
		server.Do("PUBLISH", o.Prefix+":global", string(mustSign(t, nil, &frame{
			Message: broker.Message{Kind: broker.KindGlobal, From: b.ID, Payload: []byte("forged")},
			run:     b.Broker.(*Broker).run, pubSeq: pubSeq, chanSeq: chanSeq,
		})))
	}
	genuine := func(text string) {
		t.Helper()
		if n, err := b.Outcome(t, &broker.Message{Kind: broker.KindGlobal, Payload: []byte(text)}); n != 1 || err != nil {
			t.Errorf("%s reached %d instances, %v", text, n, err)
		}
		a.Await(t, text, func() bool { return len(a.Got) > 0 && a.Got[len(a.Got)-1].Payload == text })
	}
	forge(1<<64-1, 1) // before anything is heard of the instance: it can't be told from a true one
	a.Await(t, "the forged message", func() bool { return len(a.Got) == 1 })
	genuine("behind the first")
	forge(1<<64-1, 1)
	forge(1<<40, 1)
	forge(1000, 1<<50) // a number of the channel
	genuine("behind the others")
	if s := statsOf(a); s.Corrupt != 3 || s.Missed > 1 {
		t.Errorf("counted %+v", s)
	}
}
