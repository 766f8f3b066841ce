package oidc

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/internal/oidctest"
)

func TestVerifyTakesNoLongerThanItsContext(t *testing.T) {
	t.Parallel()
	i := oidctest.Start(t)
	token := i.Token("someone", nil)
	v, _ := verifier(t, optionsFor(i), testTimes())
	expect(t, v, "usual", token, auth.Verified)
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	for range cap(v.slots) {
		v.slots <- struct{}{}
	}
	if _, verdict := v.Verify(ended, token); verdict != auth.Overloaded {
		t.Errorf("without a processor: %v", verdict)
	}
	for range cap(v.slots) {
		<-v.slots
	}
	hold := make(chan struct{})
	defer close(hold)
	i.Answer(func(w http.ResponseWriter, r *http.Request) { <-hold })
	if _, verdict := v.Verify(ended, i.NewKey(jose.ES256).Sign([]byte("{}"), true)); verdict != auth.KeysUnavailable {
		t.Errorf("while keys are fetched: %v", verdict)
	}
}

func TestBogusTokensDoNotHoldUpOthers(t *testing.T) {
	t.Parallel()
	i := oidctest.Start(t)
	tm := testTimes()
	tm.spacing = time.Hour // one fetch for all of them
	v, _ := verifier(t, optionsFor(i), tm)
	good := i.Token("someone", nil)
	expect(t, v, "before", good, auth.Verified)
	v.mu.Lock()
	v.begun = time.Time{} // long ago
	v.mu.Unlock()
	hold := make(chan struct{})
	i.Answer(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-hold:
		case <-r.Context().Done():
		}
	})
	stranger := oidctest.Start(t)
	forged := []string{
		stranger.NewKey(jose.ES384).Sign([]byte(`{}`), true) + "x",
		(&oidctest.Key{ID: "key-1", Algorithm: jose.ES256, Private: stranger.NewKey(jose.ES256).Private}).Sign([]byte(`{}`), true),
		encode(`{"alg":"none"}`, "{}", "AA"),
		strings.Repeat("e", 4000) + "." + strings.Repeat("e", 4000) + ".x",
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	var verdicts [auth.NumVerdicts]atomic.Int64
	for n := range 10_000 {
		wg.Go(func() {
			token := forged[n%len(forged)]
			if n%len(forged) == 0 { // each names a key of its own
				token = encode(fmt.Sprintf(`{"alg":"ES256","kid":"%d"}`, n), "{}", "AA")
			}
			_, verdict := v.Verify(ctx, token)
			verdicts[verdict].Add(1)
		})
	}
	for range 20 {
		expect(t, v, "meanwhile", good, auth.Verified)
		runtime.Gosched()
	}
	close(hold)
	wg.Wait()
	if n := verdicts[auth.Verified].Load(); n != 0 {
		t.Errorf("%d forged tokens were taken", n)
	}
	if n := verdicts[auth.WrongSignature].Load() + verdicts[auth.WrongAlgorithm].Load() + verdicts[auth.Malformed].Load(); n != 7500 {
		t.Errorf("%d were refused at once, want 7500", n)
	}
	most := 2 + int(time.Since(began)/v.times.spacing) // at the start, and once for all unknown keys, but again after a while
	if n := len(i.Requests("/.well-known/openid-configuration")); n < 2 || n > most {
		t.Errorf("the issuer was asked %d times, want 2 to %d", n, most)
	}
}

func TestVerifyStaysInItsBudget(t *testing.T) {
	t.Parallel()
	for _, a := range []jose.SignatureAlgorithm{jose.RS256, jose.ES256} {
		v, token := cached(t, a)
		best := time.Hour
		for range 50 {
			begin := time.Now()
			if _, verdict := v.Verify(context.Background(), token); verdict != auth.Verified {
				t.Fatal(verdict)
			}
			best = min(best, time.Since(begin))
		}
		t.Logf("%s: %v at best", a, best)
		if best > 2*time.Millisecond {
			t.Errorf("%s takes %v", a, best)
		}
	}
}

func cached(t testing.TB, a jose.SignatureAlgorithm) (*Verifier, string) {
	i := oidctest.Start(t)
	i.Publish(i.NewKey(a))
	v, _ := verifier(t, optionsFor(i), testTimes())
	token := i.Token("system:serviceaccount:shop:billing", map[string]any{"kubernetes.io": map[string]any{
		"namespace": "shop", "pod": map[string]any{"name": "billing-6d4cf56db6-x7x8z", "uid": "e87dbbd6-3d7e-45db-aafb-72b24627dff5"},
		"serviceaccount": map[string]any{"name": "billing", "uid": "14ee3fa4-a7e2-420f-9f9a-dbc4507c3798"},
	}})
	expect(t, v, "first", token, auth.Verified)
	return v, token
}

func BenchmarkVerify(b *testing.B) {
	for _, a := range []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.EdDSA} {
		b.Run(string(a), func(b *testing.B) {
			v, token := cached(b, a)
			b.ReportAllocs()
			for b.Loop() {
				if _, verdict := v.Verify(context.Background(), token); verdict != auth.Verified {
					b.Fatal(verdict)
				}
			}
		})
	}
}

func BenchmarkVerifyLocal(b *testing.B) {
	i := oidctest.Start(b)
	other, local := optionsFor(i), localOptions(write(b, []byte(secretA)))
	other.Log, local.Log = slog.New(slog.DiscardHandler), slog.New(slog.DiscardHandler)
	all, err := startAll(testTimes(), []Options{other, local})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(all.Close)
	token := sign(b, []byte(secretA), localClaims("42"))
	all.Verify(context.Background(), token) // waits for the keys
	b.ReportAllocs()
	for b.Loop() {
		if _, verdict := all.Verify(context.Background(), token); verdict != auth.Verified {
			b.Fatal(verdict)
		}
	}
}
