package admin

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/internal/oidctest"
	"github.com/mastersocket/mastersocket/internal/tlstest"
	"github.com/mastersocket/mastersocket/transport"
)

// reader is the connection of a tail's reader.
type reader struct {
	http.ResponseWriter
	mu     sync.Mutex
	broken bool
	wrote  strings.Builder
	until  time.Time // what was set as the deadline of a write
}

func (r *reader) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.broken || time.Until(r.until) <= 0 {
		return 0, errors.New("broken")
	}
	return r.wrote.Write(p)
}

func (r *reader) Flush() {}

func (r *reader) SetWriteDeadline(t time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.until = t
	return nil
}

// tailEnd has what can end a tail.
type tailEnd struct {
	cluster *cluster
	reader  *reader
	ended   chan struct{} // with the server
	cancel  func()        // as if the reader went
}

// TestTailEnds follows tails in virtual time to their end.
func TestTailEnds(t *testing.T) {
	t.Parallel()
	const latest = tailBeat // how much later a tail may end than it should
	for name, tt := range map[string]struct {
		expires time.Duration // of the token; 0 for never
		after   time.Duration // when happens what is to happen
		what    func(e *tailEnd)
		ends    time.Duration
	}{
		"the token ends":                       {expires: 90 * time.Second, ends: 90 * time.Second},
		"the token ends in a while":            {expires: 2 * time.Hour, ends: 2 * time.Hour},
		"the token ends at once":               {expires: time.Millisecond, ends: time.Millisecond},
		"the token ended before":               {expires: -time.Second, ends: 0},
		"the reader goes":                      {after: time.Hour, ends: time.Hour, what: func(e *tailEnd) { e.cancel() }},
		"the reader goes before the token":     {expires: time.Hour, after: time.Minute, ends: time.Minute, what: func(e *tailEnd) { e.cancel() }},
		"the server ends":                      {after: time.Hour, ends: time.Hour, what: func(e *tailEnd) { close(e.ended) }},
		"the connection breaks":                {after: tailQuiet / 2, ends: tailQuiet, what: func(e *tailEnd) { e.reader.breaks() }},
		"the entry is gone":                    {after: time.Minute, ends: time.Minute, what: func(e *tailEnd) { e.cluster.watchers("") }},
		"the entry may not administer":         {after: time.Minute, ends: time.Minute, what: func(e *tailEnd) { e.cluster.watchers(`groups: ["*"]`) }},
		"the entry is changed, the token ends": {expires: time.Hour, after: time.Minute, ends: time.Hour, what: func(e *tailEnd) { e.cluster.watchers("admin: true, rate: 5") }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := startCluster(t, 1, nil)
			tap, err := c.hubs[0].Tap(t.Context(), hub.TapOptions{Group: "g", PerSecond: 1})
			if err != nil {
				t.Fatal(err)
			}
			defer tap.Close()
			credential, err := c.hubs[0].Authenticate(t.Context(), netip.Addr{}, watchToken)
			if err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) {
				r, ended := &reader{}, make(chan struct{})
				a := &api{hub: c.hubs[0], ended: ended}
				who := &caller{grant: credential.Grant}
				begin := time.Now()
				if tt.expires != 0 {
					who.expires = begin.Add(tt.expires)
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				time.AfterFunc(tt.ends+time.Minute, cancel) // if nothing else ends it
				if tt.what != nil {
					time.AfterFunc(tt.after, func() { tt.what(&tailEnd{c, r, ended, cancel}) })
				}
				a.follow(ctx, &stream{w: r, control: http.NewResponseController(r)}, groupTail{tap}, who, TailOpen{Node: "n"})
				if took := time.Since(begin); took < tt.ends || took > tt.ends+latest {
					t.Errorf("it ended after %v, want %v", took, tt.ends)
				}
				if text := r.wrote.String(); !strings.HasPrefix(text, "event: open\n") || tt.ends >= tailQuiet && !strings.Contains(text, "event: counts\n") {
					t.Errorf("the reader got %.200q", text)
				}
			})
		})
	}
}

func (r *reader) breaks() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.broken = true
}

// watchers replaces the rights of watchToken's entry; empty rights remove the entry.
func (c *cluster) watchers(rights string) {
	file, _, _ := strings.Cut(usualTokens(), "  - {name: watch")
	if rights != "" {
		file += fmt.Sprintf("  - {name: watch, sha256: %s, %s}\n", auth.Hash(watchToken), rights)
	}
	c.store.Replace(parseTokens(c.t, file))
}

// TestTailEndsWithTheCredential opens tails with a token and a certificate that expire soon. The tails end then and not
// before, and no new ones can be opened.
func TestTailEndsWithTheCredential(t *testing.T) {
	t.Parallel()
	i, ca := oidctest.Start(t), tlstest.NewAuthority(t)
	verify := verifyTokens(t, i)
	config := transport.NewTLSConfig(ca.Issue(t, tlstest.Template{}), ca.Pool())
	c := startCluster(t, 1, func(n int, h *hub.Options, a *Options) {
		verify(n, h, a)
		a.TLS, a.CertificateEnd = func() *tls.Config { return config }, time.Now
	})
	const life = 5 * time.Second
	certificate := ca.Issue(t, tlstest.Template{Name: "root.test", Expires: life})
	ends := map[string]time.Time{
		"token": time.Now().Add(life).Truncate(time.Second), "certificate": certificate.Leaf.NotAfter,
	}
	token := i.Token("alice", obj{"groups": "hub-admins", "exp": ends["token"].Unix()})
	certified := *c
	certified.showing(certificate)
	tails := map[string]*tail{
		"token": c.openTail(0, "group=g", token), "certificate": certified.openTail(0, "group=g", ""),
		"a token that stays": c.openTail(0, "group=g", watchToken),
	}
	if r := certified.do(0, "POST", "/v1/events", `{"intent":{"target":"GLOBAL"}}`, header("Authorization", "")); r.status != 200 {
		t.Errorf("a certificate: %d", r.status)
	}
	if lines := auditLines(c.log.String()); len(lines) != 1 || !strings.Contains(lines[0], "token=certified from=… result=done status=200 subject=root.test") {
		t.Errorf("the audit log: %q", lines)
	}
	for name, s := range tails {
		if end, ok := ends[name]; ok {
			for event := "open"; event != ""; event, _ = s.next() {
			}
			if early := time.Until(end); early > 0 {
				t.Errorf("%s: the tail ended %v before it should", name, early)
			}
		}
	}
	tails["a token that stays"].counts(func(TailCounts) bool { return true })
	if r := c.do(0, "GET", "/v1/nodes", "", as(token)); r.status != 401 {
		t.Errorf("a token that has ended: %d", r.status)
	}
	// On the connection that was opened while the certificate was valid.
	if r := certified.do(0, "GET", "/v1/nodes", "", header("Authorization", "")); r.status != 401 {
		t.Errorf("a certificate that has ended: %d", r.status)
	}
}
