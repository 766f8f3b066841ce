package oidc

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/oidctest"
)

func TestKeysFile(t *testing.T) {
	t.Parallel()
	i := oidctest.Start(t)
	path := temp(t, "jwks.json")
	o := Options{Issuer: "any text", Audiences: []string{oidctest.Audience}, Keys: path}
	v, log := verifier(t, o, testTimes())
	token := func() string { return i.Token("a", map[string]any{"iss": "any text"}) }
	expect(t, v, "without the file", token(), auth.KeysUnavailable)
	place(t, path, i.JWKS())
	eventually.True(t, "keys", func() bool { return v.Stats().Keys == 1 })
	expect(t, v, "with it", token(), auth.Verified)
	old := token()

	i.Publish(i.NewKey(jose.EdDSA), i.NewKey(jose.ES256))
	place(t, path, i.JWKS())
	eventually.True(t, "new keys", func() bool { return v.Stats().Keys == 2 })
	expect(t, v, "new key", token(), auth.Verified)
	expect(t, v, "old key", old, auth.UnknownKey)

	place(t, path, []byte("{}"))
	eventually.True(t, "a failure", func() bool { return strings.Contains(log.String(), "no key to verify") })
	expect(t, v, "with a broken file", token(), auth.Verified)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	expect(t, v, "without the file again", token(), auth.Verified)
	place(t, path, make([]byte, maxAnswerBytes+1))
	eventually.True(t, "a failure", func() bool { return strings.Contains(log.String(), "more than 1048576 bytes") })
	if n := len(i.Requests("/keys")); n != 0 {
		t.Errorf("the issuer was asked %d times", n)
	}
}

