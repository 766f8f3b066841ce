package fleet

import "time"

// leadership is this instance's claim to lead a fleet. It is used on the first loop.
type leadership interface {
	// Left returns for how long this instance leads for certain; zero while it does not.
	Left() time.Duration
	// Release gives the claim up.
	Release()
}

// claim claims the leadership of a fleet: of all instances one has it at a time. held is called with the term, which rises with
// each leader, and lost when it has ended.
func (s *Service) claim(fleet string, held func(term uint64), lost func()) leadership {
	return s.first.Hold(statePrefix+"leader."+fleet, held, lost)
}

// statePrefix begins the names of groups between instances. No client can send to them.
const statePrefix = "$fleet."

// leaseMargin is how long before the end of its lease a leader stops.
const leaseMargin = 300 * time.Millisecond
