package hub

import (
	"context"
	"crypto/tls"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/tlstest"
	"github.com/mastersocket/mastersocket/transport"
)

// TestTokenExpires: a client is disconnected when its token ends.
func TestTokenExpires(t *testing.T) {
	t.Parallel()
	end := time.Now().Add(3 * time.Second).Truncate(time.Second)
	h, url := startHub(t, memory.NewBus().Broker(), verified(t, &issuer{expires: end}))
	p := connect(t, url)
	p.send(withToken(signedToken("billing-2"), "billing"))
	if f := p.read(); f.Op != 1 {
		t.Fatalf("got %+v", f)
	}
	p.wantDisconnect("the token ended", "UNAUTHORIZED", 4003)
	if early := time.Until(end); early > 0 {
		t.Errorf("disconnected %v too early", early)
	}
	eventually.True(t, "the client to be gone", func() bool { return h.Stats().Clients == 0 })
}

// TestExpiryIsAnnounced has a loop look at its clients at other times than now.
func TestExpiryIsAnnounced(t *testing.T) {
	t.Parallel()
	end := time.Now().Add(time.Hour).Truncate(time.Second)
	h, url := startHub(t, memory.NewBus().Broker(), func(o *Options) {
		verified(t, &issuer{expires: end})(o)
		o.Transport.Loops = 1
	})
	p, quiet := connect(t, url), connect(t, url)
	p.send(m{"op": 1, "data": m{"token": signedToken("billing-1"), "group": "billing", "features": []string{"drain"}}})
	quiet.send(withToken(signedToken("billing-2"), "billing"))
	for _, c := range []*peer{p, quiet} {
		if f := c.read(); f.Op != 1 {
			t.Fatalf("got %+v", f)
		}
	}
	look := func(before time.Duration) {
		onLoop(h.shards[0], func() {
			for _, s := range slices.Clone(h.groups.everyone.local[0].list) {
				s.checkExpiry(end.Add(-before))
			}
		})()
	}
	look(61 * time.Second)
	if got := p.pong(); len(got) != 0 {
		t.Errorf("too early: %+v", got)
	}
	look(60 * time.Second)
	look(50 * time.Second)
	got := p.pong()
	if len(got) != 1 || got[0].Op != 12 {
		t.Fatalf("got %+v, want one DRAIN", got)
	}
	data, _ := got[0].Data.(m)
	after, _ := data["after_ms"].(float64)
	if data["reason"] != "expiry" || data["deadline_ms"] != 60000.0 || after > 30000 {
		t.Errorf("got %+v, want 60 s and a moment in the first half of it", data)
	}
	if got := quiet.pong(); len(got) != 0 {
		t.Errorf("who did not ask for it got %+v", got)
	}
	look(0)
	p.wantDisconnect("the token ended", "UNAUTHORIZED", 4003)
	quiet.wantDisconnect("the token ended", "UNAUTHORIZED", 4003)
}

func TestExpiryNotice(t *testing.T) {
	t.Parallel()
	for life, want := range map[time.Duration]time.Duration{
		-time.Hour: 0, 0: 0, 20 * time.Second: 2 * time.Second, 10 * time.Minute: time.Minute, 24 * time.Hour: time.Minute,
	} {
		if got := expiryNotice(life); got != want {
			t.Errorf("expiryNotice(%v) = %v, want %v", life, got, want)
		}
	}
}

func TestUnixSeconds(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		at   time.Time
		want uint32
	}{
		{time.Time{}, 0}, {time.Unix(-5, 0), 1}, {time.Unix(0, 0), 1}, {time.Unix(1e9, 1), 1e9}, {time.Unix(1<<40, 0), 1<<32 - 1},
	} {
		if got := unixSeconds(c.at); got != c.want {
			t.Errorf("unixSeconds(%v) = %d, want %d", c.at, got, c.want)
		}
	}
}

