package main

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mastersocket/mastersocket/internal/config"
	"github.com/mastersocket/mastersocket/internal/hubtest"
)

// TestAddressInUse checks that a hub that can't listen says which setting the address is from, with the line where it
// stands in a file, and how to see which process has the port.
func TestAddressInUse(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	for flag, others := range map[string][]string{
		"--listen":       {"--admin-listen=off"},
		"--tcp-listen":   {"--listen=127.0.0.1:0", "--admin-listen=off"},
		"--admin-listen": {"--listen=127.0.0.1:0"},
	} {
		args := append([]string{"serve", flag, "127.0.0.1:" + port}, others...)
		start(t, nil, []string{"MASTERSOCKET_TOKEN=" + hubtest.Token}, args...).want(1, "",
			fmt.Sprintf("mastersocket: %s: listen on 127.0.0.1:%s: address already in use; see which process has it: ss -tanp 'sport = :%s'\n", flag, port, port))
	}
}

// TestAddressInUseFromFile checks that an error of the start names the file and the line, as config check does.
func TestAddressInUseFromFile(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	file := filepath.Join(t.TempDir(), "hub.yaml")
	if err := os.WriteFile(file, []byte("admin-listen: off\nlisten: "+l.Addr().String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, nil, []string{"MASTERSOCKET_TOKEN=" + hubtest.Token}, "serve", "--config", file).want(1, "",
		"mastersocket: "+file+":2: listen: listen on "+l.Addr().String()+": address already in use")
}

func TestExplainListen(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]error{
		"--listen: listen on :1: permission denied; a port below 1024 needs root or the capability CAP_NET_BIND_SERVICE": fmt.Errorf("x: %w", unix.EACCES),
		"--listen: listen on :1: cannot assign requested address; no interface of this machine has it":                   unix.EADDRNOTAVAIL,
		"--listen: no such host": errors.New("no such host"),
	} {
		if got := explainListen("--listen", config.Address(":1"), err).Error(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestFewFiles: a hub whose limit of open files leaves room for few clients, or for fewer than it was told, says so.
func TestFewFiles(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		wanted, limit int
		warning       string
	}{
		{0, 1, "the limit of open files leaves room for few connections"},
		{1000, 999, "--max-connections: the limit of open files leaves room for fewer"},
		{0, 19872, ""},
		{10, 10, ""}, // few, and as it was told
	} {
		var out bytes.Buffer
		c := serveCmd{Serve: config.Serve{MaxConnections: tt.wanted}}
		c.warnOfLimit(tt.limit, slog.New(slog.NewTextHandler(&out, nil)))
		if got := out.String(); !strings.Contains(got, tt.warning) || tt.warning == "" && got != "" {
			t.Errorf("%d wanted, %d to be had: logged %q, want %q", tt.wanted, tt.limit, got, tt.warning)
		}
	}
}
