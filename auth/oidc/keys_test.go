package oidc

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/oidctest"
)

func TestRotation(t *testing.T) {
	t.Parallel()
	i := oidctest.Start(t)
	v, log := verifier(t, optionsFor(i), testTimes())
	old := i.Token("old", nil)
	expect(t, v, "first key", old, auth.Verified)
	first := i.NewKey(jose.ES256)
	i.Publish(first, i.NewKey(jose.RS256))
	fresh := i.Token("new", nil)
	expect(t, v, "new key, at once", fresh, auth.Verified)
	expect(t, v, "key that the issuer has no more", old, auth.UnknownKey)
	if !strings.Contains(log.String(), "keys of the issuer of tokens changed") {
		t.Errorf("the log does not tell:\n%s", log)
	}
	if s := v.Stats(); s.Keys != 2 || s.Fetches < 2 || s.Failed != 0 || s.Age(time.Now()) > time.Minute {
		t.Errorf("stats %+v", s)
	}
}

// TestSpacing: an unknown key causes a fetch, but not again before its time. Tokens in between are told to try again.

func TestSpacing(t *testing.T) {
	t.Parallel()
	i := oidctest.Start(t)
	tm := testTimes()
	var mu sync.Mutex
	at := time.Now()
	tm.now = func() time.Time { mu.Lock(); defer mu.Unlock(); return at }
	later := func(d time.Duration) { mu.Lock(); defer mu.Unlock(); at = at.Add(d) }
	tm.spacing = 5 * time.Second
	v, _ := verifier(t, optionsFor(i), tm)
	expect(t, v, "good", i.Token("a", nil), auth.Verified)
	unknown := i.NewKey(jose.ES256).Sign([]byte("{}"), true)
	requests := func() int { return len(i.Requests("/keys")) }

	expect(t, v, "too soon", unknown, auth.KeysUnavailable)
	later(5 * time.Second)
	expect(t, v, "asked", unknown, auth.UnknownKey)
	expect(t, v, "too soon again", unknown, auth.KeysUnavailable)
	later(4 * time.Second)
	i.Publish(i.NewKey(jose.ES256))
	expect(t, v, "new key, but too soon", i.Token("a", nil), auth.KeysUnavailable)
	if n := requests(); n != 2 {
		t.Errorf("%d requests, want 2", n)
	}
	later(time.Second)
	expect(t, v, "new key", i.Token("a", nil), auth.Verified)
}

// firstKey is the name of the key that an issuer begins with.
const firstKey = "key-1"

// TestKeyReplacedUnderItsName: an issuer gives a new key the name of the old one. The first token by it is verified, and
// forged ones don't become more requests than one in the spacing.
func TestKeyReplacedUnderItsName(t *testing.T) {
	t.Parallel()
	i := oidctest.Start(t)
	tm := testTimes()
	v, _ := verifier(t, optionsFor(i), tm)
	old := i.Token("a", nil)
	expect(t, v, "first", old, auth.Verified)
	key := i.NewKey(jose.ES256)
	key.ID = firstKey
	i.Publish(key)
	expect(t, v, "by the new key", i.Token("a", nil), auth.Verified)
	expect(t, v, "by the old key", old, auth.WrongSignature)
	requests := len(i.Requests("/keys"))
	if requests != 3 {
		t.Errorf("%d requests, want one at the start and one for each wrong signature", requests)
	}
	if s := v.Stats(); s.Failed != 0 {
		t.Errorf("stats %+v", s)
	}
}

