package opcodes

import (
	"testing"
)

func TestOp(t *testing.T) {
	t.Parallel()
	for op, want := range []string{"EVENT", "IDENTIFY", "DISCONNECT", "PING", "PONG", "REPLY", "ERROR", "ACK", "SUBSCRIBE", "UNSUBSCRIBE", "PRESENCE", "HISTORY",
		"DRAIN", "FENCE", "SETTLED", "CANCEL", "16"} {
		if got := Op(op).String(); got != want {
			t.Errorf("%d: %q, want %q", op, got, want)
		}
	}
	if got := Op(-1).String(); got != "-1" {
		t.Errorf("-1: %q", got)
	}
}

func TestReasons(t *testing.T) {
	t.Parallel()
	want := []struct {
		r    Reason
		name string
		code uint16
	}{
		{NoReason, "NO_REASON", 1000},
		{MessageTooBig, "MESSAGE_TOO_BIG", 1009},
		{ServerRestart, "SERVER_RESTART", 1012},
		{TryAgainLater, "TRY_AGAIN_LATER", 1013},
		{UnknownError, "UNKNOWN_ERROR", 4000},
		{UnknownOp, "UNKNOWN_OP", 4001},
		{InvalidPayload, "INVALID_PAYLOAD", 4002},
		{Unauthorized, "UNAUTHORIZED", 4003},
		{IdentifyFailed, "IDENTIFY_FAILED", 4004},
		{AlreadyIdentified, "ALREADY_IDENTIFIED", 4005},
		{PingTimeout, "PING_TIMEOUT", 4006},
		{IdentifyTimeout, "IDENTIFY_TIMEOUT", 4007},
		{SlowConsumer, "SLOW_CONSUMER", 4008},
		{RateLimited, "RATE_LIMITED", 4009},
		{Kicked, "KICKED", 4010},
	}
	all := Reasons()
	if len(all) != len(want) || len(all) != NumReasons {
		t.Fatalf("%d reasons, want %d", len(all), len(want))
	}
	for i, w := range want {
		if all[i] != w.r || w.r.String() != w.name || w.r.CloseCode() != w.code {
			t.Errorf("%v %d, want %s %d", w.r, w.r.CloseCode(), w.name, w.code)
		}
	}
	for _, r := range all {
		want := r.CloseCode()
		if r == ServerRestart || r == TryAgainLater {
			want = 1001
		}
		if got := r.LegacyCloseCode(); got != want {
			t.Errorf("%v: legacy code %d, want %d", r, got, want)
		}
	}
	if r := Reason(200); r.String() != "UNKNOWN_ERROR" || r.CloseCode() != 4000 {
		t.Errorf("no reason: %v %d", r, r.CloseCode())
	}
}

func TestFeatures(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]Feature{
		"errors": FeatureErrors, "acks": FeatureAcks, "drain": FeatureDrain, "groups": FeatureGroups, "presence": FeaturePresence,
		"exclusive": FeatureExclusive, "requests": FeatureRequests, "history": FeatureHistory,
	} {
		if f, ok := parseFeature(name); !ok || f != want || f.String() != name {
			t.Errorf("%s: %v, %v", name, f, ok)
		}
	}
	if f, ok := parseFeature("Errors"); ok || f != 0 {
		t.Errorf("Errors: %v, %v", f, ok)
	}
	both := FeatureErrors | FeatureAcks
	if both.String() != "errors,acks" || !both.Has(FeatureAcks) || FeatureAcks.Has(both) {
		t.Errorf("both: %v", both)
	}
	if names := Feature(0).Names(); names == nil || len(names) != 0 {
		t.Errorf("none: %v", names)
	}
}
