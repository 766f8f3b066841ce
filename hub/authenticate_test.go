package hub

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/opcodes"
)

func TestAuthenticate(t *testing.T) {
	t.Parallel()
	i := &issuer{expires: time.Unix(1<<32, 0), verdict: func(subject string) auth.Verdict {
		return map[string]auth.Verdict{"late": auth.Expired, "early": auth.KeysUnavailable}[subject]
	}}
	h, _ := startHub(t, memory.NewBus().Broker(), verified(t, i))
	for token, want := range map[string]struct {
		name string
		err  error
	}{
		testToken:               {"known", nil},
		signedToken("operator"): {"operators", nil},
		signedToken("nobody"):   {"", ErrNoGrant},
		signedToken("late"):     {"", ErrNoGrant},
		signedToken("early"):    {"", ErrNotKnown},
		"wrong":                 {"", ErrNoGrant},
		"":                      {"", ErrNoGrant},
	} {
		c, err := h.Authenticate(t.Context(), netip.Addr{}, token)
		refused, ok := errors.AsType[*RefusedToken](err)
		if ok != (err != nil && auth.LooksSigned(token)) || ok && (refused.Subject == "nobody") != (refused.Verdict == auth.NoGrant) {
			t.Errorf("Authenticate(%q): %#v", token, err)
		}
		if !errors.Is(err, want.err) || err == nil && c.Grant.Name != want.name || err != nil && c != (Credential{}) {
			t.Errorf("Authenticate(%q) = %+v, %v", token, c, err)
		}
		if signed := token != testToken; err == nil && (c.Expires.IsZero() == signed || (c.Subject == "operator") != signed) {
			t.Errorf("Authenticate(%q) = %+v", token, c)
		}
	}
	if g, ok := h.KnownToken(netip.Addr{}, signedToken("operator")); ok {
		t.Errorf("KnownToken = %v", g)
	}
}

func TestCutSubject(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", 200)
	for s, want := range map[string]string{"": "", "a": "a", long: strings.Repeat("é", maxSubjectBytes/2), "a" + long: "a" + strings.Repeat("é", maxSubjectBytes/2-1)} {
		if got := cutSubject(s); got != want {
			t.Errorf("cutSubject(%q) = %q", s, got)
		}
	}
}

func TestReasonsOfVerdicts(t *testing.T) {
	t.Parallel()
	for v := range auth.Verdict(auth.NumVerdicts) {
		want := opcodes.IdentifyFailed
		if v == auth.KeysUnavailable || v == auth.Overloaded {
			want = opcodes.TryAgainLater
		}
		if got := refusal(v); got != want {
			t.Errorf("%v: %v", v, got)
		}
	}
}
