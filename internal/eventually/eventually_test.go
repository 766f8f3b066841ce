package eventually

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestWithin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		if err := Within(time.Second, func() bool { return false }); err == nil || time.Since(begin) != time.Second {
			t.Errorf("a condition that stays false: %v after %v", err, time.Since(begin))
		}
		begin = time.Now()
		calls := 0
		if err := Within(time.Second, func() bool { calls++; return calls == 3 }); err != nil || time.Since(begin) != 2*pace {
			t.Errorf("a condition that is true at the third look: %v after %v", err, time.Since(begin))
		}
		True(t, "nothing", func() bool { return true })
	})
}
