package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"

	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/term"

	"github.com/mastersocket/mastersocket/client"
)

// subCmd prints what arrives.
type subCmd struct {
	connection `embed:""`

	Group   []string      `required:"" short:"g" sep:"none" placeholder:"GROUP" help:"Group to join; may be given several times."`
	Event   []string      `short:"e" sep:"none" placeholder:"NAME" help:"Print only events of this name; may be given several times."`
	From    string        `placeholder:"OFFSET" help:"Of groups with history: print first what was sent behind this number, as far as it is kept; 0 for all of it, last for nothing before now. Nothing is missed over a reconnect."`
	Format  string        `enum:"auto,text,data,json" default:"auto" help:"What to print of each message: ${enum}, as explained above."`
	JSON    bool          `name:"json" help:"Short for --format json."`
	Count   int           `short:"n" placeholder:"N" help:"End after so many messages."`
	Timeout time.Duration `placeholder:"TIME" help:"End after this time, such as 10s. With --count that is a failure if fewer arrived."`
	Quiet   bool          `short:"q" help:"Don't report connecting and reconnecting on standard error."`
}

// Help is the longer help.
func (*subCmd) Help() string {
	return `It prints every message that the hub delivers: to the groups, to this client, and to all.

Formats, one line per message:
    data   the message's data, one JSON value (null where it has none)
    json   the whole message as JSON: id, event, data, intent, sender
    text   event, data and sender for people to read
    auto   text on a terminal, data otherwise

Examples:
    mastersocket sub --group demo
    mastersocket sub --group orders --event order.created --count 1 --timeout 30s
    mastersocket sub --group a | mastersocket pub --to GROUP:b --event copied -
    mastersocket sub --group orders --from 0 --json
    mastersocket sub --group a --json | mastersocket pub --to GROUP:b -

It runs until Ctrl-C, --count or --timeout (exit code 0; Ctrl-C before --count messages have come: 130).` + tokenHelp
}

// Run prints messages until it is told to end.
func (c *subCmd) Run(s streams) error {
	if c.Count < 0 {
		return usageError{fmt.Errorf("--count %d: want 1 or more", c.Count)}
	}
	ctx, stop := interruptible()
	defer stop()
	var err error
	p := &printer{out: s.out, format: c.format(s.out), events: c.Event, left: c.Count, done: make(chan error, 1)}
	o := client.Options{
		Group: c.Group[0], Groups: c.Group[1:], Name: "mastersocket sub", NoAcks: true, StopOnAuthError: true,
		NoHistory: c.From == "",
		OnMessage: func(_ context.Context, m *client.Message) {
			p.print(m)
			m.Pass() // the command only prints: the requester must not wait for it
		},
	}
	if o.Recover, err = c.positions(); err != nil {
		return usageError{err}
	}
	o.OnGap = func(g client.Gap) {
		fmt.Fprintf(s.err, "mastersocket: messages of %s are missing (%s): it goes on behind %d\n", visible(g.Group), visible(g.Reason), g.Offset)
	}
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
	var timeout <-chan time.Time
	if c.Timeout > 0 {
		timeout = time.After(c.Timeout)
	}
	select {
	case err := <-p.done:
		return err
	case <-cl.Done():
		return cl.Err()
	case <-timeout:
		goodbye(cl) // after it no other goroutine uses the printer
		return p.missing(c.Count, c.Timeout)
	case <-ctx.Done():
		if c.Count > 0 {
			return errInterrupted
		}
		return nil
	}
}

// positions returns from where on the groups are printed; nil for what is sent from now on.
func (c *subCmd) positions() (map[string]client.Position, error) {
	if c.From == "" || c.From == "last" {
		return nil, nil
	}
	n, err := strconv.ParseUint(c.From, 10, 53)
	if err != nil {
		return nil, fmt.Errorf("--from %s: want a number, or last", c.From)
	}
	all := make(map[string]client.Position)
	for _, g := range c.Group {
		all[g] = client.Position{Offset: n}
	}
	return all, nil
}

// interruptedOr returns err, unless it comes from being interrupted.
func interruptedOr(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errInterrupted
	}
	return err
}

func (c *subCmd) format(out io.Writer) string {
	switch f, ok := out.(*os.File); {
	case c.JSON:
		return "json"
	case c.Format != "auto":
		return c.Format
	case ok && term.IsTerminal(int(f.Fd())):
		return "text"
	}
	return "data"
}

// printer prints messages. It is used by one goroutine at a time.
type printer struct {
	out    io.Writer
	format string
	events []string   // names to print; none for all
	left   int        // messages still to come; 0 for no end
	done   chan error // gets one value when it is done
	ended  bool
}

func (p *printer) print(m *client.Message) {
	if p.ended || len(p.events) > 0 && !slices.Contains(p.events, m.Event) {
		return
	}
	_, err := p.out.Write(formatMessage(p.format, m))
	if err == nil {
		if p.left == 0 {
			return
		}
		if p.left--; p.left > 0 {
			return
		}
	}
	p.ended = true
	p.done <- err
}

// missing is the error of a command whose time is over.
func (p *printer) missing(count int, after time.Duration) error {
	if count == 0 || p.ended {
		return nil
	}
	return fmt.Errorf("only %d of %d messages came within %v", count-p.left, count, after)
}

// formatMessage returns the line that is printed of m.
func formatMessage(format string, m *client.Message) []byte {
	switch format {
	case "json":
		return append(compact(m.Raw), '\n')
	case "text":
		event := m.Event
		if event == "" || visible(event) != event || strings.ContainsAny(event, " \"") {
			event = strconv.Quote(event)
		}
		line := event
		if m.Data != nil {
			line += " " + visible(string(compact(m.Data)))
		}
		return append([]byte(line), " from "+visible(m.Sender)+"\n"...)
	}
	if m.Data == nil {
		return []byte("null\n")
	}
	return append(compact(m.Data), '\n')
}

// compact returns the JSON value without white space, so that it fits one line.
func compact(value []byte) []byte {
	v := jsontext.Value(bytes.Clone(value))
	if err := v.Compact(); err != nil {
		return v // not reached: the hub and the client have checked it
	}
	return v
}

// visible escapes what a terminal would interpret or hide. In JSON such characters can only stand in strings, where \u escapes
// mean the same.
func visible(s string) string {
	if !strings.ContainsFunc(s, hidden) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case !hidden(r):
			b.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

func hidden(r rune) bool {
	return unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co)
}
