package load

import (
	"slices"
	"time"
)

// Sum adds up the reports of a plan's shares.
type Sum struct {
	latest []Counts // of each share
	done   int
	waits  []uint32
	steps  []int32
	errors map[string]int
}

// NewSum returns a Sum of n shares.
func NewSum(shares int) *Sum {
	return &Sum{latest: make([]Counts, shares), errors: make(map[string]int)}
}

// Add adds a share's next report.
func (s *Sum) Add(share int, r Report) {
	s.latest[share] = r.Counts
	if !r.Done {
		return
	}
	s.done++
	s.waits = append(s.waits, r.Waits...)
	for len(s.steps) < len(r.Steps) {
		s.steps = append(s.steps, 0)
	}
	for i, n := range r.Steps {
		s.steps[i] += n
	}
	for text, n := range r.Errors {
		s.errors[text] += n
	}
}

// Counts returns the counts of all shares so far.
func (s *Sum) Counts() Counts {
	var c Counts
	for _, l := range s.latest {
		c.Started += l.Started
		c.OK += l.OK
		c.Failed += l.Failed
		c.Open += l.Open
		c.Connections += l.Connections
		c.Sent += l.Sent
		c.Given += l.Given
		c.Answered += l.Answered
		c.Killed += l.Killed
	}
	return c
}

// Wait returns the quantile q, from 0 to 1, of the times to the ok; 0 without any ok.
func (s *Sum) Wait(share float64) time.Duration {
	if len(s.waits) == 0 {
		return 0
	}
	slices.Sort(s.waits)
	at := int(share * float64(len(s.waits)))
	return time.Duration(s.waits[min(at, len(s.waits)-1)]) * time.Microsecond
}

// Peak returns the greatest number of open connections at the end of any Step.
func (s *Sum) Peak() int {
	open, peak := 0, 0
	for _, by := range s.steps {
		open += int(by)
		peak = max(peak, open)
	}
	return peak
}

// Errors returns the number of clients without an ok, by cause.
func (s *Sum) Errors() map[string]int { return s.errors }
