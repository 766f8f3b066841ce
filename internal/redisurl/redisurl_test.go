package redisurl

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]URL{
		"redis://":                      {Addrs: []string{"localhost:6379"}},
		"redis://h":                     {Addrs: []string{"h:6379"}},
		"redis://h/":                    {Addrs: []string{"h:6379"}},
		"redis://:7000":                 {Addrs: []string{"localhost:7000"}},
		"redis://u:p%40%2F@h:1/2":       {Addrs: []string{"h:1"}, Username: "u", Password: "p@/", DB: 2},
		"redis://u:p@ss:w@h":            {Addrs: []string{"h:6379"}, Username: "u", Password: "p@ss:w"},
		"redis://:p#w@h":                {Addrs: []string{"h:6379"}, Password: "p#w"},
		"redis://:p@[::1]:7":            {Addrs: []string{"[::1]:7"}, Password: "p"},
		"redis://[::1]":                 {Addrs: []string{"[::1]:6379"}},
		"unix:///run/redis.sock?db=3":   {Network: "unix", Addrs: []string{"/run/redis.sock"}, DB: 3},
		"unix://:p@/run/a@b":            {Network: "unix", Addrs: []string{"/run/a@b"}, Password: "p"},
		"redis+sentinel://a,b:1,c/main": {Kind: Sentinel, Addrs: []string{"a:26379", "b:1", "c:26379"}, Master: "main"},
		"redis+sentinel://u:p@a/main/4": {Kind: Sentinel, Addrs: []string{"a:26379"}, Master: "main", DB: 4, Username: "u", Password: "p"},
		"redis+sentinel://a/m?sentinel_username=x&sentinel_password=y@z": {
			Kind: Sentinel, Addrs: []string{"a:26379"}, Master: "m", SentinelUsername: "x", SentinelPassword: "y@z",
		},
		"redis+cluster://a,b:7001":                {Kind: Cluster, Addrs: []string{"a:6379", "b:7001"}, Sharded: true},
		"redis+cluster://p@ss:w@a/?sharded=false": {Kind: Cluster, Addrs: []string{"a:6379"}, Username: "p@ss", Password: "w"},
		"rediss://h":                                   {TLS: true, Addrs: []string{"h:6379"}},
		"rediss+sentinel://h/m?skip_verify=true":       {Kind: Sentinel, TLS: true, SkipVerify: true, Addrs: []string{"h:26379"}, Master: "m"},
		"rediss+cluster://h?skip_verify=0&sharded=yes": {},
		"rediss+cluster://h?skip_verify=0&sharded=1":   {Kind: Cluster, TLS: true, Sharded: true, Addrs: []string{"h:6379"}},
	} {
		got, err := Parse(raw)
		if want.Addrs == nil {
			if err == nil {
				t.Errorf("%s was accepted", raw)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", raw, err)
			continue
		}
		if want.Network == "" {
			want.Network = "tcp"
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", raw, d)
		}
	}
}

// refused are malformed; where they hold "secret", that is a part of a password.
var refused = []string{
	"", "localhost:6379", "http://h", "redis+cluster:h", "redis:secret://x@h", "secret://h", "redis://h/x", "redis://h/-1",
	"redis://h/+1", "redis://h/1/2", "redis://a,b", "redis://h:0", "redis://h:99999", "redis://h:x", "redis://h:",
	"redis://h:+1", "redis://:secret@h:1:2/%zz", "redis://:secret@h/%zz", "redis://%zz:secret@h", "redis://h?nope=1",
	"redis://h?skip_verify=true", "rediss://h?skip_verify=maybe", "redis+cluster://h/1", "redis+cluster://h?sharded=x",
	"redis+cluster://h?sharded=1&sharded=0", "redis+sentinel://h", "redis+sentinel://h/m/x", "redis+sentinel://h/m/1/2",
	"redis+sentinel://a,,b/m", "unix://host/path", "unix://", "unix:///", "redis://h?db=1", "unix:///s?db=x", "unix:///s?db=",
	"redis://h/0#x", "redis://h?#x", "redis://h?%zz", "redis://h?a;b", "redis://[::1", "redis://[h]", "redis://[1.2.3.4]",
	"redis://::1:6379", "redis://a b", "redis://localhost:6379/notanumber",

	"redis://:p@secret/word@h", "redis://:p@secret/3@h/0", "redis://:p@h/secret@h", "redis://:p/secret@h",
	"redis://:p?secret@h", "redis://:p@x?secret@h", "redis://:p@x?secret=1@h", "redis://:p@x?db=secret@h",
	"rediss://:p@x?skip_verify=secret@h", "redis+sentinel://:p@x/secret@h/m", "redis+sentinel://:p@secret/word@h/5",
	"redis+cluster://:p@x/secret@h", "redis+cluster://:p@x?sharded=secret@h", "unix://:p/secret@/s",
	"redis://:p@x:secret/w@h", "redis://:p%@secret/w@h", "redis://:secret%zz@h", "redis://:p@[secret]/w@h",
}

func TestRefused(t *testing.T) {
	t.Parallel()
	for _, raw := range refused {
		u, err := Parse(raw)
		switch {
		case err == nil:
			t.Errorf("%q was accepted: %+v", raw, u)
		case !errors.Is(err, ErrInvalid):
			t.Errorf("%q: %v is no ErrInvalid", raw, err)
		case strings.Contains(err.Error(), "secret"):
			t.Errorf("%q: the error holds a part of the password: %v", raw, err)
		}
	}
}

func TestStringHoldsNoCredentials(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"redis://name:secret@h/2": "h:6379 database 2",
		"redis+sentinel://name:secret@a,b/m?sentinel_username=name&sentinel_password=secret": "a:26379,b:26379/m",
	} {
		u, err := Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%v", u); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// FuzzParse puts any password, encoded or not, into URLs: encoded it comes out as it was; and no error shows it.
func FuzzParse(f *testing.F) {
	for _, raw := range refused {
		f.Add(raw, "p@ss/w?rd#%")
	}
	f.Add("redis://h", "a")
	f.Fuzz(func(t *testing.T, raw, password string) {
		u, err := Parse(raw)
		if err == nil {
			if len(u.Addrs) == 0 {
				t.Fatalf("%q: no address", raw)
			}
			for _, addr := range u.Addrs {
				if _, port, err := net.SplitHostPort(addr); u.Network == "tcp" && (err != nil || port == "") {
					t.Errorf("%q: address %q: %v", raw, addr, err)
				}
			}
		}
		for _, scheme := range []string{"redis", "redis+sentinel", "rediss+cluster", "unix"} {
			u, err := Parse(scheme + "://:" + url.PathEscape(password) + "@/name")
			if scheme == "redis" || scheme == "rediss+cluster" {
				continue // a path that isn't a database
			}
			if err != nil || u.Password != password {
				t.Errorf("%s with password %q: %q, %v", scheme, password, u.Password, err)
			}
		}
		const mark = "ZQ9XJ" // occurs in no message
		if _, err := Parse("redis://:" + password + mark + "@h:x"); err != nil && strings.Contains(err.Error(), mark) {
			t.Errorf("the error holds a part of the password: %v", err)
		}
	})
}
