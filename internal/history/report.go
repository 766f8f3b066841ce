package history

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Kind is a kind of violation of the protocol's guarantees.
type Kind uint8

// The kinds that a check finds.
const (
	Lost       Kind = iota // a required delivery is missing
	Duplicated             // a receiver got a message again
	Reordered              // a receiver got a sender's message after a later one of the same sender
	Misrouted              // a client got a message not meant for it, or ANY reached more than one
	Leaked                 // a client that had not identified got a message
	Corrupted              // id, sender or data differ from the message sent, or no such message was sent
	Unreported             // a message without a receiver was not refused
	Outside                // a client got a message to a group before it was told that it is a member, or after it was told that it is none
	kinds
)

var kindNames = [kinds]string{"lost", "duplicated", "reordered", "misrouted", "leaked", "corrupted", "unreported", "outside of a membership"}

// String returns the kind in one word.
func (k Kind) String() string { return kindNames[k] }

// Violation is one broken guarantee.
type Violation struct {
	Kind Kind
	Text string // description
}

// Report is the result of a check. Deliveries count copies: a message with three receivers makes three.
type Report struct {
	Sessions int
	Messages int // sent
	Accepted int // acknowledged messages
	Required int // required deliveries, including ANY
	Arrivals int // actual deliveries

	Memberships int // in groups that clients joined while they were connected

	// Counts holds the number of violations of each kind, Examples the first few of each.
	Counts   [kinds]int
	Examples []Violation

	Refused     map[string]int // messages answered with ERROR, by code
	Disconnects map[string]int // sessions that the hub ended, by reason
	CutOff      int            // sessions that ended without a reason
	// Late counts messages with an ACK, as another instance took them, and an ERROR, as that instance no longer had the
	// receiver. With a single instance there must be none.
	Late int

	// Of clients that continued over another connection: the moves, the absences, the messages missed meanwhile, and
	// the refused messages to former ids.
	Moves    int
	Absences int
	Missed   int
	Outdated int
	// Crossed counts messages to a single receiver that a moving client got after a later one of the same sender: one
	// came over the old connection and one over the new, which have no common order. See package client.
	Crossed int

	// Only with Options.Fault: missing deliveries that the hub reported to the sender, and missing messages that the
	// hub's counters account for.
	Reported int
	Counted  int

	perKind int
}

// Violations returns the number of broken guarantees.
func (r *Report) Violations() int {
	n := 0
	for _, c := range r.Counts {
		n += c
	}
	return n
}

// Err returns nil if no guarantee was broken, and otherwise the whole report as an error.
func (r *Report) Err() error {
	if r.Violations() == 0 {
		return nil
	}
	return errors.New(r.String())
}

// String returns the counts in the first lines, and then one line for each example.
func (r *Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "history: %d sessions, %d messages (%d acknowledged), %d deliveries of %d required\n",
		r.Sessions, r.Messages, r.Accepted, r.Arrivals, r.Required)
	for k, n := range r.Counts {
		fmt.Fprintf(&b, "%s%d %s", separator(k), n, Kind(k))
	}
	b.WriteByte('\n')
	if r.Reported+r.Counted > 0 {
		fmt.Fprintf(&b, "tolerated: %d deliveries reported to the sender, %d messages counted by the hub\n", r.Reported, r.Counted)
	}
	writeCounts(&b, "refused", r.Refused)
	writeCounts(&b, "disconnected", r.Disconnects)
	if r.Late > 0 {
		fmt.Fprintf(&b, "refused after they were acknowledged: %d messages\n", r.Late)
	}
	if r.Moves > 0 {
		fmt.Fprintf(&b, "went on under another id: %d times, in %d of them after having been away, when %d deliveries were missed; "+
			"refused for a former id: %d messages; crossed over both connections: %d\n",
			r.Moves, r.Absences, r.Missed, r.Outdated, r.Crossed)
	}
	if r.Memberships > 0 {
		fmt.Fprintf(&b, "groups joined while connected: %d\n", r.Memberships)
	}
	if r.CutOff > 0 {
		fmt.Fprintf(&b, "cut off: %d sessions\n", r.CutOff)
	}
	for _, v := range r.Examples {
		fmt.Fprintf(&b, "  %s: %s\n", v.Kind, v.Text)
	}
	return b.String()
}

func separator(i int) string {
	if i == 0 {
		return ""
	}
	return ", "
}

func writeCounts(b *strings.Builder, title string, counts map[string]int) {
	for i, key := range slices.Sorted(maps.Keys(counts)) {
		if i == 0 {
			fmt.Fprintf(b, "%s:", title)
		}
		fmt.Fprintf(b, "%s %d %s", strings.TrimSuffix(separator(i), " "), counts[key], key)
	}
	if len(counts) > 0 {
		b.WriteByte('\n')
	}
}

// add counts a violation and describes it if it is among the first of its kind.
func (r *Report) add(k Kind, format string, args ...any) {
	r.Counts[k]++
	if r.Counts[k] <= r.perKind {
		r.Examples = append(r.Examples, Violation{k, fmt.Sprintf(format, args...)})
	}
}
