package broker

import (
	"crypto/tls"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestParseTarget(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]target{
		"redis://":                      {addrs: []string{"localhost:6379"}},
		"redis://h":                     {addrs: []string{"h:6379"}},
		"redis://u:p%40%2F@h:1/2":       {addrs: []string{"h:1"}, username: "u", password: "p@/", db: 2},
		"redis://:p@[::1]:7":            {addrs: []string{"[::1]:7"}, password: "p"},
		"redis://[::1]":                 {addrs: []string{"[::1]:6379"}},
		"unix:///run/redis.sock?db=3":   {network: "unix", addrs: []string{"/run/redis.sock"}, db: 3},
		"redis+sentinel://a,b:1,c/main": {kind: targetSentinel, addrs: []string{"a:26379", "b:1", "c:26379"}, master: "main"},
		"redis+sentinel://u:p@a/main/4": {kind: targetSentinel, addrs: []string{"a:26379"}, master: "main", db: 4, username: "u", password: "p"},
		"redis+sentinel://a/m?sentinel_username=x&sentinel_password=y": {kind: targetSentinel, addrs: []string{"a:26379"}, master: "m", sentinelUsername: "x", sentinelPassword: "y"},
		"redis+cluster://a,b:7001":                                     {kind: targetCluster, addrs: []string{"a:6379", "b:7001"}, sharded: true},
		"redis+cluster://p@ss:w@a/?sharded=false":                      {kind: targetCluster, addrs: []string{"a:6379"}, username: "p@ss", password: "w"},
	} {
		got, err := parseTarget(url, nil)
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		if want.network == "" {
			want.network = "tcp"
		}
		if d := cmp.Diff(want, *got, cmp.AllowUnexported(target{}), cmpopts.IgnoreFields(target{}, "tls")); d != "" {
			t.Errorf("%s: %s", url, d)
		}
		if got.tls != nil {
			t.Errorf("%s: TLS", url)
		}
	}
}

func TestParseTargetTLS(t *testing.T) {
	t.Parallel()
	config := &tls.Config{ServerName: "pinned"}
	for _, url := range []string{"rediss://h", "rediss+sentinel://h/m?skip_verify=true", "rediss+cluster://h?skip_verify=false"} {
		got, err := parseTarget(url, config)
		if err != nil {
			t.Fatal(err)
		}
		if got.tls == nil || got.tls.ServerName != "pinned" || got.tls.InsecureSkipVerify != strings.Contains(url, "true") {
			t.Errorf("%s: %+v", url, got.tls)
		}
	}
	if config.InsecureSkipVerify {
		t.Error("the caller's configuration was changed")
	}
	got, err := parseTarget("rediss://h", nil)
	if err != nil || got.tls == nil || got.tls.MinVersion < tls.VersionTLS12 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestParseTargetRefused(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"", "localhost:6379", "http://h", "redis+cluster:h", "redis://h/x", "redis://h/-1", "redis://h/1/2", "redis://a,b",
		"redis://h:0", "redis://h:99999", "redis://h:x", "redis://:secret@h:1:2/%zz", "redis://%zz:secret@h", "redis://h?nope=1",
		"redis://h?skip_verify=true", "rediss://h?skip_verify=maybe", "redis+cluster://h/1", "redis+cluster://h?sharded=x",
		"redis+sentinel://h", "redis+sentinel://h/m/x", "redis+sentinel://h/m/1/2", "unix://host/path", "unix://", "redis://h?db=1",
		"unix:///s?db=x",
	} {
		_, err := parseTarget(url, nil)
		if err == nil {
			t.Errorf("%q was accepted", url)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: the error holds the password: %v", url, err)
		}
	}
}
