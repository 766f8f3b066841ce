package load

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// Plan says what the clients do.
type Plan struct {
	URL     string        // ws://host:port/echo
	Clients int           // number of clients in all shares
	Over    time.Duration // period in which clients connect, each at a random moment
	Delay   Range         // from a message to the ok in answer
	Kill    float64       // share of the clients that reset their first connection; 0 to 1
	Timeout time.Duration // per connection; without an ok by then the client connects again
	Within  time.Duration // from the end of Over until every client must have its ok
	Start   time.Time     // the beginning of Over
	Share   int           // from 0 to Shares-1
	Shares  int
	Seed    uint64 // of all random choices
}

// Check returns an error if the plan is invalid.
func (p *Plan) Check() error {
	switch {
	case p.Clients < 1:
		return fmt.Errorf("%d clients: want 1 or more", p.Clients)
	case p.Over < 0 || p.Timeout <= 0 || p.Within <= 0:
		return errors.New("times must be positive")
	case p.Kill < 0 || p.Kill > 1:
		return fmt.Errorf("a share of %v clients: want 0 to 1", p.Kill)
	case p.Shares < 1 || p.Share < 0 || p.Share >= p.Shares:
		return fmt.Errorf("share %d of %d", p.Share, p.Shares)
	}
	return nil
}

// numbers returns the range of the share's clients among all.
func (p *Plan) numbers() (from, to int) {
	return p.Clients * p.Share / p.Shares, p.Clients * (p.Share + 1) / p.Shares
}

// Range is a range of durations, both ends included.
type Range struct{ Min, Max time.Duration }

// ParseRange reads "0s..2s", or one time for both ends.
func ParseRange(s string) (Range, error) {
	from, to, ok := strings.Cut(s, "..")
	if !ok {
		to = from
	}
	low, err := time.ParseDuration(from)
	if err != nil {
		return Range{}, fmt.Errorf("%q: want a time or a range of times, such as 0s..2s", s)
	}
	high, err := time.ParseDuration(to)
	if err != nil || low < 0 || high < low {
		return Range{}, fmt.Errorf("%q: want a time or a range of times, such as 0s..2s", s)
	}
	return Range{low, high}, nil
}

// String returns the range as ParseRange reads it.
func (r Range) String() string {
	if r.Min == r.Max {
		return r.Min.String()
	}
	return r.Min.String() + ".." + r.Max.String()
}

// pick returns a random time of the range.
func (r Range) pick() time.Duration { return r.Min + time.Duration(rand.Int64N(int64(r.Max-r.Min)+1)) }

// ParseShare reads a share of a whole: "1%", or a number from 0 to 1.
func ParseShare(s string) (float64, error) {
	digits, percent := strings.CutSuffix(s, "%")
	v, err := strconv.ParseFloat(digits, 64)
	if percent {
		v /= 100
	}
	if err != nil || !(v >= 0 && v <= 1) {
		return 0, fmt.Errorf("%q: want a share such as 1%%", s)
	}
	return v, nil
}

// decorations make texts of many kinds; %s is unique to each client.
var decorations = []string{
	"%s", "client %s", "%s\nsecond line", "<b>%s</b> & \"quotes\" \\ \t", "größe %s 漢字 \U0001F600", "message %s", " %s ",
	"%s" + strings.Repeat(" and so on", 50),
}

// text returns the client's message, unique in the run.
func (p *Plan) text(n int) string {
	return strings.ReplaceAll(decorations[n%len(decorations)], "%s", strconv.FormatUint(p.Seed, 36)+"-"+strconv.Itoa(n))
}
