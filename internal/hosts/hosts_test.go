package hosts

import (
	"net"
	"strings"
	"testing"
)

func addr(t *testing.T, s string) net.Addr {
	t.Helper()
	a, err := net.ResolveTCPAddr("tcp", s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestPolicies(t *testing.T) {
	t.Parallel()
	const loopback, wildcard = "127.0.0.1:42070", "[::]:42070"
	for _, tc := range []struct {
		listen  string
		allowed []string
		yes, no []string
	}{
		{loopback, nil,
			[]string{"", "127.0.0.1", "127.0.0.1:42070", "[::1]:42070", "localhost", "LOCALHOST.:1", "a.localhost:9", "10.0.0.7:80"},
			[]string{"evil.example", "evil.example:42070", "localhost.evil.example", "notlocalhost", "127.0.0.1.evil.example", "[evil", "[::1", "1.2.3"}},
		{"[::1]:1", nil, []string{"[::1]"}, []string{"evil.example"}},
		{wildcard, nil, []string{"evil.example", "hub.svc:42070", "10.0.0.7"}, nil},
		{"10.0.0.7:1", nil, []string{"hub.example"}, nil},
		{wildcard, []string{"Hub.Example.com", "*.svc"},
			[]string{"hub.example.com", "HUB.example.COM.:443", "a.svc", "a.b.svc:1", "10.0.0.7:42070", "localhost:42070"},
			[]string{"evil.example", "svc", ".svc", "example.com", "a.hub.example.com", "hub.example.com.evil"}},
		{loopback, []string{"*"}, []string{"evil.example"}, nil},
	} {
		p, err := NewPolicy(addr(t, tc.listen), tc.allowed)
		if err != nil {
			t.Fatal(err)
		}
		for _, host := range tc.yes {
			if !p.Allows(host) {
				t.Errorf("%s %v: %q is refused", tc.listen, tc.allowed, host)
			}
		}
		for _, host := range tc.no {
			if p.Allows(host) {
				t.Errorf("%s %v: %q is answered", tc.listen, tc.allowed, host)
			}
		}
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for _, entry := range []string{"hub", "hub.example.com", "*.example.com", "*", "hub.", "my_hub-1", "10.0.0.1"} {
		if err := Check(entry); err != nil {
			t.Errorf("%q: %v", entry, err)
		}
	}
	for _, entry := range []string{"", "*.", ".", "https://hub", "hub:80", "a..b", "*hub", "a.*.b", "h b", strings.Repeat("a", 64), strings.Repeat("a.", 130)} {
		if Check(entry) == nil {
			t.Errorf("%q is taken", entry)
		}
		if _, err := NewPolicy(addr(t, "127.0.0.1:1"), []string{entry}); err == nil {
			t.Errorf("a policy with %q is taken", entry)
		}
	}
}
