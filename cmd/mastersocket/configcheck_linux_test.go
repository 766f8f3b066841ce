package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestServeAndCheckAgree: what config check refuses serve refuses, and the other way round, in the same words.
func TestServeAndCheckAgree(t *testing.T) {
	t.Parallel()
	for _, settings := range []string{
		// Redis URLs that an earlier checker let pass.
		"redis: redis://localhost:6379/notanumber",
		"redis: redis://localhost:6379/-1",
		"redis: redis://localhost:6379/1/2",
		"redis: redis://a,b",
		"redis: redis://localhost:0",
		"redis: redis://localhost:99999",
		"redis: redis://localhost?nope=1",
		"redis: redis://localhost?skip_verify=true",
		"redis: rediss://localhost?skip_verify=maybe",
		"redis: redis+cluster://localhost/1",
		"redis: redis+cluster://localhost?sharded=maybe",
		"redis: redis+sentinel://localhost",
		"redis: redis+sentinel://localhost/main/x",
		"redis: unix://host/path",
		"redis: unix:///path?db=x",
		"redis: redisss://localhost",
		"redis: redis://u:se@/zzz@localhost",
		// Origins.
		"allowed-origins: https://app.example.com:99999",
		"allowed-origins: [https://a.b/, 'https://*', 'https://[::1', wss://a.b, 'https://a b']",
		// Other settings, and files that they name.
		"nod: a\nloops: 0100\nmax-connections: many",
		"listen: :42069\nadmin-listen: :42069",
		"token: 'a b'", "token: '7391'", "token-file: none", "tokens-file: none",
		"tls-listen: ':1'", "tls-cert: none\ntls-key: none",
		"oidc-issuer: http://a.example",
		"redis-password-file: none",
		"redis: redis://h\ncluster-secret-file: none\nredis-password-file: none",
		"redis: redis://h\nmax-message-bytes: 16MiB\nsend-queue-bytes: 32MiB",
		"<<: {loops: 1}\nloops: 2\n---\nloops: 3",
	} {
		file := filepath.Join(t.TempDir(), "hub.yaml")
		writeFile(t, file, settings)
		code, out, checked := inProcess("", "config", "check", file)
		if code != 2 || out != "" || !strings.Contains(checked, file+":") {
			t.Errorf("config check of %q: %d, %q, %q; want 2 and the file with a line", settings, code, out, checked)
			continue // serve would not return
		}
		code, _, served := inProcess("", "serve", "--config", file)
		if code != 2 || served != checked {
			t.Errorf("%q: serve ended with %d and says\n%s\nconfig check says\n%s", settings, code, served, checked)
		}
		if strings.Contains(checked, "zzz") {
			t.Errorf("the error has a part of the password: %s", checked)
		}
	}
}

// TestOctalNumbers: a number with a leading zero means different things to different readers.
func TestOctalNumbers(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"serve", "--max-connections=0100"}, {"serve", "--loops=0x2"}, {"sub", "-g", "x", "--count=010"}, {"echo", "load", "--clients=1_000"},
	} {
		if code, _, stderr := inProcess("", args...); code != 2 || !strings.Contains(stderr, "is not a whole number in decimal") {
			t.Errorf("%q: %d, %q", args, code, stderr)
		}
	}
}
