package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mastersocket/mastersocket/client"
	"github.com/mastersocket/mastersocket/internal/hubtest"
	"github.com/mastersocket/mastersocket/internal/tlstest"
)

// TestCertificateForToken: a client certificate stands for a token, with the SDK and with the commands, until its entry is
// taken out of the tokens file.
func TestCertificateForToken(t *testing.T) {
	t.Parallel()
	ca, dir := tlstest.NewAuthority(t), t.TempDir()
	tlstest.Write(t, dir, ca.Issue(t, tlstest.Template{}))
	file := tlstest.WriteFile(t, dir, "ca.crt", ca.PEM())
	tokens := filepath.Join(dir, "tokens.yaml")
	writeFile(t, tokens, tokensYAML("a")+"  - {name: mine, certificate: {cn: mine.test}, groups: [\"*\"], send: [\"*\"]}\n")
	s := hubtest.Start(t, hubtest.Options{Token: "none", TLS: true, Flags: append(tlsFlagsOf(dir), "--tokens-file", tokens)})
	x := tools{t, []string{"MASTERSOCKET_URL=wss://" + s.TLSAddr}}
	for cn, want := range map[string]string{"mine.test": "NO_RECEIVER", "other.test": "IDENTIFY_FAILED"} {
		cert, key := tlstest.Write(t, t.TempDir(), ca.Issue(t, tlstest.Template{Name: cn}))
		x.start("", "pub", "--ca", file, "--cert", cert, "--key", key, "--to", "GROUP:g", "--event", "hi").want(1, "", want)
	}

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	lost := make(chan error, 16)
	cl, err := client.Connect(ctx, client.Options{
		URL: "wss://" + s.TLSAddr, Group: "g",
		TLSConfig:    &tls.Config{RootCAs: ca.Pool(), Certificates: []tls.Certificate{ca.Issue(t, tlstest.Template{Name: "mine.test"})}},
		OnDisconnect: func(err error) { lost <- err },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cl.Close(context.Background()) }()
	writeFile(t, tokens, tokensYAML("a"))
	select {
	case err := <-lost:
		if !strings.Contains(fmt.Sprint(err), "UNAUTHORIZED") {
			t.Errorf("the client was disconnected with %v", err)
		}
	case <-ctx.Done():
		t.Error("the client whose entry is gone stays")
	}
}
