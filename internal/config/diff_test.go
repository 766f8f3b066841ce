package config

import (
	"slices"
	"testing"
	"time"
)

func TestDifferences(t *testing.T) {
	t.Parallel()
	a, b := mustParse(t, nil), mustParse(t, nil)
	if got := Differences(a, b); len(got) > 0 {
		t.Errorf("the same settings differ in %v", got)
	}
	b.LogLevel, b.PingInterval, b.Enable, b.Token = "debug", time.Second, []string{"echo"}, "other"
	if got := Differences(a, b); !slices.Equal(got, []string{"enable", "token", "ping-interval", "log-level"}) {
		t.Errorf("got %v", got)
	}
	if a.LogLevel == b.LogLevel || b.Token != "other" {
		t.Error("comparing changed the settings")
	}
	a.Enable, b = []string{}, mustParse(t, nil)
	if got := Differences(a, b); len(got) > 0 {
		t.Errorf("an empty list and none differ: %v", got)
	}
}
