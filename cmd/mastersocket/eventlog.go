package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// eventsCmd prints the event log.
type eventsCmd struct {
	adminAPI `embed:""`

	Follow  bool     `short:"f" help:"Go on with what happens from now on."`
	Limit   int      `short:"n" default:"50" placeholder:"N" help:"Print so many of the newest events, 0 for all (default: ${default})."`
	Kind    []string `short:"k" placeholder:"KIND" help:"Only events of these kinds, separated by commas: connected, identify_failed, disconnected, slow_consumer, kicked, broker, node, drain, rebalance, reload, operation."`
	Reason  string   `placeholder:"REASON" help:"Only events with this reason, such as PING_TIMEOUT."`
	Client  string   `placeholder:"ID" help:"Only events of this client."`
	Name    string   `placeholder:"NAME" help:"Only events of clients with this name; a * at the end matches any rest."`
	OfToken string   `name:"of-token" placeholder:"NAME" help:"Only events of clients with the token of this name."`
	Group   string   `short:"g" placeholder:"GROUP" help:"Only events of clients whose first group this is."`
	Address string   `placeholder:"IP" help:"Only events of clients from this address."`
	Node    string   `placeholder:"NAME" help:"Only events of this instance."`
}

// Help is the longer help.
func (*eventsCmd) Help() string {
	return `Prints what happened of late on all instances, the newest event last: clients that connected, failed to identify and
disconnected, slow consumers, changes of the broker, drains, rebalances, reloads, and what operators did. Each instance
keeps its last 10,000 usual connects and disconnects, and its last 2,000 other events.

text: time, instance, kind, reason, client, and the rest. json: the events as the admin API has them.

Examples:
    mastersocket events --kind slow_consumer,identify_failed
    mastersocket events --follow --name 'billing*'` + tokenHelp
}

// logEntry is what the command prints of an event.
type logEntry struct {
	At      time.Time `json:"at"`
	Node    string    `json:"node"`
	Kind    string    `json:"kind"`
	Client  string    `json:"client"`
	Name    string    `json:"name"`
	Token   string    `json:"token"`
	Subject string    `json:"subject"`
	Address string    `json:"address"`
	Group   string    `json:"group"`
	Reason  string    `json:"reason"`
	Detail  string    `json:"detail"`
	By      string    `json:"by"`
	Omitted int       `json:"omitted"`
}

func (c *eventsCmd) query() url.Values {
	return values("kind", strings.Join(c.Kind, ","), "reason", c.Reason, "client", c.Client, "name", c.Name, "token", c.OfToken,
		"group", c.Group, "address", c.Address, "node", c.Node)
}

// Run prints events.
func (c *eventsCmd) Run(s streams) error {
	if c.Limit < 0 {
		return usageError{fmt.Errorf("--limit %d: want 0 or more", c.Limit)}
	}
	ctx, stop := interruptible()
	defer stop()
	a, err := c.open(ctx)
	if err != nil {
		return err
	}
	var resp *http.Response
	if c.Follow { // before the past is read, so that nothing is missed between the two
		resp, err = a.send(ctx, call{method: http.MethodGet, path: "/v1/log/stream", query: c.query(), accept: "text/event-stream"})
		if err != nil {
			return interruptedOr(ctx, err)
		}
		defer resp.Body.Close()
	}
	past, err := a.all(ctx, s, "/v1/log", "entries", c.query(), c.Limit)
	if err != nil {
		return interruptedOr(ctx, err)
	}
	seen := make(map[string]bool)
	for _, entry := range slices.Backward(past) {
		seen[string(compact(entry))] = c.Follow
		if err := c.print(s.out, entry); err != nil {
			return err
		}
	}
	if !c.Follow {
		return nil
	}
	err = eachEvent(resp.Body, func(event string, data []byte) error {
		switch {
		case event == "left_out":
			fmt.Fprintf(s.err, "mastersocket: events were left out, as they were too many: %s\n", compact(data))
		case event == "entry" && !seen[string(compact(data))]:
			return c.print(s.out, data)
		}
		return nil
	})
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (c *eventsCmd) print(w io.Writer, entry json.RawMessage) error {
	if c.Output == "json" {
		return printLine(w, entry)
	}
	e, err := decode[logEntry](entry)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(w, visible(e.text()))
	return err
}

// text returns the line for people.
func (e *logEntry) text() string {
	parts := []string{e.At.Local().Format("15:04:05.000"), e.Node, e.Kind}
	add := func(label, value string) {
		if value == "" {
			return
		}
		if label != "" && strings.ContainsAny(value, " \"=") {
			value = strconv.Quote(value)
		}
		parts = append(parts, label+value)
	}
	add("", e.Reason)
	add("name=", e.Name)
	add("id=", e.Client)
	add("token=", e.Token)
	add("subject=", e.Subject)
	add("group=", e.Group)
	add("address=", e.Address)
	add("by=", e.By)
	if e.Omitted > 0 {
		add("omitted=", strconv.Itoa(e.Omitted))
	}
	if e.Detail != "" {
		parts = append(parts, "("+e.Detail+")")
	}
	return strings.Join(parts, " ")
}
