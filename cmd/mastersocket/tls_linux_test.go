package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/client"
	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/hubtest"
	"github.com/mastersocket/mastersocket/internal/tlstest"
)

// tlsFlagsOf returns the flags of serve for a folder with tls.crt, tls.key and ca.crt.
func tlsFlagsOf(folder string) []string {
	return []string{
		"--tls-cert=" + filepath.Join(folder, "tls.crt"), "--tls-key=" + filepath.Join(folder, "tls.key"),
		"--tls-client-ca=" + filepath.Join(folder, "ca.crt"),
	}
}

// tlsSecret returns the files of a Secret with a certificate of the authority.
func tlsSecret(t *testing.T, ca *tlstest.Authority, want tlstest.Template) map[string]string {
	t.Helper()
	cert, key := tlstest.PEM(t, ca.Issue(t, want))
	return map[string]string{"tls.crt": string(cert), "tls.key": string(key), "ca.crt": string(ca.PEM())}
}

// TestTLSCommands: the commands connect to a hub over TLS if they trust its authority, and not otherwise.
func TestTLSCommands(t *testing.T) {
	t.Parallel()
	ca, dir := tlstest.NewAuthority(t), t.TempDir()
	tlstest.Write(t, dir, ca.Issue(t, tlstest.Template{}))
	file := tlstest.WriteFile(t, dir, "ca.crt", ca.PEM())
	s := hubtest.Start(t, hubtest.Options{TLS: true, Flags: tlsFlagsOf(dir)})
	x := tools{t, []string{"MASTERSOCKET_URL=wss://" + s.TLSAddr, "MASTERSOCKET_TOKEN=" + s.Token}}

	sub := x.sub("--ca", file, "--group", "g", "--count", "1", "--json")
	x.start("", "pub", "--ca", file, "--to", "GROUP:g", "--event", "hi", `{"n":1}`).want(0, "", "")
	if sub.code() != 0 || !strings.Contains(sub.out.String(), `"n":1`) {
		t.Errorf("sub printed %s%s", sub.out, sub.err)
	}
	x.start("", "request", "--ca", file, "--to", "GROUP:nobody", "--event", "hi", "--timeout", "100ms").code()
	x.start("", "pub", "--to", "GROUP:g", "--event", "hi").want(1, "", "certificate signed by unknown authority")
	x.start("", "pub", "--to", "GROUP:g", "--event", "hi").want(1, "", "name its file: --ca FILE")
	x.start("", "pub", "--url", "ws://"+s.TLSAddr, "--to", "GROUP:g", "--event", "hi").want(1, "", "wss:// in place of ws://")
	x.start("", "pub", "--url", "wss"+strings.TrimPrefix(s.URL(), "ws"), "--to", "GROUP:g", "--event", "hi").want(1, "", "ws:// in place of wss://")
	x.start("", "pub", "--cert", file, "--to", "GROUP:g", "--event", "hi").want(2, "", "--cert and --key: want both or none")
	x.start("", "pub", "--ca", "/none", "--to", "GROUP:g", "--event", "hi").want(2, "", "--ca: open /none")

	// A certificate of an authority that the hub does not know is refused, one that it knows is let in with a token.
	mine, other := t.TempDir(), t.TempDir()
	cert, key := tlstest.Write(t, mine, ca.Issue(t, tlstest.Template{Name: "me"}))
	x.start("", "pub", "--ca", file, "--cert", cert, "--key", key, "--to", "GROUP:g", "--event", "hi").want(1, "", "NO_RECEIVER")
	cert, key = tlstest.Write(t, other, tlstest.NewAuthority(t).Issue(t, tlstest.Template{Name: "me"}))
	foreign := x.start("", "pub", "--ca", file, "--cert", cert, "--key", key, "--to", "GROUP:g", "--event", "hi")
	foreign.want(1, "", "certificate")
}

// TestReloadOfCertificates: a Secret changes while clients are connected. They stay; later connections see the new
// certificate; a bad one changes nothing.
func TestReloadOfCertificates(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	m := &configMap{t: t, dir: t.TempDir()}
	m.put(tlsSecret(t, ca, tlstest.Template{Name: "one.test"}))
	s := hubtest.Start(t, hubtest.Options{TLS: true, Flags: tlsFlagsOf(m.dir)})
	o := operator{t, "http://" + s.AdminAddr, s.Token}
	shown := func() string {
		conn, err := tls.Dial("tcp", s.TLSAddr, &tls.Config{RootCAs: ca.Pool()})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].Subject.CommonName
	}
	end := func() string { return o.metric("mastersocket_tls_certificate_expiry_timestamp_seconds") }
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	lost := make(chan error, 1)
	early, err := client.Connect(ctx, client.Options{
		URL: "wss://" + s.TLSAddr, Token: s.Token, Group: "g", TLSConfig: &tls.Config{RootCAs: ca.Pool()},
		OnDisconnect: func(err error) { lost <- err },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = early.Close(ctx) }()
	if got := shown(); got != "one.test" {
		t.Errorf("the listener shows %q", got)
	}
	before := end()

	m.put(tlsSecret(t, ca, tlstest.Template{Name: "two.test", Expires: 2 * time.Hour}))
	eventually.True(t, "the new certificate", func() bool { return shown() == "two.test" })
	if end() == before {
		t.Error("the metric has the end of the old certificate")
	}

	bad := tlsSecret(t, ca, tlstest.Template{Name: "three.test"})
	bad["tls.key"] = tlsSecret(t, ca, tlstest.Template{})["tls.key"]
	m.put(bad)
	eventually.True(t, "the refusal", func() bool { return o.metric(`mastersocket_reload_total{result="failure"}`) == "1" })
	if got := shown(); got != "two.test" {
		t.Errorf("with a bad key the listener shows %q", got)
	}
	if !slices.ContainsFunc(s.Log(), func(line string) bool { return strings.Contains(line, "private key does not match public key") }) {
		t.Error("the log does not say what is wrong")
	}

	m.put(tlsSecret(t, ca, tlstest.Template{Name: "four.test", Expires: -time.Hour}))
	eventually.True(t, "a warning of a certificate that has expired", func() bool {
		return slices.ContainsFunc(s.Log(), func(line string) bool {
			return strings.Contains(line, "level=WARN") && strings.Contains(line, "expired at")
		})
	})

	if err := early.Send(ctx, client.Group("g"), "still", "here"); err != nil {
		t.Error(err)
	}
	select {
	case err := <-lost:
		t.Errorf("the client that was connected was disconnected: %v", err)
	default:
	}
	if n := o.metric(`mastersocket_tls_handshakes_total{result="done"}`); n == "0" || n == "" {
		t.Errorf("%q handshakes are counted", n)
	}
}