// TestWrongSignaturesAreSpaced: a wrong signature waits for the time at which keys may be fetched, and is not told to come
// again before; of many, all but a few are refused at once.
func TestWrongSignaturesAreSpaced(t *testing.T) {
	t.Parallel()
	i := oidctest.Start(t)
	tm := testTimes()
	tm.spacing = time.Second
	v, _ := verifier(t, optionsFor(i), tm)
	expect(t, v, "good", i.Token("a", nil), auth.Verified)
	forged := i.NewKey(jose.ES256)
	forged.ID = firstKey
	token := forged.Sign([]byte("{}"), true)
	var wg sync.WaitGroup
	for range 4 * maxDoubting {
		wg.Go(func() { expect(t, v, "forged", token, auth.WrongSignature) })
	}
	wg.Wait()
	if n := len(i.Requests("/keys")); n != 2 {
		t.Errorf("%d requests, want 2", n)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.doubting != 0 {
		t.Errorf("%d wait", v.doubting)
	}
}

// TestRefresh fetches keys when it is told to, however short a time ago the last were fetched.
func TestRefresh(t *testing.T) {
	t.Parallel()
	i := oidctest.Start(t)
	tm := testTimes()
	tm.spacing = time.Hour
	v, _ := verifier(t, optionsFor(i), tm)
	expect(t, v, "first", i.Token("a", nil), auth.Verified)
	for _, want := range []bool{true, false} {
		if want {
			i.Publish(i.NewKey(jose.ES256))
		}
		if changed, err := v.Refresh(t.Context()); changed != want || err != nil {
			t.Errorf("Refresh = %v, %v, want %v", changed, err, want)
		}
		expect(t, v, "after Refresh", i.Token("a", nil), auth.Verified)
	}
	i.Answer(http.NotFound)
	if _, err := v.Refresh(t.Context()); err == nil || !strings.Contains(err.Error(), "answered 404") {
		t.Errorf("Refresh without an issuer: %v", err)
	}
	v.Close()
	if _, err := v.Refresh(t.Context()); err == nil {
		t.Error("Refresh of one that is closed succeeds")
	}
}

func TestRefreshByItself(t *testing.T) {
	t.Parallel()
	i := oidctest.Start(t)
	tm := testTimes()
	tm.refresh, tm.spacing = 10*time.Millisecond, time.Hour
	v, _ := verifier(t, optionsFor(i), tm)
	old := i.Token("a", nil)
	expect(t, v, "first", old, auth.Verified)
	i.Publish(i.NewKey(jose.ES256))
	eventually.True(t, "the key is gone", func() bool {
		_, verdict := verify(t, v, old)
		return verdict != auth.Verified
	})
	expect(t, v, "second", i.Token("a", nil), auth.Verified)
}

func TestIssuerAway(t *testing.T) {
	t.Parallel()
	i := oidctest.Start(t)
	away := func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "<script>away</script>", http.StatusBadGateway)
	}
	i.Answer(away)
	tm := testTimes()
	v, log := verifier(t, optionsFor(i), tm)
	token := i.Token("a", nil)
	expect(t, v, "before the issuer answered", token, auth.KeysUnavailable)
	if s := v.Stats(); !s.Fetched.IsZero() || s.Keys != 0 || s.Age(s.Since.Add(time.Hour)) != time.Hour {
		t.Errorf("stats %+v", s)
	}
	eventually.True(t, "several attempts", func() bool { return v.Stats().Failed > 2 })
	i.Answer(nil)
	eventually.True(t, "keys", func() bool { return v.Stats().Keys == 1 })
	expect(t, v, "when it is back", token, auth.Verified)

	i.Answer(away)
	unknown := i.NewKey(jose.ES256).Sign([]byte("{}"), true)
	failed := v.Stats().Failed
	eventually.True(t, "unknown key while it is away", func() bool { // the fetch that succeeded may be about to end
		_, verdict := verify(t, v, unknown)
		return verdict == auth.KeysUnavailable
	})
	eventually.True(t, "more attempts", func() bool { return v.Stats().Failed > failed+2 })
	expect(t, v, "known key while it is away", token, auth.Verified)
	for _, want := range []string{"answered 502 Bad Gateway", "are told to try again", "the last known ones stay in use", "age=", "can be fetched again"} {
		if want == "can be fetched again" {
			i.Answer(nil)
			eventually.True(t, "recovery", func() bool { return strings.Contains(log.String(), want) || v.Stats().Fetches > 1 })
			continue
		}
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, log)
		}
	}
	if strings.Contains(log.String(), "script") {
		t.Errorf("the log has what the issuer answered:\n%s", log)
	}
}

// TestBadAnswers has what an issuer, or what stands before it, may answer. None of it changes the keys.

func TestBadAnswers(t *testing.T) {
	t.Parallel()
	to := func(address string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, address, http.StatusFound) }
	}
	text := func(s string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(s)) }
	}
	endless := func(w http.ResponseWriter, r *http.Request) {
		block := make([]byte, 64<<10)
		for r.Context().Err() == nil {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	}
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"not found":       {http.NotFound, "answered 404"},
		"page":            {text("<html>sign in</html>"), "no configuration of an issuer"},
		"empty":           {text(""), "no configuration of an issuer"},
		"list":            {text("[]"), "no configuration of an issuer"},
		"other issuer":    {text(`{"issuer":"https://other.example","jwks_uri":"https://other.example/keys"}`), `it is the issuer \"https://other.example\"`},
		"no issuer":       {text(`{"jwks_uri":"https://other.example/keys"}`), "it says that it is the issuer"},
		"endless":         {endless, "more than 1048576 bytes"},
		"circle":          {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) }, "more than 3 redirects"},
		"to http":         {to("http://issuer.example/keys"), "must begin with https"},
		"to a file":       {to("file:///etc/passwd"), "must be an address"},
		"endless header":  {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 1<<20)) }, "exceeded"},
		"hangs up":        {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF"},
		"without content": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }, "answered 204"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := oidctest.Start(t)
			v, log := verifier(t, optionsFor(i), testTimes())
			token := i.Token("a", nil)
			expect(t, v, "before", token, auth.Verified)
			i.Answer(c.answer)
			expect(t, v, "unknown", i.NewKey(jose.ES256).Sign([]byte("{}"), true), auth.KeysUnavailable)
			expect(t, v, "after", token, auth.Verified)
			if !strings.Contains(log.String(), c.want) {
				t.Errorf("the log lacks %q:\n%s", c.want, log)
			}
		})
	}
}

