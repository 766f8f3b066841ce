package opcodes_test

import (
	"slices"
	"testing"

	"github.com/mastersocket/mastersocket/opcodes"
)

func TestOp(t *testing.T) {
	t.Parallel()
	for op, want := range []string{"EVENT", "IDENTIFY", "DISCONNECT", "PING", "PONG", "REPLY", "ERROR", "ACK", "8", "9", "10", "11", "DRAIN", "FENCE", "14"} {
		if got := opcodes.Op(op).String(); got != want {
			t.Errorf("%d: %q, want %q", op, got, want)
		}
	}
	if got := opcodes.Op(-1).String(); got != "-1" {
		t.Errorf("-1: %q", got)
	}
}

func TestReasons(t *testing.T) {
	t.Parallel()
	want := []struct {
		r    opcodes.Reason
		name string
		code uint16
	}{
		{opcodes.NoReason, "NO_REASON", 1000},
		{opcodes.MessageTooBig, "MESSAGE_TOO_BIG", 1009},
		{opcodes.ServerRestart, "SERVER_RESTART", 1012},
		{opcodes.TryAgainLater, "TRY_AGAIN_LATER", 1013},
		{opcodes.UnknownError, "UNKNOWN_ERROR", 4000},
		{opcodes.UnknownOp, "UNKNOWN_OP", 4001},
		{opcodes.InvalidPayload, "INVALID_PAYLOAD", 4002},
		{opcodes.Unauthorized, "UNAUTHORIZED", 4003},
		{opcodes.IdentifyFailed, "IDENTIFY_FAILED", 4004},
		{opcodes.AlreadyIdentified, "ALREADY_IDENTIFIED", 4005},
		{opcodes.PingTimeout, "PING_TIMEOUT", 4006},
		{opcodes.IdentifyTimeout, "IDENTIFY_TIMEOUT", 4007},
		{opcodes.SlowConsumer, "SLOW_CONSUMER", 4008},
		{opcodes.RateLimited, "RATE_LIMITED", 4009},
		{opcodes.Kicked, "KICKED", 4010},
	}
	all := opcodes.Reasons()
	if len(all) != len(want) || len(all) != opcodes.NumReasons {
		t.Fatalf("%d reasons, want %d", len(all), len(want))
	}
	for i, w := range want {
		if all[i] != w.r || w.r.String() != w.name || w.r.CloseCode() != w.code {
			t.Errorf("%v %d, want %s %d", w.r, w.r.CloseCode(), w.name, w.code)
		}
		if r, ok := opcodes.ParseReason(w.name); !ok || r != w.r {
			t.Errorf("ParseReason(%s): %v, %v", w.name, r, ok)
		}
	}
	for _, name := range []string{"", "no_reason", "PARTED"} {
		if r, ok := opcodes.ParseReason(name); ok || r != opcodes.UnknownError {
			t.Errorf("ParseReason(%q): %v, %v", name, r, ok)
		}
	}
	if r := opcodes.Reason(200); r.String() != "UNKNOWN_ERROR" || r.CloseCode() != 4000 {
		t.Errorf("no reason: %v %d", r, r.CloseCode())
	}
}

func TestFeatures(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]opcodes.Feature{
		"errors": opcodes.FeatureErrors, "acks": opcodes.FeatureAcks, "drain": opcodes.FeatureDrain,
	} {
		if f, ok := opcodes.ParseFeature(name); !ok || f != want || f.String() != name {
			t.Errorf("%s: %v, %v", name, f, ok)
		}
	}
	if f, ok := opcodes.ParseFeature("Errors"); ok || f != 0 {
		t.Errorf("Errors: %v, %v", f, ok)
	}
	both := opcodes.FeatureErrors | opcodes.FeatureAcks
	if both.String() != "errors,acks" || !both.Has(opcodes.FeatureAcks) || opcodes.FeatureAcks.Has(both) {
		t.Errorf("both: %v", both)
	}
	if names := opcodes.Feature(0).Names(); names == nil || len(names) != 0 {
		t.Errorf("none: %v", names)
	}
}

func TestErrorCodes(t *testing.T) {
	t.Parallel()
	all := opcodes.ErrorCodes()
	if !slices.Contains(all, opcodes.CodeNoReceiver) || len(slices.Compact(slices.Sorted(slices.Values(all)))) != len(all) {
		t.Errorf("%v", all)
	}
}