// TestAdminTLS: the admin listener serves over TLS, and takes a certificate for a token.
func TestAdminTLS(t *testing.T) {
	t.Parallel()
	ca, dir := tlstest.NewAuthority(t), t.TempDir()
	tlstest.Write(t, dir, ca.Issue(t, tlstest.Template{}))
	tlstest.WriteFile(t, dir, "ca.crt", ca.PEM())
	writeFile(t, filepath.Join(dir, "tokens.yaml"), tokensYAML("a")+`
  - {name: root, certificate: {cn: root.test}, admin: true}
  - {name: service, certificate: {cn: service.test}, groups: ["*"]}
`)
	s := hubtest.Start(t, hubtest.Options{Token: "none", Flags: append(tlsFlagsOf(dir), "--admin-tls",
		"--tokens-file", filepath.Join(dir, "tokens.yaml"))})
	ask := func(cn, token string) (int, error) {
		cfg := &tls.Config{RootCAs: ca.Pool()}
		if cn != "" {
			cfg.Certificates = []tls.Certificate{ca.Issue(t, tlstest.Template{Name: cn})}
		}
		tr := &http.Transport{TLSClientConfig: cfg, DisableKeepAlives: true}
		defer tr.CloseIdleConnections()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+s.AdminAddr+"/v1/clients", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := (&http.Client{Transport: tr, Timeout: patience}).Do(r)
		if err != nil {
			return 0, err
		}
		defer resp.Body.Close()
		return resp.StatusCode, nil
	}
	for _, tt := range []struct {
		cn, token string
		want      int
	}{
		{"", "", 401},
		{"", operatorToken, 200},
		{"root.test", "", 200},
		{"root.test", "wrong", 401},
		{"service.test", "", 403},
		{"service.test", operatorToken, 200},
		{"unknown.test", "", 401},
	} {
		if got, err := ask(tt.cn, tt.token); got != tt.want || err != nil {
			t.Errorf("certificate %q, token %t: %d, %v, want %d", tt.cn, tt.token != "", got, err, tt.want)
		}
	}
	resp, err := http.Get("http://" + s.AdminAddr + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusBadRequest {
		t.Errorf("plain HTTP is answered with %s", resp.Status)
	}
	start(t, nil, nil, "health", "--url", fmt.Sprintf("https://%s/readyz", s.AdminAddr)).want(0, "ready\n", "")
}

// TestTLSBadSettings: the hub does not start with files that are of no use, and says why.
func TestTLSBadSettings(t *testing.T) {
	t.Parallel()
	code, log := hubtest.StartBad(t, hubtest.Options{TLS: true, Flags: []string{"--tls-cert=/none/a", "--tls-key=/none/b"}})
	if text := strings.Join(log, "\n"); code != 2 || !strings.Contains(text, "--tls-cert: can't read /none/a: no such file") {
		t.Errorf("ended with %d:\n%s", code, text)
	}
}

// TestTLSAlone: with --listen off the hub serves nothing without TLS.
func TestTLSAlone(t *testing.T) {
	t.Parallel()
	ca, dir := tlstest.NewAuthority(t), t.TempDir()
	tlstest.Write(t, dir, ca.Issue(t, tlstest.Template{}))
	file := tlstest.WriteFile(t, dir, "ca.crt", ca.PEM())
	c := start(t, nil, []string{"MASTERSOCKET_TOKEN=" + hubtest.Token}, append([]string{
		"serve", "--listen=off", "--admin-listen=off", "--tls-listen=127.0.0.1:0",
	}, tlsFlagsOf(dir)...)...)
	c.err.waitFor(t, "listener=tls addr=")
	_, rest, _ := strings.Cut(c.err.String(), "listener=tls addr=")
	addr, _, _ := strings.Cut(rest, " ")
	x := tools{t, []string{"MASTERSOCKET_URL=wss://" + addr, "MASTERSOCKET_TOKEN=" + hubtest.Token}}
	x.start("", "pub", "--ca", file, "--to", "GROUP:g", "--event", "hi").want(1, "", "NO_RECEIVER")
	if strings.Contains(c.err.String(), "listener=hub") {
		t.Error("it listens without TLS")
	}
}
