package config

import (
	"slices"
	"testing"
	"time"
)

func TestDifferences(t *testing.T) {
	t.Parallel()
	a, b := mustParse(t, nil), mustParse(t, nil)
	if got := Differences(a, b); len(got) > 0 {
		t.Errorf("the same settings differ in %v", got)
	}
	b.LogLevel, b.PingInterval, b.Enable, b.Token = "debug", time.Second, []string{"echo"}, "other"
	if got := Differences(a, b); !slices.Equal(names(got), []string{"enable", "token", "ping-interval", "log-level"}) {
		t.Errorf("got %v", got)
	}
	if a.LogLevel == b.LogLevel || b.Token != "other" {
		t.Error("comparing changed the settings")
	}
	a.Enable, b = []string{}, mustParse(t, nil)
	if got := Differences(a, b); len(got) > 0 {
		t.Errorf("an empty list and none differ: %v", got)
	}
}

func names(settings []Setting) []string {
	var all []string
	for _, s := range settings {
		all = append(all, s.Name)
	}
	return all
}

// TestSettingTags spells out what the tags say: a setting that loses one is noticed here.
func TestSettingTags(t *testing.T) {
	t.Parallel()
	var reload, path, secret []string
	for _, s := range settings() {
		for _, list := range []struct {
			in    bool
			names *[]string
		}{{s.Reload, &reload}, {s.Path, &path}, {s.Secret, &secret}} {
			if list.in {
				*list.names = append(*list.names, s.Name)
			}
		}
	}
	for _, c := range []struct {
		tag       string
		got, want []string
	}{
		{"reload", reload, []string{
			"config", "tls-cert", "tls-key", "tls-client-ca", "fleet-file", "token", "token-file", "tokens-file",
			"redis-username", "redis-username-file", "redis-password", "redis-password-file", "redis-sentinel-username", "redis-sentinel-password-file",
			"redis-ca", "redis-cert", "redis-key", "redis-server-name", "cluster-secret-file", "history", "drain-timeout", "drain-rate", "log-level",
		}},
		{"path", path, []string{
			"config", "tls-cert", "tls-key", "tls-client-ca", "fleet-file", "token-file", "tokens-file", "oidc-jwks", "oidc-ca", "oidc-bearer-file", "issuers-file",
			"redis-username-file", "redis-password-file", "redis-sentinel-password-file", "redis-ca", "redis-cert", "redis-key",
			"cluster-secret-file", "advertise-ca",
		}},
		{"secret", secret, []string{
			"tls-key", "token", "token-file", "oidc-bearer-file", "redis", "redis-password", "redis-password-file",
			"redis-sentinel-password-file", "redis-key", "cluster-secret-file",
		}},
	} {
		if !slices.Equal(c.got, c.want) {
			t.Errorf("tag %s: %q, want %q", c.tag, c.got, c.want)
		}
	}
}

func TestFiles(t *testing.T) {
	t.Parallel()
	s := &Serve{Config: "c", TokenFile: "t", TokensFile: "ts", TLSKey: "k", OIDCJWKS: "keys", Node: "n"}
	if got := s.Files(); !slices.Equal(got, []string{"c", "k", "t", "ts"}) {
		t.Errorf("got %q", got)
	}
}
