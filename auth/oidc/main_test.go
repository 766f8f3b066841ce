package oidc

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/internal/oidctest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// logBuffer is a log that tests look into.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// testTimes never fetch by themselves but after a failure, which they do at once, and when a file changed.
func testTimes() times {
	return times{
		now: time.Now, refresh: time.Hour, spacing: 0, file: 5 * time.Millisecond,
		retry: 5 * time.Millisecond, retryMax: 50 * time.Millisecond, fetch: 20 * time.Second,
	}
}

// optionsFor discovers the keys of the issuer.
func optionsFor(i *oidctest.Issuer) Options {
	return Options{Issuer: i.URL, Audiences: []string{"other", oidctest.Audience}, CAFile: i.CAFile}
}

// verifier starts one that ends with the test.
func verifier(t testing.TB, o Options, tm times) (*Verifier, *logBuffer) {
	t.Helper()
	log := &logBuffer{}
	o.Log = slog.New(slog.NewTextHandler(log, nil))
	v, err := start(o, tm, newSlots())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	return v, log
}

// verify is Verify with a deadline that no test should meet.
func verify(t testing.TB, v *Verifier, token string) (auth.Identity, auth.Verdict) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return v.Verify(ctx, token)
}

func expect(t testing.TB, v *Verifier, what, token string, want auth.Verdict) auth.Identity {
	t.Helper()
	identity, verdict := verify(t, v, token)
	if verdict != want {
		t.Errorf("%s: %v, want %v", what, verdict, want)
	}
	if (verdict == auth.Verified) != (identity.Claims != nil) || (verdict == auth.Verified) == identity.Expires.IsZero() {
		t.Errorf("%s: verdict %v with identity %v", what, verdict, identity)
	}
	return identity
}

// place writes a file as editors do: by putting it in the other's place.
func place(t testing.TB, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func temp(t testing.TB, name string) string { return filepath.Join(t.TempDir(), name) }