// TestCertificate: a client without a token has the rights of its certificate.
func TestCertificate(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	h, _ := startHub(t, memory.NewBus().Broker(), verified(t, &issuer{}))
	config := transport.NewTLSConfig(ca.Issue(t, tlstest.Template{}), ca.Pool())
	addr, err := h.ListenWebSocketTLS(t.Context(), "127.0.0.1:0", func() *tls.Config { return config })
	if err != nil {
		t.Fatal(err)
	}
	dial := func(t *testing.T, certificate *tls.Certificate) *peer {
		t.Helper()
		cfg := &tls.Config{RootCAs: ca.Pool(), ServerName: "127.0.0.1"}
		if certificate != nil {
			cfg.Certificates = []tls.Certificate{*certificate}
		}
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		t.Cleanup(cancel)
		web := &http.Client{Transport: &http.Transport{TLSClientConfig: cfg, DisableKeepAlives: true}}
		conn, _, err := websocket.Dial(ctx, "wss://"+addr.String()+"/", &websocket.DialOptions{HTTPClient: web})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.CloseNow() })
		return &peer{t: t, ctx: ctx, conn: conn}
	}
	billing := ca.Issue(t, tlstest.Template{Name: "x.test", URIs: []string{"spiffe://cluster.local/ns/shop/sa/billing"}})
	named := ca.Issue(t, tlstest.Template{Name: "billing.test"})
	other := ca.Issue(t, tlstest.Template{Name: "other.test"})
	for name, c := range map[string]struct {
		certificate *tls.Certificate
		data        m
		token       string // the name of its entry; empty: refused
		subject     string
	}{
		"uri":              {&billing, m{"group": "billing"}, "mesh", "spiffe://cluster.local/ns/shop/sa/billing"},
		"empty token":      {&billing, m{"group": "billing", "token": ""}, "mesh", "spiffe://cluster.local/ns/shop/sa/billing"},
		"null token":       {&billing, m{"group": "billing", "token": nil}, "mesh", "spiffe://cluster.local/ns/shop/sa/billing"},
		"name":             {&named, m{"group": "billing"}, "named", "billing.test"},
		"token beside":     {&billing, m{"group": "billing", "token": testToken}, "known", ""},
		"signed beside":    {&billing, m{"group": "billing", "token": signedToken("billing-1")}, "billing", "billing-1"},
		"wrong token":      {&billing, m{"group": "billing", "token": "wrong"}, "", ""},
		"wrong group":      {&billing, m{"group": "shop"}, "", ""},
		"no group":         {&billing, m{}, "", ""},
		"bad group":        {&billing, m{"group": "$billing"}, "", ""},
		"nobody's":         {&other, m{"group": "billing"}, "", ""},
		"none":             {nil, m{"group": "billing"}, "", ""},
		"none, with token": {nil, m{"group": "billing", "token": testToken}, "known", ""},
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			p := dial(t, c.certificate)
			p.send(m{"op": 1, "data": c.data})
			if c.token == "" {
				p.wantDisconnect(name, "IDENTIFY_FAILED", 4004)
				return
			}
			if f := p.read(); f.Op != 1 {
				t.Fatalf("got %+v", f)
			}
			page, err := h.Clients(t.Context(), Filter{Group: "billing"}, "", 10)
			if err != nil || len(page.Clients) != 1 || page.Clients[0].Token != c.token || page.Clients[0].Subject != c.subject {
				t.Errorf("operators see %+v, %v, want %s about %q", page.Clients, err, c.token, c.subject)
			}
			p.send(m{"op": 2})
			p.wantDisconnect(name, "NO_REASON", 1000)
			eventually.True(t, "the client to be gone", func() bool { return h.Stats().Clients == 0 })
		})
	}
	t.Run("expiry", func(t *testing.T) {
		end := time.Now().Add(3 * time.Second)
		short := ca.Issue(t, tlstest.Template{URIs: []string{"spiffe://cluster.local/ns/shop/sa/a"}, Expires: time.Until(end)})
		p := dial(t, &short)
		p.send(m{"op": 1, "data": m{"group": "billing"}})
		if f := p.read(); f.Op != 1 {
			t.Fatalf("got %+v", f)
		}
		p.wantDisconnect("the certificate ended", "UNAUTHORIZED", 4003)
		if early := time.Until(end.Truncate(time.Second)); early > 0 {
			t.Errorf("disconnected %v too early", early)
		}
	})
	t.Run("its entry goes", func(t *testing.T) {
		p := dial(t, &billing)
		p.send(m{"op": 1, "data": m{"group": "billing"}})
		if f := p.read(); f.Op != 1 {
			t.Fatalf("got %+v", f)
		}
		h.tokens.Replace(nil)
		h.TokensChanged()
		p.wantDisconnect("its entry is gone", "UNAUTHORIZED", 4003)
	})
}
