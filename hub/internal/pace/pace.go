// Package pace works out how far apart clients are told to go elsewhere.
package pace

import "time"

// spare is the part of a rate that is not used: clients that are late by as much as a fifth of a second exceed no second.
const spare = 0.2

// Interval returns the time between two of n slots: as short as the rate (in a second; 0 for none) allows or, without one,
// so long that they fill the time over. enough is false if that is too short for the rate; they fill it then too.
func Interval(n int, over time.Duration, rate int) (interval time.Duration, enough bool) {
	if n <= 0 {
		return 0, true
	}
	filling := over / time.Duration(n)
	if rate <= 0 {
		return filling, true
	}
	if interval = OfRate(rate); interval > filling {
		return filling, false
	}
	return interval, true
}

// OfRate returns the time between two slots that a rate allows.
func OfRate(rate int) time.Duration {
	return time.Duration(float64(time.Second) / (float64(rate) * (1 - spare)))
}

// RateNeeded returns the rate that has n slots in the time over.
func RateNeeded(n int, over time.Duration) int {
	return int(float64(n)/(over.Seconds()*(1-spare))) + 1
}

// Clients that move by themselves need time for it after their slots: a part of the whole, and not more than needed.
const (
	moveShare = 4 // a quarter
	MoveTime  = 5 * time.Second
)

// Window returns the part of a drain in which slots may be, where clients move by themselves.
func Window(over time.Duration) time.Duration { return over - min(over/moveShare, MoveTime) }

// Whole returns how long a drain has to be whose slots take that long, where clients move by themselves.
func Whole(slots time.Duration) time.Duration { return slots + min(slots/(moveShare-1), MoveTime) }
