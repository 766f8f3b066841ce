package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/admin"
	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/client"
	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/hubtest"
)

const operatorToken = "operator-token"

// tokensYAML is a tokens file with an operator's token and those of the services named.
func tokensYAML(services ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "tokens:\n  - {name: operator, sha256: %s, groups: [], send: [], admin: true}\n", auth.Hash(operatorToken))
	for _, name := range services {
		fmt.Fprintf(&b, "  - {name: %s, sha256: %s, groups: [\"*\"], send: [\"*\"]}\n", name, auth.Hash(name+"-token"))
	}
	return b.String()
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// configMap lays files out as Kubernetes mounts a ConfigMap: the names are links into ..data, which is a link to a folder
// that another one takes the place of.
type configMap struct {
	t       *testing.T
	dir     string
	version int
}

func (m *configMap) put(files map[string]string) {
	m.t.Helper()
	m.version++
	folder := fmt.Sprintf("..v%d", m.version)
	if err := os.Mkdir(filepath.Join(m.dir, folder), 0o700); err != nil {
		m.t.Fatal(err)
	}
	for name, text := range files {
		writeFile(m.t, filepath.Join(m.dir, folder, name), text)
		if m.version == 1 {
			if err := os.Symlink(filepath.Join("..data", name), filepath.Join(m.dir, name)); err != nil {
				m.t.Fatal(err)
			}
		}
	}
	next := filepath.Join(m.dir, "..data_tmp")
	if err := os.Symlink(folder, next); err != nil {
		m.t.Fatal(err)
	}
	if err := os.Rename(next, filepath.Join(m.dir, "..data")); err != nil {
		m.t.Fatal(err)
	}
}

// lets reports whether the hub lets the service in.
func lets(t *testing.T, s *hubtest.Server, service string) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := client.Connect(ctx, client.Options{URL: s.URL(), Token: service + "-token", Group: "g", FailFast: true})
	if err == nil {
		_ = c.Close(ctx)
	}
	return err == nil
}

// TestReload changes the tokens of a running hub: by a signal, by the API, and by files that are put in place.
func TestReload(t *testing.T) {
	t.Parallel()
	m := &configMap{t: t, dir: t.TempDir()}
	settings := "tokens-file: tokens.yaml\nping-interval: 20s\n"
	m.put(map[string]string{"hub.yaml": settings, "tokens.yaml": tokensYAML("a", "b")})
	s := hubtest.Start(t, hubtest.Options{Token: "none", Flags: []string{"--config", filepath.Join(m.dir, "hub.yaml")}})
	o := operator{t, "http://" + s.AdminAddr, operatorToken}
	reloads := func(result, count string) {
		t.Helper()
		eventually.True(t, "a reload "+result, func() bool {
			return o.metric(`mastersocket_reload_total{result="`+result+`"}`) == count
		})
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	onEnd, ended := firstEnd()
	b, err := client.Connect(ctx, client.Options{URL: s.URL(), Token: "b-token", Group: "g", OnDisconnect: onEnd})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Close(context.Background()) }()

	// A ConfigMap changes, without a request to reload: b is revoked, c is let in.
	m.put(map[string]string{"hub.yaml": settings, "tokens.yaml": tokensYAML("a", "c")})
	reloads("success", "1")
	if reason := <-ended; !strings.Contains(fmt.Sprint(reason), "UNAUTHORIZED") {
		t.Errorf("the holder of a revoked token ended with %v", reason)
	}
	if lets(t, s, "b") || !lets(t, s, "c") || !lets(t, s, "a") {
		t.Error("the tokens in force are not those of the file")
	}

	if o.metric("mastersocket_reload_failing") != "0" {
		t.Error("a reload that succeeded is said to fail")
	}

	// It changes to something bad: nothing changes, by no way of reloading.
	before := o.metric("mastersocket_reload_last_success_timestamp_seconds")
	m.put(map[string]string{"hub.yaml": settings, "tokens.yaml": tokensYAML("d") + "  - {name: e, sha256: zz}\n"})
	reloads("failure", "1")
	s.Signal(syscall.SIGHUP)
	reloads("failure", "2")
	var problem struct {
		Errors []struct{ Location, Message string }
	}
	if code := o.do("POST", "/v1/reload", "", &problem); code != http.StatusUnprocessableEntity || len(problem.Errors) == 0 ||
		!strings.HasSuffix(problem.Errors[0].Location, "tokens.yaml:4") {
		t.Errorf("got %d %+v", code, problem)
	}
	if lets(t, s, "d") || !lets(t, s, "c") || o.metric("mastersocket_reload_last_success_timestamp_seconds") != before ||
		o.metric("mastersocket_reload_failing") != "1" {
		t.Error("a bad file changed something")
	}
	if !strings.Contains(strings.Join(s.Log(), "\n"), "configuration not reloaded: all stays as it was") {
		t.Error("the log does not say so")
	}

	// And to something good, with a setting that needs a restart.
	m.put(map[string]string{"hub.yaml": strings.Replace(settings, "20s", "21s", 1) + "log-level: debug\n", "tokens.yaml": tokensYAML("a", "e")})
	reloads("success", "2")
	var result admin.ReloadResult
	if code := o.do("POST", "/v1/reload", "", &result); code != 200 || !slices.Equal(result.NeedRestart, []string{"ping-interval"}) ||
		len(result.Changed) > 0 || time.Since(result.At) > time.Minute {
		t.Errorf("got %d %+v", code, result)
	}
	if !lets(t, s, "e") || lets(t, s, "c") {
		t.Error("the tokens in force are not those of the file")
	}
}

// TestReloadOfAFile writes a tokens file in each of the ways that editors do.
func TestReloadOfAFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "tokens.yaml")
	writeFile(t, file, tokensYAML("zero"))
	s := hubtest.Start(t, hubtest.Options{Token: "none", Flags: []string{"--tokens-file", file}})
	for name, write := range map[string]func(text string){
		"in-place": func(text string) { writeFile(t, file, text) },
		"renamed": func(text string) {
			writeFile(t, file+"~", text)
			if err := os.Rename(file+"~", file); err != nil {
				t.Fatal(err)
			}
		},
		"removed-first": func(text string) {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
			writeFile(t, file, text)
		},
	} {
		write(tokensYAML(name))
		eventually.True(t, name, func() bool { return lets(t, s, name) })
	}
	o := operator{t, "http://" + s.AdminAddr, operatorToken}
	if code := o.do("POST", "/v1/reload", "", nil); code != 200 {
		t.Errorf("got %d", code)
	}
}

// TestReloadKeepsTheGeneratedToken reloads a hub that was started without any token.
func TestReloadKeepsTheGeneratedToken(t *testing.T) {
	t.Parallel()
	s := hubtest.Start(t, hubtest.Options{Token: "none", Env: []string{"XDG_CACHE_HOME=" + t.TempDir()}})
	var token string
	eventually.True(t, "the token in the log", func() bool {
		for _, line := range s.Log() {
			if line = strings.TrimSpace(line); strings.HasPrefix(line, auth.TokenPrefix) {
				token = line
			}
		}
		return token != ""
	})
	o := operator{t, "http://" + s.AdminAddr, token}
	var result admin.ReloadResult
	if code := o.do("POST", "/v1/reload", "", &result); code != 200 || len(result.Changed) > 0 {
		t.Errorf("got %d %+v", code, result)
	}
	if code := o.do("GET", "/v1/nodes", "", nil); code != 200 {
		t.Errorf("the token is gone: %d", code)
	}
}
