package handshake

import (
	"strconv"
	"strings"
	"testing"
)

func TestOriginPolicy(t *testing.T) {
	t.Parallel()
	policies := map[string][]string{
		"own":   nil,
		"all":   {"*"},
		"null":  {"null"},
		"exact": {"https://app.example", "HTTP://Dev.Example:8080", "https://[::1]:8443", "chrome-extension://abcdef"},
		"file":  {"file://"},
		"ports": {"http://localhost:*", "http://[::1]:*", "https://*.app.example:*"},
		"wild":  {"https://*.app.example", "http://*.app.example:8080"},
	}
	for _, tc := range []struct {
		policy, origin, host string
		want                 bool
	}{
		{"own", "http://hub.example", "hub.example", true},
		{"own", "https://hub.example", "hub.example", true}, // a proxy ended TLS
		{"own", "https://HUB.example", "hub.EXAMPLE", true},
		{"own", "https://hub.example", "hub.example:443", true},
		{"own", "https://hub.example:443", "hub.example", true},
		{"own", "http://hub.example", "hub.example:80", true},
		{"own", "http://hub.example:42069", "hub.example:42069", true},
		{"own", "http://[::1]:42069", "[::1]:42069", true},
		{"own", "http://hub.example:", "hub.example", true},
		{"own", "https://hub.example", "hub.example:80", false},
		{"own", "http://hub.example", "hub.example:443", false},
		{"own", "http://hub.example", "hub.example:42069", false},
		{"own", "http://hub.example:42069", "hub.example", false},
		{"own", "http://evil.example", "hub.example", false},
		{"own", "http://hub.example.evil.example", "hub.example", false},
		{"own", "http://xhub.example", "hub.example", false},
		{"own", "http://hub.example@evil.example", "hub.example", false},
		{"own", "http://evil.example#hub.example", "hub.example", false},
		{"own", "chrome-extension://hub.example", "hub.example", false},
		{"own", "hub.example", "hub.example", false},
		{"own", "://hub.example", "hub.example", false},
		{"own", "http://", "hub.example", false},
		{"own", "http://hub.example/", "hub.example", false},
		{"own", "http://hub.example http://evil.example", "hub.example", false},
		{"own", "null", "null", false},
		{"own", "", "hub.example", false},
		{"all", "https://evil.example", "hub.example", true},
		{"all", "null", "hub.example", true},
		{"all", "nonsense", "hub.example", true},
		{"null", "null", "hub.example", true},
		{"null", "NULL", "hub.example", false},
		{"null", "https://evil.example", "hub.example", false},
		{"exact", "https://app.example", "hub.example", true},
		{"exact", "https://app.example:443", "hub.example", true},
		{"exact", "https://hub.example", "hub.example", true},
		{"exact", "http://dev.example:8080", "hub.example", true},
		{"exact", "https://[::1]:8443", "hub.example", true},
		{"exact", "chrome-extension://abcdef", "hub.example", true},
		{"exact", "chrome-extension://abcdeg", "hub.example", false},
		{"exact", "http://app.example", "hub.example", false},
		{"exact", "https://app.example:8443", "hub.example", false},
		{"exact", "https://a.app.example", "hub.example", false},
		{"exact", "http://dev.example", "hub.example", false},
		{"exact", "null", "hub.example", false},
		{"wild", "https://a.app.example", "hub.example", true},
		{"wild", "https://a.b.APP.example:443", "hub.example", true},
		{"wild", "http://a.app.example:8080", "hub.example", true},
		{"wild", "https://app.example", "hub.example", false},
		{"wild", "https://.app.example", "hub.example", false},
		{"wild", "https://evilapp.example", "hub.example", false},
		{"wild", "https://a.app.example.evil.example", "hub.example", false},
		{"wild", "http://a.app.example", "hub.example", false},
		{"wild", "https://a.app.example:8080", "hub.example", false},
		{"file", "file://", "hub.example", true},
		{"file", "file:///", "hub.example", false},
		{"file", "file://evil.example", "hub.example", false},
		{"file", "null", "hub.example", false},
		{"exact", "file://", "hub.example", false},
		{"ports", "http://localhost", "hub.example", true},
		{"ports", "http://localhost:5173", "hub.example", true},
		{"ports", "http://[::1]:5173", "hub.example", true},
		{"ports", "https://a.app.example:8443", "hub.example", true},
		{"ports", "https://localhost:5173", "hub.example", false},
		{"ports", "http://localhost.evil.example:5173", "hub.example", false},
		{"ports", "https://app.example:8443", "hub.example", false},
	} {
		p, err := ParseOrigins(policies[tc.policy])
		if err != nil {
			t.Fatal(err)
		}
		if got := p.allows([]byte(tc.origin), []byte(tc.host)); got != tc.want {
			t.Errorf("%s: origin %q to host %q: %v, want %v", tc.policy, tc.origin, tc.host, got, tc.want)
		}
		if !p.allows(nil, []byte(tc.host)) {
			t.Errorf("%s: a client without an Origin is refused", tc.policy)
		}
	}
}

func TestParseOriginsErrors(t *testing.T) {
	t.Parallel()
	for _, entry := range []string{
		"", " ", "app.example", "https://", "https:///", "https://app.example/", "https://app.example/path",
		"https://app.example?x", "https://app.example:x", "https://app.example:65536", "https://u@app.example",
		"https://*", "https://*.", "https://*..example", "https://a.*.example", "https://*a.example", "https://.example",
		"https://*.*.example", "*://app.example", "https://*.[::1]", "https://äpp.example", "https://a.example,https://b.example",
		"ws://app.example", "://app.example", "**", "Null", "https://app.example ", "file:///", "FILE://",
		"http://localhost:80:*", "http://*:*", "https://:*", "http://localhost:*/", "http://localhost:8*",
	} {
		if _, err := ParseOrigins([]string{"*", entry}); err == nil || !strings.Contains(err.Error(), strconv.Quote(entry)) {
			t.Errorf("ParseOrigins(%q): error %v, want one that names the entry", entry, err)
		}
	}
}
