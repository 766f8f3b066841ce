package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/mastersocket/mastersocket/services/echo/load"
)

// echoProgress shows the progress of a load: in one line that changes on a terminal, elsewhere in a line every few
// seconds.
type echoProgress struct {
	out      io.Writer
	plan     load.Plan
	terminal bool
	next     time.Time // when the next line is due
}

// Times between two lines, and the width of the bar.
const (
	plainInterval = 5 * time.Second
	barInterval   = 100 * time.Millisecond
	barWidth      = 30
)

func newEchoProgress(out io.Writer, p load.Plan) *echoProgress {
	f, ok := out.(*os.File)
	b := &echoProgress{out: out, plan: p, terminal: ok && term.IsTerminal(int(f.Fd()))}
	if !b.terminal {
		b.next = p.Start.Add(plainInterval)
	}
	return b
}

// show shows the counts, if it is time to.
func (b *echoProgress) show(c load.Counts) {
	now := time.Now()
	if now.Before(b.next) {
		return
	}
	if !b.terminal {
		b.next = now.Add(plainInterval)
		fmt.Fprintln(b.out, b.text(c))
		return
	}
	b.next = now.Add(barInterval)
	done := barWidth * int(c.OK) / b.plan.Clients
	fmt.Fprintf(b.out, "\r[%s%s] %s\x1b[K", strings.Repeat("#", done), strings.Repeat("-", barWidth-done), b.text(c))
}

// end shows the last counts.
func (b *echoProgress) end(c load.Counts) {
	b.next = time.Time{}
	b.show(c)
	if b.terminal {
		fmt.Fprintln(b.out)
	}
}

func (b *echoProgress) text(c load.Counts) string {
	return fmt.Sprintf("%.0f s: ok %s of %s, connected %s, reconnected %s", max(time.Since(b.plan.Start), 0).Seconds(), grouped(c.OK),
		grouped(b.plan.Clients), grouped(c.Open), grouped(max(c.Connections-c.Started, 0)))
}
