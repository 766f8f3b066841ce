package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/mastersocket/mastersocket/client"
	"github.com/mastersocket/mastersocket/intent"
)

// requestCmd sends a request and prints the replies.
type requestCmd struct {
	connection `embed:""`

	To       string        `required:"" placeholder:"TARGET" help:"Receivers: GLOBAL, GROUP:<group>, DIRECT:<client id>, ANY:<group> (any one of it) or ANY (any client)."`
	Event    string        `required:"" short:"e" placeholder:"NAME" help:"The event's name."`
	Group    string        `short:"g" default:"cli" placeholder:"GROUP" help:"Group to join meanwhile, since each client needs one (default: ${default})."`
	Timeout  time.Duration `default:"2s" placeholder:"TIME" help:"How long to wait for the replies (default: ${default})."`
	Expect   int           `short:"n" default:"1" placeholder:"N" help:"How many replies to wait for; 0: all that come in time (default: ${default})."`
	Retry    bool          `help:"To ANY: if the client that gets the request does not answer it, another one gets it."`
	Affinity string        `placeholder:"KEY" help:"To ANY: the same key goes to the same client, as long as the group does not change."`
	JSON     bool          `name:"json" help:"Print whole messages, with id, event, data and sender, and not their data alone."`
	Data     string        `arg:"" optional:"" help:"The event's data, a JSON value; none by default. With - it is read from standard input."`
}

// Help is the longer help.
func (*requestCmd) Help() string {
	return `Each reply is printed as one JSON value on a line of its own. Standard error says which receivers did not answer, and
why, as soon as that is known. The exit code is 1 if fewer than --expect replies came, with --expect 0 if a receiver did not
answer, and if a handler failed.

Examples:
    mastersocket request --to ANY:workers --event resize '{"width":100}'
    mastersocket request --to GROUP:workers --event status --expect 3 --timeout 5s
    mastersocket request --to GROUP:shards --event info --expect 0
    mastersocket request --to ANY:workers --event resize --retry --timeout 10s '{"width":100}'` + tokenHelp
}

// Run sends the request.
func (c *requestCmd) Run(s streams) error {
	to, err := client.ParseIntent(c.To)
	if err != nil {
		return usageError{fmt.Errorf("--to: %w", err)}
	}
	if to.Target != intent.Any && (c.Retry || c.Affinity != "") {
		return usageError{errors.New("--retry and --affinity: want --to ANY")}
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
	var opts []client.SendOption
	if c.Retry {
		opts = append(opts, client.WithRetry())
	}
	if c.Affinity != "" {
		opts = append(opts, client.WithKey(c.Affinity))
	}
	replies := cl.RequestMany(ctx, to, c.Event, data, c.Expect, opts...)
	if c.Expect == 0 {
		replies = cl.Stream(ctx, to, c.Event, data, opts...)
	}
	var failed error
	for m, err := range replies {
		if err != nil {
			return cmp.Or(failed, withinTime(err, "--timeout", c.Timeout))
		}
		if m.Err != nil && !c.JSON {
			failed = fmt.Errorf("the handler of %s failed: %w", m.Sender, m.Err)
			fmt.Fprintln(s.err, "mastersocket:", failed)
			continue
		}
		if _, err := s.out.Write(formatMessage(format, m)); err != nil {
			return err
		}
	}
	return failed
}
