package history

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Kind is a way to break the protocol's guarantees.
type Kind uint8

// What a check can find.
const (
	Lost       Kind = iota // somebody who had to get a message did not
	Duplicated             // a receiver got a message again
	Reordered              // a receiver got a sender's message after a later one of the same sender
	Misrouted              // somebody got a message who must not, or ANY reached more than one
	Leaked                 // a client that had not identified got a message
	Corrupted              // id, sender or data are not as they were sent, or nobody sent it
	Unreported             // nobody could get a message and its sender was not told so
	kinds
)

var kindNames = [kinds]string{"lost", "duplicated", "reordered", "misrouted", "leaked", "corrupted", "unreported"}

// String returns the kind in one word.
func (k Kind) String() string { return kindNames[k] }

// Violation is one broken guarantee.
type Violation struct {
	Kind Kind
	Text string // who, what, when
}

// Report is the result of a check. Numbers of deliveries count copies: a message with three receivers makes three.
type Report struct {
	Sessions int
	Messages int // that were sent
	Accepted int // messages that were acknowledged
	Required int // deliveries that had to be, ANY included
	Arrivals int // deliveries that were

	// Counts holds the number of violations of each kind, Examples the first few of each.
	Counts   [kinds]int
	Examples []Violation

	Refused     map[string]int // messages answered with ERROR, by code
	Disconnects map[string]int // sessions that the hub ended, by reason
	CutOff      int            // sessions that broke without a reason
	// Late counts the messages with an ACK, as another instance took them, and an ERROR, as it found the one receiver
	// gone. With a single instance there must be none.
	Late int

	// Of clients that went on over another connection: how often they did, how often they were away meanwhile, what they
	// missed while they were, and the messages for one of their former ids that were refused.
	Moves    int
	Absences int
	Missed   int
	Outdated int
	// Crossed counts messages to a single receiver that a client got, while it moved, after a later one of the same sender
	// to it alone: one came over the new connection and one over the old, which nothing orders. See package client.
	Crossed int

	// Fault mode only: deliveries missing because the hub said so to the sender, and messages missing without a word to
	// the sender that the hub's own counters account for.
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

// add counts a violation and keeps it in words if it is among the first of its kind.
func (r *Report) add(k Kind, format string, args ...any) {
	r.Counts[k]++
	if r.Counts[k] <= r.perKind {
		r.Examples = append(r.Examples, Violation{k, fmt.Sprintf(format, args...)})
	}
}
