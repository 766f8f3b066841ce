package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/mastersocket/mastersocket/client"
)

// watchCmd prints who is in a group, and who joins and leaves.
type watchCmd struct {
	connection `embed:""`

	Group  string `required:"" short:"g" placeholder:"GROUP" help:"Group to watch."`
	Join   string `default:"watchers" placeholder:"GROUP" help:"Group to join: every client is in one. The token must allow it."`
	Once   bool   `help:"End once it is printed who is there."`
	Format string `enum:"auto,text,json" default:"auto" help:"How to print each line: ${enum}, as explained above."`
	JSON   bool   `name:"json" help:"Short for --format json."`
	Quiet  bool   `short:"q" help:"Don't report connecting and reconnecting on standard error."`
}

// Help is the longer help.
func (*watchCmd) Help() string {
	return `It prints the members of a group, and then each that joins or leaves. It is no member itself. The token needs the
right to watch the group.

Formats, one line per change:
    text   here, joined, left, moved or updated, and the member: its id, name, version, instance and meta
    json   the same as JSON: change, member; reason (left); from, its former id (moved)
    auto   text on a terminal, json otherwise

Of a group that is too large, it prints the number of its members: count. Instances that don't answer: missing.

Examples:
    mastersocket watch --group workers
    mastersocket watch --group workers --once --json | jq -r .member.name

It runs until Ctrl-C or, with --once, until all members are printed.` + tokenHelp
}

// Run prints changes until it is told to end.
func (c *watchCmd) Run(s streams) error {
	ctx, stop := interruptible()
	defer stop()
	o := client.Options{Group: c.Join, Name: "mastersocket watch", StopOnAuthError: true}
	if !c.Quiet {
		o.OnConnect = func(id client.Identity) {
			fmt.Fprintf(s.err, "mastersocket: connected to %s as %s\n", c.url(), id.ID)
		}
		o.OnDisconnect = func(err error) { fmt.Fprintf(s.err, "mastersocket: %s; connecting again\n", whyLost(err)) }
	}
	cl, err := c.connect(ctx, o)
	if err != nil {
		return interruptedOr(ctx, err)
	}
	defer goodbye(cl)
	p := &watchPrinter{out: s.out, json: c.wantsJSON(s.out), failed: make(chan error, 1)}
	if _, err := cl.Watch(ctx, c.Group, client.WatchOptions{OnChange: p.print}); err != nil {
		return interruptedOr(ctx, err)
	}
	if c.Once {
		goodbye(cl) // after it no other goroutine uses the printer
		select {
		case err := <-p.failed:
			return err
		default:
			return nil
		}
	}
	select {
	case err := <-p.failed:
		return err
	case <-cl.Done():
		return cl.Err()
	case <-ctx.Done():
		return nil
	}
}

func (c *watchCmd) wantsJSON(out io.Writer) bool {
	if c.JSON || c.Format != "auto" {
		return c.JSON || c.Format == "json"
	}
	f, ok := out.(*os.File)
	return !ok || !term.IsTerminal(int(f.Fd()))
}

// watchPrinter prints what a Watch says. It is used by one goroutine at a time.
type watchPrinter struct {
	out     io.Writer
	json    bool
	began   bool
	count   int
	missing []string
	failed  chan error // gets one value if it can't print any more
	ended   bool
}

// watchLine is a line of JSON.
type watchLine struct {
	Change  string         `json:"change"`
	Member  *client.Member `json:"member,omitempty"`
	Reason  string         `json:"reason,omitempty"`
	From    string         `json:"from,omitempty"`
	Count   *int           `json:"count,omitempty"`
	Missing *[]string      `json:"missing,omitempty"`
}

// print prints a change.
func (p *watchPrinter) print(w *client.Watch, change client.PresenceChange) {
	for _, m := range change.Joined {
		p.line(watchLine{Change: map[bool]string{true: "joined", false: "here"}[p.began], Member: &m})
	}
	for _, d := range change.Left {
		p.line(watchLine{Change: "left", Member: &d.Member, Reason: d.Reason})
	}
	for _, m := range change.Moved {
		p.line(watchLine{Change: "moved", Member: &m.To, From: m.From})
	}
	for _, m := range change.Updated {
		p.line(watchLine{Change: "updated", Member: &m})
	}
	if n, named := w.Count(); !named && n != p.count {
		p.count = n
		p.line(watchLine{Change: "count", Count: &n})
	}
	if missing := w.Missing(); !slices.Equal(missing, p.missing) {
		p.missing = missing
		all := append([]string{}, missing...)
		p.line(watchLine{Change: "missing", Missing: &all})
	}
	p.began = true
}

// line prints one line.
func (p *watchPrinter) line(l watchLine) {
	if p.ended {
		return
	}
	b, err := []byte(l.text()), error(nil)
	if p.json {
		b, err = json.Marshal(l)
	}
	if err == nil {
		_, err = p.out.Write(append(b, '\n'))
	}
	if err != nil {
		p.ended = true
		p.failed <- err
	}
}

// text returns the line for people.
func (l *watchLine) text() string {
	switch {
	case l.Count != nil:
		return fmt.Sprint("count   ", *l.Count)
	case l.Missing != nil && len(*l.Missing) == 0:
		return "missing none"
	case l.Missing != nil:
		return "missing " + visible(strings.Join(*l.Missing, " "))
	}
	m := l.Member
	words := []string{fmt.Sprintf("%-7s", l.Change), m.ID}
	if l.From != "" {
		words = append(words, "from", l.From)
	}
	for _, w := range []string{m.Name, m.Version} {
		if w != "" {
			words = append(words, visible(w))
		}
	}
	if m.Node != "" {
		words = append(words, "on", visible(m.Node))
	}
	for _, key := range slices.Sorted(maps.Keys(m.Meta)) {
		words = append(words, visible(key+"="+m.Meta[key]))
	}
	if l.Change == "left" && l.Reason != "" {
		words = append(words, l.Reason)
	}
	if l.Change == "here" && !m.Since.IsZero() {
		words = append(words, "since", m.Since.UTC().Format(time.RFC3339))
	}
	return strings.Join(words, " ")
}
