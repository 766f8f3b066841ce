package config

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mastersocket/mastersocket/internal/tlstest"
)

// loadRedis reads the files about Redis alone.
func loadRedis(s *Serve) (*Redis, error) {
	v, l := validation{s: s}, new(Loaded)
	v.loadRedis(l)
	return l.Redis, v.err()
}

// TestRedisLogin takes user and password from each place that they can stand in.
func TestRedisLogin(t *testing.T) {
	t.Parallel()
	const odd = `p@ss/w:o?r#d% "x` // of characters that a URL can't have as they are
	user, password := writeFile(t, "user", "app\n"), writeFile(t, "password", odd+"\r\n")
	for name, c := range map[string]struct {
		flags []string
		want  Redis
	}{
		"no user":        {[]string{"--redis=redis://h"}, Redis{}},
		"URL":            {[]string{"--redis=redis://u:p%40@h"}, Redis{Username: "u", Password: "p@"}},
		"settings":       {[]string{"--redis=redis://h", "--redis-username=app", "--redis-password=" + odd}, Redis{Username: "app", Password: odd}},
		"files":          {[]string{"--redis=redis://h", "--redis-username-file=" + user, "--redis-password-file=" + password}, Redis{Username: "app", Password: odd}},
		"URL and file":   {[]string{"--redis=redis://u@h", "--redis-password-file=" + password}, Redis{Username: "u", Password: odd}},
		"Sentinels' URL": {[]string{"--redis=redis+sentinel://h/m?sentinel_username=s&sentinel_password=q"}, Redis{SentinelUsername: "s", SentinelPassword: "q"}},
		"Sentinels": {
			[]string{"--redis=redis+sentinel://h/m", "--redis-sentinel-username=s", "--redis-sentinel-password-file=" + password},
			Redis{SentinelUsername: "s", SentinelPassword: odd},
		},
	} {
		got, err := loadRedis(mustParse(t, nil, c.flags...))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if diff := cmp.Diff(c.want, *got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if got, err := loadRedis(mustParse(t, nil)); got != nil || err != nil {
		t.Errorf("without redis: %v, %v", got, err)
	}
}

// TestRedisTLS reads the files for rediss.
func TestRedisTLS(t *testing.T) {
	t.Parallel()
	cert, key, ca := tlsFiles(t, tlstest.Template{Name: "hub.test"})
	marked := tlstest.WriteFile(t, t.TempDir(), "marked", append([]byte(byteOrderMark), read(t, ca)...))
	for _, authority := range []string{ca, marked} {
		s := mustParse(t, nil, "--redis=rediss://h", "--redis-ca="+authority, "--redis-cert="+cert, "--redis-key="+key, "--redis-server-name=redis.test")
		got, err := loadRedis(s)
		if err != nil {
			t.Fatal(err)
		}
		if c := got.TLS; c == nil || c.RootCAs == nil || len(c.Certificates) != 1 || c.ServerName != "redis.test" {
			t.Errorf("TLS is %+v", got.TLS)
		}
	}
	got, err := loadRedis(mustParse(t, nil, "--redis=rediss://h"))
	if err != nil || got.TLS == nil || got.TLS.RootCAs != nil || got.TLS.Certificates != nil {
		t.Errorf("without files: %+v, %v", got, err)
	}
	_, err = loadRedis(mustParse(t, nil, "--redis=rediss://h", "--redis-ca=/none/ca", "--redis-cert="+cert, "--redis-key="+ca))
	want := []string{"--redis-ca: can't read /none/ca: no such file", "--redis-cert: " + cert + " with the key " + ca + ": "}
	if diff := cmp.Diff(want, problemsOf(t, err, want)); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

// TestUnprotectedRedis: a Redis on another machine, without TLS, is warned about.
func TestUnprotectedRedis(t *testing.T) {
	t.Parallel()
	for url, warn := range map[string]bool{
		"redis://redis": true, "redis://10.0.0.1": true, "redis+cluster://127.0.0.1,redis": true, "redis+sentinel://a/m": true,
		"redis://": false, "redis://localhost": false, "redis://127.0.0.1:7000": false, "redis://[::1]": false, "unix:///s": false,
		"rediss://redis": false, "redis+cluster://127.0.0.1:1,localhost:2": false,
	} {
		v := validation{s: mustParse(t, nil, "--redis="+url)}
		v.loadRedis(new(Loaded))
		if got := len(v.warnings) == 1 && strings.HasPrefix(v.warnings[0], "--redis: a program that can write"); got != warn || len(v.warnings) > 1 {
			t.Errorf("%s: warnings %q", url, v.warnings)
		}
	}
}

func TestClusterSecrets(t *testing.T) {
	t.Parallel()
	a, b := strings.Repeat("a", 32), strings.Repeat("b", 43)
	for content, want := range map[string][]Secret{
		a:                   {Secret(a)},
		a + "\n":            {Secret(a)},
		a + "\r\n" + b:      {Secret(a), Secret(b)},
		b + "\n" + a + "\n": {Secret(b), Secret(a)},
	} {
		got, err := loadRedis(mustParse(t, nil, "--redis=redis://h", "--cluster-secret-file="+writeFile(t, "secret", content)))
		if err != nil || !slices.Equal(got.ClusterSecrets, want) {
			t.Errorf("%q: %d secrets, %v", content, len(got.ClusterSecrets), err)
		}
		if printed := fmt.Sprintf("%v %+v %#v", got, *got, got.ClusterSecrets); strings.Contains(printed, a) {
			t.Errorf("a print shows the secret: %s", printed)
		}
	}
}

// TestBadRedisFiles: errors name the setting and the file, and repeat nothing of what it holds.
func TestBadRedisFiles(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("hush", 8)
	for name, c := range map[string]struct{ setting, content, want string }{
		"empty password":    {"redis-password-file", "\n", " is empty"},
		"two lines":         {"redis-password-file", "hush\nhush\n", " has more than one line"},
		"byte order mark":   {"redis-password-file", byteOrderMark + "hush", " begins with a byte order mark"},
		"user of two lines": {"redis-username-file", "hush\nhush", " has more than one line"},
		"short secret":      {"cluster-secret-file", "hush", ": line 1 has 4 bytes; a secret has 32 to 1024"},
		"three secrets":     {"cluster-secret-file", long + "\n" + long + "a\n" + long + "b\n", " has 3 lines"},
		"same secret twice": {"cluster-secret-file", long + "\n" + long, ": line 2 is the same as line 1"},
		"spaces":            {"cluster-secret-file", long + " " + long, ": line 1 has a character other than"},
		"marked secret":     {"cluster-secret-file", byteOrderMark + long, ": line 1 begins with a byte order mark"},
	} {
		path := writeFile(t, "file", c.content)
		_, err := loadRedis(mustParse(t, nil, "--redis=redis://h", "--"+c.setting+"="+path))
		want := []string{"--" + c.setting + ": " + path + c.want}
		if diff := cmp.Diff(want, problemsOf(t, err, want)); diff != "" {
			t.Errorf("%s: problems (-want +got):\n%s", name, diff)
		}
		if strings.Contains(fmt.Sprint(err), "hush") {
			t.Errorf("%s: the error repeats the secret: %v", name, err)
		}
	}
	_, err := loadRedis(mustParse(t, nil, "--redis=redis://h", "--redis-password-file=/none"))
	if err == nil || !strings.Contains(err.Error(), "--redis-password-file: can't read /none: no such file") {
		t.Errorf("a missing file: %v", err)
	}
}

// TestRedisFilesReload changes the files of a configuration that is in force.
func TestRedisFilesReload(t *testing.T) {
	t.Parallel()
	password := writeFile(t, "password", "one")
	s := mustParse(t, nil, "--redis=redis://h", "--redis-password-file="+password)
	if got := s.Files(); !slices.Equal(got, []string{password}) {
		t.Errorf("the files of the configuration are %q", got)
	}
	if err := os.WriteFile(password, []byte("two"), 0o600); err != nil {
		t.Fatal(err)
	}
	fresh, err := s.Reload()
	if err != nil {
		t.Fatal(err)
	}
	if l, err := fresh.Load(); err != nil || l.Redis.Password != "two" {
		t.Errorf("after a change: %+v, %v", l, err)
	}
}
