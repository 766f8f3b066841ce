package history

import (
	"slices"
	"time"
)

// Delays returns how long deliveries took, from before the message was written until it arrived, in ascending order:
// of those messages that were sent from the time from (see [Now]) until before to. Sender and receiver must be of one
// part: part tells that of a session by its number, so that both times are of one process's clock. A nil part stands for
// a history that one process recorded.
func (h *History) Delays(from, to int64, part func(session int) int) []time.Duration {
	byIndex := make(map[int32]*Session, len(h.table))
	for _, s := range h.table {
		byIndex[int32(s.index)] = s
	}
	var delays []time.Duration
	for _, s := range h.table {
		for _, a := range s.arrivals {
			sender := byIndex[a.sender]
			if sender == nil || int(a.n) >= len(sender.sends) || part != nil && part(sender.index) != part(s.index) {
				continue
			}
			if at := sender.sends[a.n].at; at >= from && at < to {
				delays = append(delays, time.Duration(a.at-at))
			}
		}
	}
	slices.Sort(delays)
	return delays
}
