package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/mastersocket/mastersocket/client"
)

// window is how many messages may wait for their acknowledgement.
const window = 128

// pubCmd sends events.
type pubCmd struct {
	connection `embed:""`

	To      string        `required:"" placeholder:"TARGET" help:"Receivers: GLOBAL, GROUP:<group>, DIRECT:<client id>, ANY:<group> (any one of it) or ANY (any client). GROUP and DIRECT take several, with commas between them."`
	Except  []string      `placeholder:"NAME" help:"Groups, and ids of clients, that don't get the event, with commas between them."`
	Event   string        `short:"e" placeholder:"NAME" help:"The event's name. May be left out if DATA is - and standard input has whole messages."`
	Group   string        `short:"g" default:"cli" placeholder:"GROUP" help:"Group to join while sending, since each client needs one (default: ${default})."`
	Once    string        `placeholder:"ID" help:"To a group with history: the id of the one message, which the group takes once within 2 minutes. Sending it again is safe."`
	Timeout time.Duration `default:"10s" placeholder:"TIME" help:"How long to wait for the hub to acknowledge a message (default: ${default})."`
	Data    string        `arg:"" optional:"" help:"The event's data, a JSON value; none by default. With - each JSON value on standard input is sent in an event of its own."`
}

// Help is the longer help.
func (*pubCmd) Help() string {
	return `It ends when the hub has acknowledged everything. It reports a message that reached no client or was refused, goes on
with the next, and then ends with exit code 1.

A string is JSON only with its quotes: '"hello"'. Data that begins with a minus needs -- before it.

Examples:
    mastersocket pub --to GROUP:demo --event hi '{"n":1}'
    mastersocket pub --to GROUP:shop.eu,shop.us --except night-shift --event closing
    mastersocket pub --to GLOBAL --event shutdown
    seq 1 1000 | mastersocket pub --to ANY:workers --event job -

With - and without --event, standard input has messages as sub --json prints them: event and data are taken from each.` + tokenHelp
}

// Run sends the events.
func (c *pubCmd) Run(s streams) error {
	to, err := c.intent()
	if err != nil {
		return usageError{err}
	}
	if c.Once != "" && c.Data == "-" {
		return usageError{errors.New("--once is for one message, and - for many")}
	}
	values, err := c.values(s.in)
	if err != nil {
		return usageError{err}
	}
	ctx, stop := interruptible()
	defer stop()
	cl, err := c.connect(ctx, client.Options{Group: c.Group, Name: "mastersocket pub", NoEcho: true, StopOnAuthError: true})
	if err != nil {
		return interruptedOr(ctx, err)
	}
	defer goodbye(cl)
	p := newPublisher(cl, to, c.Timeout, s.err)
	if c.Once != "" {
		p.options = append(p.options, client.WithOnce(c.Once))
	}
	return interruptedOr(ctx, p.run(ctx, values))
}

// intent returns the receivers.
func (c *pubCmd) intent() (client.Intent, error) {
	to, err := client.ParseIntent(c.To)
	switch target, names, _ := strings.Cut(c.To, ":"); {
	case target == "GROUP" && strings.Contains(names, ","):
		to = client.Groups(strings.Split(names, ",")...)
	case target == "DIRECT" && strings.Contains(names, ","):
		to = client.Directs(strings.Split(names, ",")...)
	case err != nil:
		return to, fmt.Errorf("--to: %w", err)
	}
	if len(c.Except) > 0 {
		to = to.Except(c.Except...)
	}
	return to, nil
}

// values returns what to send.
func (c *pubCmd) values(in io.Reader) (valueSource, error) {
	switch {
	case c.Data == "-" && c.Event == "":
		return envelopes(valuesOf(in)), nil
	case c.Data == "-":
		return named(c.Event, valuesOf(in)), nil
	case c.Event == "":
		return nil, errors.New("--event is missing: the event's name")
	}
	data, err := parseData(c.Data)
	if err != nil {
		return nil, err
	}
	return named(c.Event, once(data)), nil
}

// publisher sends events and waits for their acknowledgements.
type publisher struct {
	client  *client.Client
	to      client.Intent
	timeout time.Duration
	stderr  io.Writer
	options []client.SendOption
}

func newPublisher(c *client.Client, to client.Intent, timeout time.Duration, stderr io.Writer) *publisher {
	return &publisher{client: c, to: to, timeout: timeout, stderr: stderr}
}

// errUndelivered is the summary of messages whose errors were printed. unknown are those that may have been delivered.
type errUndelivered struct{ failed, unknown, sent int }

func (e errUndelivered) Error() string {
	switch certain := e.failed - e.unknown; {
	case certain == 0:
		return fmt.Sprintf("%d of %d messages may not have been delivered", e.unknown, e.sent)
	case e.unknown > 0:
		return fmt.Sprintf("%d of %d messages were not delivered, and %d may not have been", certain, e.sent, e.unknown)
	}
	return fmt.Sprintf("%d of %d messages were not delivered", e.failed, e.sent)
}

// run sends all values in order, as many on their way as the window allows.
func (p *publisher) run(ctx context.Context, values valueSource) error {
	receipts := make(chan *client.Receipt, window)
	outcome := make(chan error, 1)
	go func() { outcome <- p.await(ctx, receipts) }()
	err := p.sendAll(ctx, values, receipts)
	close(receipts)
	return errors.Join(err, <-outcome)
}

func (p *publisher) sendAll(ctx context.Context, values valueSource, receipts chan<- *client.Receipt) error {
	for {
		v, err := values(ctx)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		r, err := p.queue(ctx, v)
		if err != nil {
			return fmt.Errorf("message %d: %w", v.number, withinTime(err, "--timeout", p.timeout))
		}
		receipts <- r // await reads until the channel is closed
	}
}

func (p *publisher) queue(ctx context.Context, v value) (*client.Receipt, error) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	var data any
	if v.data != nil {
		data = v.data
	}
	return p.client.Queue(ctx, p.to, v.event, data, p.options...)
}

// await waits for the outcome of each message in turn, and prints what failed.
func (p *publisher) await(ctx context.Context, receipts <-chan *client.Receipt) error {
	var sum errUndelivered
	for r := range receipts {
		sum.sent++
		ctx, cancel := context.WithTimeout(ctx, p.timeout)
		_, err := r.Wait(ctx)
		cancel()
		if err != nil {
			sum.failed++
			if errors.Is(err, client.ErrOutcomeUnknown) {
				sum.unknown++
			}
			err = withinTime(err, "--timeout", p.timeout)
			fmt.Fprintf(p.stderr, "mastersocket: message %d to %v: %v\n", sum.sent, p.to, err)
		}
	}
	if sum.failed > 0 {
		return sum
	}
	return nil
}

// valueSource returns the next event to send, or io.EOF.
type valueSource func(ctx context.Context) (value, error)

// value is an event to send.
type value struct {
	number int // from 1
	event  string
	data   jsontext.Value // nil for none
}
