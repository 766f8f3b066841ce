package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
)

// historyCmd prints what is kept of a group with history, or drops it.
type historyCmd struct {
	adminAPI `embed:""`

	Group string `required:"" short:"g" placeholder:"GROUP" help:"The group."`
	After uint64 `placeholder:"N" help:"Only messages with higher numbers."`
	Limit int    `short:"n" placeholder:"N" help:"Print at most so many messages (default: all)."`
	Purge bool   `help:"Drop all messages that are kept. The group's numbers go on; members that come back later are told of the gap."`
}

// Help is the longer help.
func (*historyCmd) Help() string {
	return `Prints the messages that the hub keeps of a group with history, oldest first, and what there is on standard error.

Examples:
    mastersocket history --group orders
    mastersocket history --group orders --after 1000 --limit 20
    mastersocket history --group orders --output json | jq -c .message.data
    mastersocket history --group orders --purge` + tokenHelp
}

// extent is what the command prints of a group's history.
type extent struct {
	Epoch    string            `json:"epoch"`
	First    uint64            `json:"first"`
	Last     uint64            `json:"last"`
	Bytes    int64             `json:"bytes"`
	Messages []json.RawMessage `json:"messages"`
	Next     *uint64           `json:"next"`
}

func (e *extent) String() string {
	kept := "no messages"
	if e.Last >= e.First {
		kept = fmt.Sprintf("messages %d to %d (%s)", e.First, e.Last, bytesText(e.Bytes))
	}
	return fmt.Sprintf("epoch %s, %s; the last number is %d", visible(e.Epoch), kept, e.Last)
}

// Run prints the messages, page by page, or drops them.
func (c *historyCmd) Run(s streams) error {
	ctx, stop := interruptible()
	defer stop()
	if c.Limit < 0 {
		return usageError{fmt.Errorf("--limit %d: want 0 or more", c.Limit)}
	}
	a, err := c.open(ctx)
	if err != nil {
		return err
	}
	path := "/v1/groups/" + url.PathEscape(c.Group) + "/history"
	if c.Purge {
		b, err := a.call(ctx, call{method: http.MethodDelete, path: path})
		if err != nil {
			return interruptedOr(ctx, err)
		}
		if c.Output == "json" {
			return printLine(s.out, b)
		}
		e, err := decode[extent](b)
		if err == nil {
			_, err = fmt.Fprintln(s.out, &e)
		}
		return err
	}
	for after, printed, first := c.After, 0, true; ; first = false {
		query := url.Values{"after": {strconv.FormatUint(after, 10)}, "limit": {strconv.Itoa(pageSize)}}
		b, err := a.call(ctx, call{method: http.MethodGet, path: path, query: query})
		if err != nil {
			return interruptedOr(ctx, err)
		}
		e, err := decode[extent](b)
		if err != nil {
			return err
		}
		if first {
			fmt.Fprintf(s.err, "mastersocket: %v\n", &e)
		}
		for _, m := range e.Messages {
			if err := c.print(s, m); err != nil {
				return err
			}
			if printed++; printed == c.Limit {
				return nil
			}
		}
		if e.Next == nil {
			return nil
		}
		after = *e.Next
	}
}

// print prints a message.
func (c *historyCmd) print(s streams, b json.RawMessage) error {
	if c.Output == "json" {
		return printLine(s.out, b)
	}
	m, err := decode[struct {
		Offset  uint64          `json:"offset"`
		Sender  string          `json:"sender"`
		Message json.RawMessage `json:"message"`
	}](b)
	if err != nil {
		return err
	}
	e, err := decode[struct {
		Event string          `json:"event"`
		Data  json.RawMessage `json:"data"`
	}](m.Message)
	if err != nil {
		return err
	}
	data := ""
	if e.Data != nil {
		data = " " + visible(string(compact(e.Data)))
	}
	_, err = fmt.Fprintf(s.out, "%d %s%s from %s\n", m.Offset, strconv.Quote(e.Event), data, visible(m.Sender))
	return err
}
