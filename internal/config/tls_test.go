package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mastersocket/mastersocket/internal/tlstest"
)

// tlsFiles makes a folder with a certificate, its key, and its authority.
func tlsFiles(t *testing.T, want tlstest.Template) (cert, key, ca string) {
	t.Helper()
	a, folder := tlstest.NewAuthority(t), t.TempDir()
	cert, key = tlstest.Write(t, folder, a.Issue(t, want))
	return cert, key, tlstest.WriteFile(t, folder, "ca.crt", a.PEM())
}

// loadTLS reads the files of the listeners with TLS alone.
func loadTLS(s *Serve) (*TLS, error) {
	v, l := validation{s: s}, new(Loaded)
	v.tls()
	v.loadTLS(l)
	return l.TLS, v.err()
}

func TestLoadTLS(t *testing.T) {
	t.Parallel()
	cert, key, ca := tlsFiles(t, tlstest.Template{Name: "hub.test", Expires: 30 * 24 * time.Hour, Lifetime: 40 * 24 * time.Hour})
	s := mustParse(t, nil, "--tls-listen=:1", "--tls-cert="+cert, "--tls-key="+key, "--tls-client-ca="+ca)
	got, err := loadTLS(s)
	if err != nil {
		t.Fatal(err)
	}
	if got.Certificate.Leaf.Subject.CommonName != "hub.test" || got.ClientCAs == nil {
		t.Errorf("loaded %+v", got)
	}
	if len(got.warnings) > 0 {
		t.Errorf("warnings %q", got.warnings)
	}
	if none, err := loadTLS(mustParse(t, nil)); none != nil || err != nil {
		t.Errorf("without settings: %v, %v", none, err)
	}
}

// TestBadTLS: what is wrong is said with the setting, and never with what is in a key's file.
func TestBadTLS(t *testing.T) {
	t.Parallel()
	cert, key, ca := tlsFiles(t, tlstest.Template{})
	_, otherKey, _ := tlsFiles(t, tlstest.Template{})
	secret := tlstest.WriteFile(t, t.TempDir(), "secret", []byte("no key, but a secret"))
	both := tlstest.WriteFile(t, t.TempDir(), "both", append(read(t, ca), read(t, key)...))
	for name, c := range map[string]struct {
		flags []string
		want  []string
	}{
		"no certificate":         {[]string{"--tls-listen=:1"}, []string{"--tls-listen: tls-cert is needed as well"}},
		"no certificate, admin":  {[]string{"--admin-tls"}, []string{"--admin-tls: tls-cert is needed as well"}},
		"an authority alone":     {[]string{"--tls-client-ca=" + ca}, []string{"--tls-client-ca: tls-cert is needed as well"}},
		"no key":                 {[]string{"--tls-cert=" + cert}, []string{"--tls-cert: tls-key is needed as well"}},
		"a key alone":            {[]string{"--tls-key=" + key}, []string{"--tls-key: tls-cert is needed as well"}},
		"no such files":          {[]string{"--tls-cert=/none/a", "--tls-key=/none/b"}, []string{"--tls-cert: can't read /none/a: no such file", "--tls-key: can't read /none/b: "}},
		"another key":            {[]string{"--tls-cert=" + cert, "--tls-key=" + otherKey}, []string{"--tls-cert: " + cert + " with the key " + otherKey + ": private key does not match"}},
		"the key as certificate": {[]string{"--tls-cert=" + key, "--tls-key=" + key}, []string{"--tls-cert: " + key + " with the key " + key + ": failed to find certificate"}},
		"no PEM":                 {[]string{"--tls-cert=" + cert, "--tls-key=" + secret}, []string{"--tls-cert: " + cert + " with the key " + secret + ": failed to find any PEM data"}},
		"no authority":           {[]string{"--tls-cert=" + cert, "--tls-key=" + key, "--tls-client-ca=" + secret}, []string{"--tls-client-ca: " + secret + ": no certificate is in it"}},
		"a key for an authority": {[]string{"--tls-cert=" + cert, "--tls-key=" + key, "--tls-client-ca=" + both}, []string{"--tls-client-ca: " + both + `: block 2 is "PRIVATE KEY"`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _ := parse(nil, c.flags...)
			_, err := loadTLS(s)
			if diff := cmp.Diff(c.want, problemsOf(t, err, c.want)); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
			if err != nil && strings.Contains(err.Error(), "but a secret") {
				t.Errorf("it repeats the key: %v", err)
			}
		})
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestTLSWarnings: certificates that are not valid now, or not for long, are warned of, by config check too.
func TestTLSWarnings(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for name, c := range map[string]struct {
		template tlstest.Template
		want     string
	}{
		"expired":              {tlstest.Template{Name: "hub.test", Expires: -time.Hour}, "expired at"},
		"soon":                 {tlstest.Template{Name: "hub.test", Expires: 6 * day, Lifetime: 90 * day}, "expires at"},
		"later":                {tlstest.Template{Name: "hub.test", Expires: 8 * day, Lifetime: 90 * day}, ""},
		"short, as it must be": {tlstest.Template{Name: "hub.test", Expires: 6 * day, Lifetime: 7 * day}, ""},
		"not yet":              {tlstest.Template{Name: "hub.test", Expires: 8 * day, Lifetime: 7 * day}, "is valid from"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cert, _, _ := tlsFiles(t, c.template)
			path := filepath.Join(filepath.Dir(cert), "hub.yaml")
			tlstest.WriteFile(t, filepath.Dir(cert), "hub.yaml", []byte("tls-listen: ':1'\ntls-cert: tls.crt\ntls-key: tls.key\n"))
			warnings, err := CheckFile(path)
			if err != nil {
				t.Fatal(err)
			}
			ok := len(warnings) == 0
			if c.want != "" {
				ok = len(warnings) == 1 && slices.ContainsFunc(warnings, func(w string) bool {
					return strings.HasPrefix(w, cert+`: the certificate of "localhost" `+c.want)
				})
			}
			if !ok {
				t.Errorf("warnings %q, want one with %q", warnings, c.want)
			}
		})
	}
}