// TestBadKeys is as TestBadAnswers, for what is behind jwks_uri.

func TestBadKeys(t *testing.T) {
	t.Parallel()
	i := oidctest.Start(t)
	v, log := verifier(t, optionsFor(i), testTimes())
	token := i.Token("a", nil)
	expect(t, v, "before", token, auth.Verified)
	for _, c := range []struct{ keys, configuration, want string }{
		{keys: `{"keys":[]}`, want: "no key to verify signatures with"},
		{keys: `<html>`, want: "no JSON Web Key Set"},
		{configuration: `"http://issuer.example/keys"`, want: "jwks_uri must begin with https"},
		{configuration: `"/keys"`, want: "jwks_uri must be an address"},
		{configuration: `"https://a:b@issuer.example/keys"`, want: "jwks_uri must not have a user"},
		{configuration: `""`, want: "jwks_uri must be an address"},
	} {
		i.Answer(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.URL.Path == "/keys":
				_, _ = w.Write([]byte(c.keys))
			case c.configuration != "":
				fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%s}`, i.URL, c.configuration)
			default:
				i.Serve(w, r)
			}
		})
		expect(t, v, c.want, i.NewKey(jose.ES256).Sign([]byte("{}"), true), auth.KeysUnavailable)
		expect(t, v, c.want, token, auth.Verified)
		if !strings.Contains(log.String(), c.want) {
			t.Errorf("the log lacks %q:\n%s", c.want, log)
		}
	}
}

func TestSlowIssuer(t *testing.T) {
	t.Parallel()
	i := oidctest.Start(t)
	i.Answer(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	tm := testTimes()
	tm.fetch = 50 * time.Millisecond
	v, log := verifier(t, optionsFor(i), tm)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, verdict := v.Verify(ctx, i.Token("a", nil)); verdict != auth.KeysUnavailable {
		t.Errorf("while the issuer is slow: %v", verdict)
	}
	eventually.True(t, "the fetch is given up", func() bool { return v.Stats().Failed > 0 })
	if !strings.Contains(log.String(), "deadline exceeded") {
		t.Errorf("the log does not tell:\n%s", log)
	}
	i.Answer(nil)
	eventually.True(t, "keys", func() bool { return v.Stats().Keys == 1 })
}

func TestWaitingIsBounded(t *testing.T) {
	t.Parallel()
	i := oidctest.Start(t)
	i.Answer(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	v, _ := verifier(t, optionsFor(i), testTimes())
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	token := i.Token("a", nil)
	var wg sync.WaitGroup
	for range maxWaiting {
		wg.Go(func() { v.Verify(ctx, token) })
	}
	eventually.True(t, "all wait", func() bool { v.mu.Lock(); defer v.mu.Unlock(); return v.waiting == maxWaiting })
	expect(t, v, "one more", token, auth.KeysUnavailable)
	cancel()
	wg.Wait()
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.waiting != 0 {
		t.Errorf("%d wait", v.waiting)
	}
}

func TestCloseEndsAFetch(t *testing.T) {
	t.Parallel()
	i := oidctest.Start(t)
	asked := make(chan struct{}, 1)
	i.Answer(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case asked <- struct{}{}:
		default:
		}
		<-r.Context().Done()
	})
	v, _ := verifier(t, optionsFor(i), testTimes())
	<-asked
	waited := make(chan auth.Verdict)
	go func() {
		_, verdict := v.Verify(context.Background(), i.Token("a", nil))
		waited <- verdict
	}()
	v.Close()
	if verdict := <-waited; verdict != auth.KeysUnavailable {
		t.Errorf("a token that waits when it is closed: %v", verdict)
	}
	expect(t, v, "after", i.Token("a", nil), auth.KeysUnavailable)
}

// TestKeysFileByLink is how Kubernetes changes files of a ConfigMap: by turning a link.

// TestBearer: the token for fetching is read each time, and goes to the issuer and where it says, not where others redirect to.
