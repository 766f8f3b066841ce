package hub

import (
	"fmt"
	"sync/atomic"

	"github.com/mastersocket/mastersocket/opcodes"
	"github.com/mastersocket/mastersocket/transport"
)

// change is an IDENTIFY, SUBSCRIBE or UNSUBSCRIBE from when its rights are checked until it is answered. Each kind of group
// has a changePart for it:
//
//	check → acquire → wait for what acquire asked for → check → answer → enter
//
// A SUBSCRIBE is carried out entirely or, after release, not at all. An UNSUBSCRIBE has nothing to acquire.
type change struct {
	session *session
	ref     transport.Ref
	op      opcodes.Op // Identify, Subscribe or Unsubscribe
	id      []byte     // of the client's request, still escaped; nil for what another one asked for
	asked   opcodes.Change
	by      string             // who asked for it; empty for the client
	trusted bool               // a service type asked for it: the rights are its concern
	hear    func(*ChangeError) // called once on the loop with what became of it; nil for none

	// Owned by the loop.
	since     uint32         // loop clock when it was asked for
	begun     bool           // its turn has come
	paused    bool           // of an IDENTIFY: the client is not read meanwhile
	over      bool           // it was answered, or its client is gone
	groups    []*group       // to join, which expect the client
	holdings  []*holding     // that it made
	histories []*joinHistory // of the groups with history to join or recover
	left      []string       // names of the groups that the client was in and left

	// Changed by any goroutine.
	waits  atomic.Int32 // what it waits for, and one for the loop itself
	failed atomic.Bool  // some of it can't be had
}

// ChangeError is why groups of a client were not changed.
type ChangeError struct {
	Code  opcodes.ErrorCode // as its SUBSCRIBE would be answered; CodeNoReceiver where the client has gone
	Group string            // the one at fault; empty for none
}

// Error says why.
func (e *ChangeError) Error() string {
	if e.Group == "" {
		return fmt.Sprintf("change groups: %s", e.Code)
	}
	return fmt.Sprintf("change groups: %s: %q", e.Code, e.Group)
}

// Explanation says in words for the client why its groups were not changed.
func (e *ChangeError) Explanation() string {
	switch e.Code {
	case opcodes.CodeForbidden:
		return "the token does not allow this group, or it is no group name"
	case opcodes.CodeTooManyGroups:
		return "the client would be in more groups than it may"
	case opcodes.CodePrimaryGroup:
		return "the group of IDENTIFY can't be left"
	case opcodes.CodeConflict:
		return "a group can't be plain and exclusive at the same time"
	case opcodes.CodeOverloaded:
		return "too many clients wait for the group"
	case opcodes.CodeBrokerUnavailable:
		return "other instances can't be reached at the moment; nothing was changed"
	}
	return "nothing was changed"
}

// changePart is what changes do with one kind of group. It is called on the client's loop.
type changePart interface {
	// check returns why the client may not have what the change asks for, with the rights that it has at the moment; nil
	// if it may. It changes nothing, and is called again when what acquire asked for has come.
	check(c *change) *ChangeError
	// acquire asks for what the client needs before it can enter. For each answer to wait for it calls c.expect, and
	// what answers calls c.subscribed.
	acquire(c *change)
	// release gives back what acquire got. The client may have gone.
	release(c *change)
	// leave carries out an UNSUBSCRIBE, right before the answer is queued.
	leave(c *change)
	// answer adds to the answer what became of the part.
	answer(c *change, a *opcodes.Changed)
	// enter carries out an IDENTIFY or SUBSCRIBE, right behind its answer.
	enter(c *change)
}

// changes are the changes of a client's groups: they are carried out one at a time, in their order.
type changes struct {
	queue []*change // the first one is being carried out
	full  bool      // too many wait: the client is not read
	spent bool      // it named too many groups: the client is not read
	names allowance
}

const (
	// maxWaitingChanges is how many changes of a client may wait for the one that is being carried out.
	maxWaitingChanges = 16
	// maxNames is how many groups a client may name at once, and namesPerSecond how many in each second after that.
	maxNames       = 2048
	namesPerSecond = 256
	// changeTimeout is how long a change may wait for other instances from when it was asked for, in milliseconds.
	changeTimeout = 5000
)

// allowance is how many groups a client may name. The zero allowance is a full one.
type allowance struct {
	used int64  // in thousandths of a name
	at   uint32 // loop clock
}

// take uses the allowance for so many names at the loop's time now, also where it is used up. It reports whether some is
// left.
func (a *allowance) take(names int, now uint32) bool {
	a.used = max(a.used-int64(now-a.at)*namesPerSecond, 0) + int64(min(names, maxNames))*1000
	a.at = now
	return a.used <= maxNames*1000
}

// expect notes that one more call of subscribed is to come.
func (c *change) expect() { c.waits.Add(1) }

// Size implements transport.Mail.
func (c *change) Size() int { return 64 }
