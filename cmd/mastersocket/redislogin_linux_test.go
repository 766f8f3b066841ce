package main

import (
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/freeport"
	"github.com/mastersocket/mastersocket/internal/hubtest"
	"github.com/mastersocket/mastersocket/internal/redistest"
	"github.com/mastersocket/mastersocket/internal/tlstest"
)

// TestRedisPasswordRotates changes the password in Redis and in its file, and breaks all connections. The hub must come
// back by itself. The passwords are of characters that a URL can't have as they are.
func TestRedisPasswordRotates(t *testing.T) {
	t.Parallel()
	const first, second = "p@ss/w:o?rd#%1", "p@ss/w:o?rd#%2"
	server := redistest.Start(t)
	server.Do("ACL", "SETUSER", "hub", "on", ">"+first, "~*", "&*", "+@all")
	file := filepath.Join(t.TempDir(), "password")
	writeFile(t, file, first+"\n")
	s := hubtest.Start(t, hubtest.Options{Flags: []string{"--redis", "redis://hub@" + server.Addr(), "--redis-password-file", file}})
	connected := func() bool { return strings.Contains(server.Do("CLIENT", "LIST"), "user=hub") }
	eventually.True(t, "the hub to sign in", connected)

	mark := s.LogMark()
	server.Do("ACL", "SETUSER", "hub", "resetpass", ">"+second)
	writeFile(t, file, second+"\n")
	s.WaitLog(mark, patience, func(l hubtest.Line) bool {
		return l["msg"] == "configuration reloaded" && l["changed"] == "redis-login"
	})
	server.Do("CLIENT", "KILL", "USER", "hub")
	eventually.True(t, "the hub to sign in with the new password", connected)
	for _, line := range s.Log() {
		if strings.Contains(line, "p@ss") {
			t.Errorf("the log has the password: %s", line)
		}
	}
}

// TestRedisCertificates: a Redis with a certificate of a private authority, for a name that is not its address, asks for a
// client certificate. All of them come from files, and the client certificate is replaced while the hub runs.
func TestRedisCertificates(t *testing.T) {
	t.Parallel()
	authority, stranger := tlstest.NewAuthority(t), tlstest.NewAuthority(t)
	folder, serverFolder := t.TempDir(), t.TempDir()
	ca := tlstest.WriteFile(t, folder, "ca.pem", authority.PEM())
	serverCert, serverKey := tlstest.Write(t, serverFolder, authority.Issue(t, tlstest.Template{Name: "redis.test"}))
	port := strconv.Itoa(freeport.Take(t))
	addr := net.JoinHostPort("127.0.0.1", port)
	server := redistest.Start(t, "--tls-port", port, "--tls-cert-file", serverCert, "--tls-key-file", serverKey, "--tls-ca-cert-file", ca)
	server.Do("ACL", "SETUSER", "hub", "on", ">pw", "~*", "&*", "+@all") // to tell its connections from those of the test

	cert, key := tlstest.Write(t, folder, stranger.Issue(t, tlstest.Template{Name: "hub"}))
	s := hubtest.Start(t, hubtest.Options{Flags: []string{
		"--redis", "rediss://hub:pw@" + addr, "--redis-ca", ca, "--redis-cert", cert, "--redis-key", key, "--redis-server-name", "redis.test",
	}})
	connected := func() bool { return strings.Contains(server.Do("CLIENT", "LIST"), "user=hub") }
	if connected() {
		t.Error("a client certificate of another authority is accepted: the test shows nothing")
	}
	tlstest.Write(t, folder, authority.Issue(t, tlstest.Template{Name: "hub"}))
	eventually.True(t, "the hub to sign in with the new certificate", connected)
	if strings.Contains(strings.Join(s.Log(), "\n"), "PRIVATE KEY") {
		t.Error("the log has a key")
	}
}
