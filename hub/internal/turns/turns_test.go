package turns

import "testing"

func TestPercentile(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		passed counts
		want   float64
	}{
		{counts{}, 0}, {counts{100}, 0.000099}, {counts{98, 2}, 0.0003}, {counts{0, 0, 0, 0, 0, 0, 0, 0, 0, 5}, 1},
	} {
		if got := percentile(&tc.passed, 0.99); got < tc.want*0.999 || got > tc.want*1.001 {
			t.Errorf("%v: %v, want %v", tc.passed, got, tc.want)
		}
	}
}
