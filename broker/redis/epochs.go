package redis

import (
	"strconv"
	"strings"

	"github.com/mastersocket/mastersocket/broker"
)

// epochs are the epochs of a group that Redis remembers, oldest first.
type epochs []epoch

type epoch struct {
	name   string
	before uint64 // the last number before it
}

func parseEpochs(s string) (known epochs, ok bool) {
	fields := strings.Fields(s)
	if len(fields)%2 != 0 {
		return nil, false
	}
	for i := 0; i < len(fields); i += 2 {
		before, err := strconv.ParseUint(fields[i+1], 10, 63)
		if err != nil {
			return nil, false
		}
		known = append(known, epoch{fields[i], before})
	}
	return known, true
}

// end returns how far an epoch has reached, where last is the newest message.
func (e epochs) end(name string, last uint64) (offset uint64, ok bool) {
	for i := len(e) - 1; i >= 0; i-- {
		if e[i].name == name {
			return last, true
		}
		last = e[i].before
	}
	return 0, false
}

// good reports whether a position is good.
func (e epochs) good(p broker.Position, last uint64) bool {
	if p.Epoch == "" {
		return p.Offset <= last
	}
	end, ok := e.end(p.Epoch, last)
	return ok && p.Offset <= end
}

// of returns the epoch of a message.
func (e epochs) of(offset uint64) string {
	for i := len(e) - 1; i >= 0; i-- {
		if offset > e[i].before || i == 0 {
			return e[i].name
		}
	}
	return ""
}

// settle returns the offset behind which p begins for a reader that was at from, and sets p.Gap.
func (e epochs) settle(from broker.Position, p *broker.Page) uint64 {
	kept := p.First - 1 // the last one that is not kept
	switch {
	case from == broker.Position{}:
		return kept
	case !e.good(from, p.Last):
		end := p.Last
		if from.Epoch != "" {
			end, _ = e.end(from.Epoch, p.Last)
		}
		end = max(end, kept)
		p.Gap = &broker.Gap{Reason: broker.GapEpoch, Position: broker.Position{Epoch: p.Epoch, Offset: end}}
		return end
	case from.Offset < kept:
		p.Gap = &broker.Gap{Reason: broker.GapTrimmed, Position: broker.Position{Epoch: e.of(kept), Offset: kept}}
		return kept
	}
	return from.Offset
}
