package hub

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/mastersocket/mastersocket/broker/memory"
)

// TestGuessesAreSlowedDown: an address that shows wrong tokens is soon not answered any more, whatever it shows then, on
// all doors. Others are.
func TestGuessesAreSlowedDown(t *testing.T) {
	t.Parallel()
	h, url := startHub(t, memory.NewBus().Broker(), nil)
	const limit = 150 // more than an address may fail at once and in the seconds that this takes
	throttled := 0
	for range limit {
		p := connect(t, url)
		p.send(withToken("wrong", "g"))
		switch f := p.read(); {
		case f.Op == 2 && f.Data == "TRY_AGAIN_LATER":
			throttled++
		case f.Op != 2 || f.Data != "IDENTIFY_FAILED":
			t.Fatalf("a guess is answered with %+v", f)
		}
	}
	if throttled == 0 || h.Stats().Attempts.Refused != uint64(throttled) || h.Stats().Attempts.Failed != uint64(limit-throttled) {
		t.Fatalf("%d of %d attempts were not looked at; counted %+v", throttled, limit, h.Stats().Attempts)
	}
	here, there := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("192.0.2.1")
	for range 500 { // so that it does not recover meanwhile
		h.attempts.Failed(here)
	}
	if _, err := h.Authenticate(t.Context(), here, testToken); !errors.Is(err, ErrTooMany) {
		t.Errorf("the admin API gets %v", err)
	}
	if _, ok := h.KnownToken(here, testToken); ok {
		t.Error("a service type gets an answer")
	}
	p := connect(t, url)
	p.send(withToken(testToken, "g"))
	p.wantDisconnect("a right token behind many wrong ones", "TRY_AGAIN_LATER", 1001)
	if _, err := h.Authenticate(t.Context(), there, testToken); err != nil {
		t.Errorf("another address gets %v", err)
	}
	h.attempts.Succeeded(here) // as of a client that came before the guesses
	identify(t, url, "g", nil)
}
