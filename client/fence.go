package client

import (
	"slices"
	"time"
)

// How often a session sends FENCEs: the first ones as soon as they are of use, since a move lasts some milliseconds; then
// at a rate that counts little against the limits of a token.
const (
	fenceBurst    = 16
	fenceInterval = 20 * time.Millisecond
	// fencePatience is how long a FENCE may be on its way before another one is tried.
	fencePatience = time.Second
)

// fencePrefix begins the ids of FENCEs, by which an ERROR is known that answers one.
const fencePrefix = "fence:"

// fence is a FENCE on its way to the other connection.
type fence struct {
	id    string
	reach int64 // how many messages had come when it was sent
	at    time.Time
	last  bool // no message is sent behind it
	clear bool // it was sent after run asked whether the old connection is clear
}

// fences are those that one session has sent in a move. They arrive in the order in which they were sent.
type fences struct {
	onWay []fence
	count int
	next  time.Time // not before this
}

// sent notes one.
func (f *fences) sent(one fence) {
	one.at = time.Now()
	f.onWay = append(f.onWay, one)
	if f.count++; f.count > fenceBurst {
		f.next = one.at.Add(fenceInterval)
	}
}

// arrived returns the one that has arrived. If one before it was lost it returns that one instead, which claims less.
func (f *fences) arrived() (fence, bool) {
	if len(f.onWay) == 0 {
		return fence{}, false
	}
	one := f.onWay[0]
	f.onWay = f.onWay[1:]
	return one, true
}

// refused forgets the one of that id.
func (f *fences) refused(id string) {
	f.onWay = slices.DeleteFunc(f.onWay, func(one fence) bool { return one.id == id })
	f.next = time.Now().Add(fenceInterval)
}

// due tells whether another one may be sent: one at a time, as long as none is lost.
func (f *fences) due(now time.Time) bool {
	if n := len(f.onWay); n > 0 && now.Sub(f.onWay[n-1].at) < fencePatience {
		return false
	}
	return !now.Before(f.next)
}