func TestKeysFileByLink(t *testing.T) {
	t.Parallel()
	i := oidctest.Start(t)
	folder := t.TempDir()
	write := func(version string) {
		if err := os.Mkdir(filepath.Join(folder, version), 0o700); err != nil {
			t.Fatal(err)
		}
		place(t, filepath.Join(folder, version, "jwks.json"), i.JWKS())
		if err := os.Symlink(version, filepath.Join(folder, "..new")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(folder, "..new"), filepath.Join(folder, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	write("..1")
	if err := os.Symlink("..data/jwks.json", filepath.Join(folder, "jwks.json")); err != nil {
		t.Fatal(err)
	}
	o := Options{Issuer: i.URL, Audiences: []string{oidctest.Audience}, Keys: filepath.Join(folder, "jwks.json")}
	v, _ := verifier(t, o, testTimes())
	expect(t, v, "first", i.Token("a", nil), auth.Verified)
	i.Publish(i.NewKey(jose.ES256))
	write("..2")
	eventually.True(t, "the second", func() bool { _, verdict := verify(t, v, i.Token("a", nil)); return verdict == auth.Verified })
}

func TestBearer(t *testing.T) {
	t.Parallel()
	i, elsewhere := oidctest.Start(t), oidctest.Start(t)
	both := temp(t, "ca.pem")
	ours, err := os.ReadFile(i.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := os.ReadFile(elsewhere.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	place(t, both, append(ours, theirs...))
	o := optionsFor(i)
	o.CAFile, o.BearerFile = both, temp(t, "token")
	place(t, o.BearerFile, []byte("first\n"))
	v, log := verifier(t, o, testTimes())
	expect(t, v, "first", i.Token("a", nil), auth.Verified)
	place(t, o.BearerFile, []byte("second"))
	i.Publish(i.NewKey(jose.ES256))
	expect(t, v, "second", i.Token("a", nil), auth.Verified)
	for _, path := range []string{"/.well-known/openid-configuration", "/keys"} {
		for n, r := range i.Requests(path) {
			if want := []string{"Bearer first", "Bearer second"}[n]; r.Header.Get("Authorization") != want {
				t.Errorf("request %d for %s has %q, want %q", n, path, r.Header.Get("Authorization"), want)
			}
		}
	}
	i.Answer(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL+r.URL.Path, http.StatusTemporaryRedirect)
	})
	expect(t, v, "redirected", i.NewKey(jose.ES256).Sign([]byte("{}"), true), auth.KeysUnavailable)
	if !strings.Contains(log.String(), "the token is not for that host") {
		t.Errorf("the log does not tell:\n%s", log)
	}
	if n := len(elsewhere.Requests("/.well-known/openid-configuration")); n != 0 {
		t.Errorf("the other host was asked %d times", n)
	}
	if err := os.Remove(o.BearerFile); err != nil {
		t.Fatal(err)
	}
	expect(t, v, "without the file", i.NewKey(jose.ES256).Sign([]byte("{}"), true), auth.KeysUnavailable)
}

func TestRedirect(t *testing.T) {
	t.Parallel()
	i := oidctest.Start(t)
	i.Answer(func(w http.ResponseWriter, r *http.Request) {
		if path, ok := strings.CutPrefix(r.URL.Path, "/moved"); ok {
			r.URL.Path = path
			i.Serve(w, r)
			return
		}
		http.Redirect(w, r, "/moved"+r.URL.Path, http.StatusMovedPermanently)
	})
	v, _ := verifier(t, optionsFor(i), testTimes())
	expect(t, v, "redirected", i.Token("a", nil), auth.Verified)
}

func TestWrongCertificates(t *testing.T) {
	t.Parallel()
	i := oidctest.Start(t)
	token := i.Token("a", nil)
	for name, c := range map[string]struct{ content, want string }{
		"none in it": {"nothing", "has none in PEM"},
		"system's":   {"", "certificate signed by unknown authority"},
	} {
		o := optionsFor(i)
		if o.CAFile = ""; c.content != "" {
			o.CAFile = temp(t, "ca.pem")
			place(t, o.CAFile, []byte(c.content))
		}
		v, log := verifier(t, o, testTimes())
		expect(t, v, name, token, auth.KeysUnavailable)
		eventually.True(t, "a failure", func() bool { return strings.Contains(log.String(), c.want) })
	}
	// A file that is put right is used at the next attempt.
	o := optionsFor(i)
	right, err := os.ReadFile(o.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	o.CAFile = temp(t, "later.pem")
	v, _ := verifier(t, o, testTimes())
	eventually.True(t, "a failure", func() bool { return v.Stats().Failed > 0 })
	place(t, o.CAFile, right)
	eventually.True(t, "keys", func() bool { return v.Stats().Keys == 1 })
	expect(t, v, "put right", token, auth.Verified)
}

func TestOptions(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		issuer, keys string
		want         string // empty for none
	}{
		{"https://issuer.example", "", ""},
		{"https://issuer.example/realms/x", "", ""},
		{"http://127.0.0.1:80", "", ""},
		{"http://[::1]:80", "", ""},
		{"http://localhost/a", "", ""},
		{"kubernetes/serviceaccount", "/keys.json", ""},
		{"kubernetes/serviceaccount", "https://a/keys?x=y", ""},
		{"", "https://a/keys", "the issuer is empty"},
		{"kubernetes/serviceaccount", "", "the issuer must be an address"},
		{"https://issuer.example?x=y", "", "must not have a user, a query"},
		{"https://issuer.example#x", "", "must not have a user, a query"},
		{"https://a:b@issuer.example", "", "must not have a user"},
		{"http://issuer.example", "", "must begin with https: over http"},
		{"http://127.0.0.1.example", "", "must begin with https: over http"},
		{"ftp://issuer.example", "", "must begin with https"},
		{"https:issuer.example", "", "must be an address"},
		{"a", "http://a/keys", "the address of the keys must begin with https"},
		{"a", "file:///keys", "the address of the keys must be an address"},
	} {
		err := CheckSource(&Options{Issuer: c.issuer, Keys: c.keys})
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("CheckSource(%q, %q) = %v, want %q", c.issuer, c.keys, err, c.want)
		}
		if err == nil {
			continue
		}
		if _, nerr := New(Options{Issuer: c.issuer, Keys: c.keys, Audiences: []string{"a"}}); nerr == nil {
			t.Errorf("New with issuer %q and keys %q has no error", c.issuer, c.keys)
		}
	}
}

func TestNoAudience(t *testing.T) {
	t.Parallel()
	if _, err := New(Options{Issuer: "a", Keys: "/b"}); err == nil || !strings.Contains(err.Error(), "no audience") {
		t.Errorf("New without an audience: %v", err)
	}
}
