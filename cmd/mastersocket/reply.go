package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/mastersocket/mastersocket/client"
)

// replyCmd answers requests.
type replyCmd struct {
	connection `embed:""`

	Group   []string `required:"" short:"g" placeholder:"GROUP" help:"Group to join; several times for several."`
	Event   string   `required:"" short:"e" placeholder:"NAME" help:"The event to answer. Other requests to the group are passed."`
	Name    string   `default:"mastersocket reply" placeholder:"NAME" help:"Name that is shown to requesters and operators (default: ${default})."`
	Echo    bool     `help:"Answer with the request's data, without a command."`
	Jobs    int      `short:"j" default:"1" placeholder:"N" help:"How many commands run at the same time (default: ${default})."`
	Quiet   bool     `short:"q" help:"Report nothing on standard error."`
	Command []string `arg:"" optional:"" passthrough:"" help:"The command and its arguments, behind --."`
}

// Help is the longer help.
func (*replyCmd) Help() string {
	return `The command runs for each request. It reads the event's data, a JSON value, from its standard input, and what it writes to
standard output is the answer: as it is if it is one JSON value, else as a string. If it fails the requester gets an error
with the code EXIT, and what it wrote to standard error. When the requester's time is over, or it gives up, the command is
killed.

The command finds in its environment:
    MASTERSOCKET_EVENT    the event
    MASTERSOCKET_ID       the id of the request
    MASTERSOCKET_SENDER   the id of the requester
    MASTERSOCKET_ATTEMPT  how often the request was handed to a member of the group, from 1

Examples:
    mastersocket reply --group workers --event sum -- jq -c add
    mastersocket reply --group shards --event info --echo` + tokenHelp
}

// Run answers requests until it is interrupted.
func (c *replyCmd) Run(s streams) error {
	if len(c.Command) > 0 && c.Command[0] == "--" {
		c.Command = c.Command[1:]
	}
	switch {
	case c.Echo == (len(c.Command) > 0):
		return usageError{errors.New("want either --echo or a command behind --")}
	case c.Jobs < 1:
		return usageError{fmt.Errorf("--jobs %d: want 1 or more", c.Jobs)}
	}
	if !c.Echo {
		if _, err := exec.LookPath(c.Command[0]); err != nil {
			return err
		}
	}
	ctx, stop := interruptible()
	defer stop()
	var running sync.WaitGroup
	free := make(chan struct{}, c.Jobs)
	answer := client.HandleFunc(func(ctx context.Context, m *client.Message) (any, error) { return c.answer(ctx, m, s) })
	cl, err := c.connect(ctx, client.Options{
		Group: c.Group[0], Groups: c.Group[1:], Name: c.Name, NoEcho: true, StopOnAuthError: true,
		On: map[string]client.Handler{c.Event: func(ctx context.Context, m *client.Message) {
			free <- struct{}{}
			running.Go(func() {
				defer func() { <-free }()
				answer(ctx, m)
			})
		}},
	})
	if err != nil {
		return interruptedOr(ctx, err)
	}
	defer running.Wait()
	defer goodbye(cl)
	if !c.Quiet {
		fmt.Fprintf(s.err, "mastersocket: answers %q in %s\n", c.Event, strings.Join(c.Group, ", "))
	}
	select {
	case <-ctx.Done():
		return nil
	case <-cl.Done():
		return cl.Err()
	}
}

// maxComplaint is how much of a command's standard error the requester gets, in bytes.
const maxComplaint = 1024

// answer runs the command.
func (c *replyCmd) answer(ctx context.Context, m *client.Message, s streams) (any, error) {
	if c.Echo {
		return m.Data, nil
	}
	cmd := exec.CommandContext(ctx, c.Command[0], c.Command[1:]...)
	cmd.WaitDelay = time.Second
	cmd.Env = append(os.Environ(), "MASTERSOCKET_EVENT="+m.Event, "MASTERSOCKET_ID="+m.ID, "MASTERSOCKET_SENDER="+m.Sender,
		fmt.Sprint("MASTERSOCKET_ATTEMPT=", max(m.Attempt, 1)))
	var out, complaint bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(m.Data), &out, &complaint
	err := cmd.Run()
	if err != nil {
		text := strings.TrimSpace(complaint.String())
		if !c.Quiet {
			fmt.Fprintf(s.err, "mastersocket: request %s: %v: %.200s\n", m.ID, err, text)
		}
		if len(text) > maxComplaint {
			text = text[len(text)-maxComplaint:]
		}
		return nil, &client.RemoteError{Code: "EXIT", Message: strings.TrimSuffix(err.Error()+": "+text, ": ")}
	}
	if answer := bytes.TrimSpace(out.Bytes()); json.Valid(answer) {
		return json.RawMessage(answer), nil
	}
	return strings.TrimRight(out.String(), "\r\n"), nil
}
