package history

import (
	"math"
	"slices"
)

// AnyCounts returns the number of ANY messages of the group that each session got, for all identified sessions of the
// group (of all groups if group is empty), in the order of recording.
func (h *History) AnyCounts(group string) []int {
	bySession := make(map[int32]*Session, len(h.table))
	for _, s := range h.table {
		bySession[int32(s.index)] = s
	}
	var counts []int
	for _, s := range h.table {
		if s.life.Identified == 0 || group != "" && !slices.Contains(s.life.Groups, group) {
			continue
		}
		n := 0
		for _, a := range s.arrivals {
			from := bySession[a.sender]
			if from != nil && int(a.n) < len(from.sends) && from.sends[a.n].to == (To{Any, group}) {
				n++
			}
		}
		counts = append(counts, n)
	}
	return counts
}

// ChiSquare tests whether counts may come from a uniform distribution. It returns Pearson's statistic and the
// probability of one at least that large if they do: a tiny p (below 1e-6, say) means that they do not. With fewer than
// two cells or no counts it returns 0 and 1. The expected count per cell should be at least five.
func ChiSquare(counts []int) (stat, p float64) {
	total := 0
	for _, n := range counts {
		total += n
	}
	if len(counts) < 2 || total == 0 {
		return 0, 1
	}
	want := float64(total) / float64(len(counts))
	for _, n := range counts {
		d := float64(n) - want
		stat += d * d / want
	}
	return stat, upperGamma(float64(len(counts)-1)/2, stat/2)
}

// upperGamma is the regularized upper incomplete gamma function Q(a, x), by its series below a+1 and by Lentz's method
// for its continued fraction above, as each converges fast there.
func upperGamma(a, x float64) float64 {
	const (
		eps   = 1e-15
		steps = 100000
	)
	if x <= 0 {
		return 1
	}
	lg, _ := math.Lgamma(a)
	scale := math.Exp(a*math.Log(x) - x - lg)
	if x < a+1 {
		term := 1 / a
		sum := term
		for n := a + 1; n < a+steps && term > sum*eps; n++ {
			term *= x / n
			sum += term
		}
		return 1 - sum*scale
	}
	const tiny = 1e-300
	b := x + 1 - a
	c, d := 1/tiny, 1/b
	f := d
	for i := 1.0; i < steps; i++ {
		an := -i * (i - a)
		b += 2
		d = 1 / nonzero(an*d+b, tiny)
		c = nonzero(b+an/c, tiny)
		f *= d * c
		if math.Abs(d*c-1) < eps {
			break
		}
	}
	return f * scale
}

func nonzero(v, tiny float64) float64 {
	if math.Abs(v) < tiny {
		return tiny
	}
	return v
}
