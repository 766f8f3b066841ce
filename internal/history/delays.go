package history

import (
	"slices"
	"time"
)

// Delays returns the latencies of deliveries, from before the write to the arrival, in ascending order, for messages
// sent in [from, to) (see [Now]). Sender and receiver must be of one part, so that one process's clock gave both times:
// part maps a session's number to its part. A nil part means that one process recorded the history.
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
