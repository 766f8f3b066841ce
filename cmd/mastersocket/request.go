package main

import (
	"context"
	"fmt"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/mastersocket/mastersocket/client"
)

// requestCmd sends a request and prints the replies.
type requestCmd struct {
	connection `embed:""`

	To      string        `required:"" placeholder:"TARGET" help:"Receivers: GLOBAL, GROUP:<group>, DIRECT:<client id>, ANY:<group> (any one of it) or ANY (any client)."`
	Event   string        `required:"" short:"e" placeholder:"NAME" help:"The event's name."`
	Group   string        `short:"g" default:"cli" placeholder:"GROUP" help:"Group to join meanwhile, since each client needs one (default: ${default})."`
	Timeout time.Duration `default:"2s" placeholder:"TIME" help:"How long to wait for the replies (default: ${default})."`
	Expect  int           `short:"n" default:"1" placeholder:"N" help:"How many replies to wait for; 0: all that come in time (default: ${default})."`
	JSON    bool          `name:"json" help:"Print whole messages, with id, event, data and sender, and not their data alone."`
	Data    string        `arg:"" optional:"" help:"The event's data, a JSON value; none by default. With - it is read from standard input."`
}

// Help is the longer help.
func (*requestCmd) Help() string {
	return `Each reply is printed as one JSON value on a line of its own. If fewer than --expect come in time, the exit code is 1.

Examples:
    mastersocket request --to ANY:workers --event resize '{"width":100}'
    mastersocket request --to GROUP:workers --event status --expect 3 --timeout 5s
    mastersocket request --to GLOBAL --event who --expect 0` + tokenHelp
}

// Run sends the request.
func (c *requestCmd) Run(s streams) error {
	to, err := client.ParseIntent(c.To)
	if err != nil {
		return usageError{fmt.Errorf("--to: %w", err)}
	}
	if c.Expect < 0 {
		return usageError{fmt.Errorf("--expect %d: want 0 or more", c.Expect)}
	}
	data, err := c.data(s)
	if err != nil {
		return usageError{err}
	}
	ctx, stop := interruptible()
	defer stop()
	cl, err := c.connect(ctx, client.Options{Group: c.Group, Name: "mastersocket request", NoEcho: true, StopOnAuthError: true})
	if err != nil {
		return interruptedOr(ctx, err)
	}
	defer goodbye(cl)
	return interruptedOr(ctx, c.ask(ctx, cl, to, data, s))
}

func (c *requestCmd) data(s streams) (jsontext.Value, error) {
	if c.Data == "-" {
		return onlyValueOf(s.in)
	}
	return parseData(c.Data)
}

func (c *requestCmd) ask(ctx context.Context, cl *client.Client, to client.Intent, data jsontext.Value, s streams) error {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	format := "data"
	if c.JSON {
		format = "json"
	}
	for m, err := range cl.RequestMany(ctx, to, c.Event, data, c.Expect) {
		if err != nil {
			return withinTime(err, "--timeout", c.Timeout)
		}
		if _, err := s.out.Write(formatMessage(format, m)); err != nil {
			return err
		}
	}
	return nil
}
