package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/mastersocket/mastersocket/client"
)

// kickCmd disconnects clients.
type kickCmd struct {
	adminAPI `embed:""`

	ID []string `arg:"" help:"Ids of the clients."`
}

// Help is the longer help.
func (*kickCmd) Help() string {
	return `Disconnects clients, on whichever instance they are, with the reason KICKED. They may connect again: revoke the token to
keep a client out.` + tokenHelp
}

// Run disconnects the clients one after the other.
func (c *kickCmd) Run(s streams) error {
	ctx, stop := interruptible()
	defer stop()
	a, err := c.open(ctx)
	if err != nil {
		return err
	}
	var failed error
	for _, id := range c.ID {
		if _, err := a.call(ctx, call{method: http.MethodDelete, path: "/v1/clients/" + url.PathEscape(id)}); err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", visible(id), err))
			continue
		}
		line := visible(id) + " disconnected\n"
		if c.Output == "json" {
			b, _ := json.Marshal(map[string]string{"id": id, "result": "disconnected"}) // strings marshal
			line = string(b) + "\n"
		}
		if _, err := io.WriteString(s.out, line); err != nil {
			return err
		}
	}
	return interruptedOr(ctx, failed)
}

// joinCmd puts a client into groups.
type joinCmd struct {
	regroupment `embed:""`
}

// Help is the longer help.
func (*joinCmd) Help() string {
	return `Makes a connected client a member of groups that its token may join, until it leaves them or its connection ends. A client
that asked for the feature groups is told.` + tokenHelp
}

// Run puts the client into the groups.
func (c *joinCmd) Run(s streams) error { return c.run(s, http.MethodPut) }

// leaveCmd takes a client out of groups.
type leaveCmd struct {
	regroupment `embed:""`
}

// Help is the longer help.
func (*leaveCmd) Help() string {
	return `Ends a connected client's membership in groups, save the group of its IDENTIFY. A client that asked for the feature groups
is told, and may subscribe to them again.` + tokenHelp
}

// Run takes the client out of the groups.
func (c *leaveCmd) Run(s streams) error { return c.run(s, http.MethodDelete) }

// regroupment is what joinCmd and leaveCmd have in common.
type regroupment struct {
	adminAPI `embed:""`

	ID    string   `arg:"" help:"Id of the client."`
	Group []string `arg:"" help:"Names of the groups."`
}

// run changes one group after the other, and prints the groups that the client is in then.
func (c *regroupment) run(s streams, method string) error {
	ctx, stop := interruptible()
	defer stop()
	a, err := c.open(ctx)
	if err != nil {
		return err
	}
	var last json.RawMessage
	var failed error
	for _, group := range c.Group {
		path := "/v1/clients/" + url.PathEscape(c.ID) + "/groups/" + url.PathEscape(group)
		b, err := a.call(ctx, call{method: method, path: path})
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", visible(group), err))
			continue
		}
		last = b
	}
	if last != nil {
		if err := c.print(s, last); err != nil {
			return err
		}
	}
	return interruptedOr(ctx, failed)
}

func (c *regroupment) print(s streams, client json.RawMessage) error {
	if c.Output == "json" {
		return printLine(s.out, client)
	}
	now, err := decode[struct {
		Groups []string `json:"groups"`
	}](client)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.out, "%s is in %s\n", visible(c.ID), visible(strings.Join(now.Groups, ", ")))
	return err
}

// drainCmd takes an instance out of service.
type drainCmd struct {
	adminAPI `embed:""`

	Node string        `placeholder:"NAME" help:"Name or id of the instance (default: the one at --admin)."`
	Over time.Duration `placeholder:"TIME" help:"Time over which its clients are told to move, such as 30s; at most 1h (default: its setting drain-timeout)."`
}

// Help is the longer help.
func (*drainCmd) Help() string {
	return `Takes an instance out of service, as before a restart: it accepts no more connections, is not ready, and tells its clients
to move. The command returns when that has begun. It can't be undone; the instance serves again after a restart.` + tokenHelp
}

// Run begins the drain.
func (c *drainCmd) Run(s streams) error {
	return c.post(s, call{path: "/v1/drain", query: values("node", c.Node), body: overBody(c.Over, 0)}, func(b json.RawMessage) (string, error) {
		d, err := decode[struct {
			Node        string  `json:"node"`
			Connections int     `json:"connections"`
			Over        float64 `json:"over_seconds"`
			Began       bool    `json:"began"`
		}](b)
		if !d.Began {
			return fmt.Sprintf("%s was draining already; left: %s", visible(d.Node), plural(d.Connections, "connection")), err
		}
		return fmt.Sprintf("%s drains %s over %v", visible(d.Node), plural(d.Connections, "connection"), time.Duration(d.Over*float64(time.Second))), err
	})
}

// rebalanceCmd spreads the clients evenly.
type rebalanceCmd struct {
	adminAPI `embed:""`

	Over   time.Duration `placeholder:"TIME" help:"Time over which each instance tells its clients, from 1s to 1h (default: as drain-rate or drain-timeout say)."`
	AtMost int           `placeholder:"N" help:"Clients that each instance tells at most (default: all beyond its share)."`
}

// Help is the longer help.
func (*rebalanceCmd) Help() string {
	return `Spreads the clients of the whole cluster evenly: instances with more than their share tell the surplus to connect again.
The command returns when the clients have their times.` + tokenHelp
}

// Run begins the rebalance.
func (c *rebalanceCmd) Run(s streams) error {
	return c.post(s, call{path: "/v1/rebalance", body: overBody(c.Over, c.AtMost)}, func(b json.RawMessage) (string, error) {
		r, err := decode[struct {
			Share int     `json:"share"`
			Told  int     `json:"told"`
			Over  float64 `json:"over_seconds"`
			Nodes []struct {
				Name     string `json:"name"`
				Clients  int    `json:"clients"`
				Told     int    `json:"told"`
				Draining bool   `json:"draining"`
			} `json:"nodes"`
			Missing []string `json:"missing"`
		}](b)
		warnMissing(s.err, r.Missing)
		var t strings.Builder
		fmt.Fprintf(&t, "told to move: %s within %v; the share is %d", plural(r.Told, "client"), time.Duration(r.Over*float64(time.Second)).Round(time.Millisecond), r.Share)
		for _, n := range r.Nodes {
			fmt.Fprintf(&t, "\n  %s: %d of %d", visible(n.Name), n.Told, n.Clients)
			if n.Draining {
				t.WriteString(" (draining)")
			}
		}
		return t.String(), err
	})
}

// reloadCmd reloads the configuration of an instance.
type reloadCmd struct {
	adminAPI `embed:""`

	Node string `placeholder:"NAME" help:"Name or id of the instance (default: the one at --admin)."`
}

// Run reloads the configuration.
func (c *reloadCmd) Run(s streams) error {
	return c.post(s, call{path: "/v1/reload", query: values("node", c.Node)}, func(b json.RawMessage) (string, error) {
		r, err := decode[map[string]json.RawMessage](b)
		if err != nil {
			return "", err
		}
		var lines []string
		for _, list := range [][2]string{
			{"changed", "applied"}, {"tokens_added", "tokens added"}, {"tokens_changed", "tokens changed"}, {"tokens_revoked", "tokens revoked"}, {"need_restart", "needs a restart"},
		} {
			names, err := decode[[]string](r[list[0]])
			if err != nil {
				return "", err
			}
			if len(names) > 0 {
				lines = append(lines, list[1]+": "+visible(strings.Join(names, ", ")))
			}
		}
		if len(lines) == 0 {
			return "nothing has changed", nil
		}
		return strings.Join(lines, "\n"), nil
	})
}

// publishCmd publishes an event without a connection.
type publishCmd struct {
	adminAPI `embed:""`

	To    string `required:"" placeholder:"TARGET" help:"Receivers: GLOBAL, GROUP:<group>, DIRECT:<client id>, ANY:<group> (any one of it) or ANY (any client)."`
	Event string `required:"" short:"e" placeholder:"NAME" help:"The event's name."`
	Data  string `arg:"" optional:"" help:"The event's data, a JSON value; none by default."`
}

// Help is the longer help.
func (*publishCmd) Help() string {
	return `Publishes an event by the admin API and prints the receipt: how many clients on how many instances it was queued for. It
ends with exit code 1 if it reached no client. pub is faster for many events.` + tokenHelp
}

// Run publishes the event.
func (c *publishCmd) Run(s streams) error {
	to, err := client.ParseIntent(c.To)
	if err != nil {
		return usageError{fmt.Errorf("--to: %w", err)}
	}
	data, err := parseData(c.Data)
	if err != nil {
		return usageError{err}
	}
	intent := map[string]string{"target": to.Target.String()}
	if to.Identifier != "" {
		intent["identifier"] = to.Identifier
	}
	event := map[string]any{"event": c.Event, "intent": intent}
	if data != nil {
		event["data"] = json.RawMessage(data)
	}
	var unreached error
	err = c.post(s, call{path: "/v1/events", body: event}, func(b json.RawMessage) (string, error) {
		r, err := decode[struct {
			ID        string         `json:"id"`
			Instances *int           `json:"instances"`
			Clients   *int           `json:"clients"`
			Dropped   map[string]int `json:"dropped"`
		}](b)
		count := func(n *int, what string) string {
			if n == nil {
				return "an unknown number of " + what + "s"
			}
			return plural(*n, what)
		}
		text := fmt.Sprintf("%s: queued for %s on %s", visible(r.ID), count(r.Clients, "client"), count(r.Instances, "instance"))
		var dropped []string
		for reason, n := range r.Dropped {
			dropped = append(dropped, fmt.Sprintf("%s (%d)", visible(reason), n))
		}
		if slices.Sort(dropped); len(dropped) > 0 {
			text += "; dropped: " + strings.Join(dropped, ", ")
		}
		if r.Clients != nil && *r.Clients == 0 && len(dropped) > 0 {
			unreached = errors.New("the event reached no client")
		}
		return text, err
	})
	return errors.Join(err, unreached)
}

// post sends a request and prints the response: as it is, or as text returns it.
func (f *adminAPI) post(s streams, c call, text func(json.RawMessage) (string, error)) error {
	c.method = http.MethodPost
	return f.ask(s, c, text)
}

// ask sends a request and prints its result: as it is, or as the text that text makes of it.
func (f *adminAPI) ask(s streams, c call, text func(json.RawMessage) (string, error)) error {
	ctx, stop := interruptible()
	defer stop()
	a, err := f.open(ctx)
	if err != nil {
		return err
	}
	b, err := a.call(ctx, c)
	if err != nil {
		return interruptedOr(ctx, err)
	}
	line, err := text(b)
	if err != nil {
		return err
	}
	if f.Output == "json" {
		return printLine(s.out, b)
	}
	_, err = fmt.Fprintln(s.out, line)
	return err
}

// plural returns a count with its noun.
func plural(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprint(n, " ", noun)
}

// overBody is the body of a drain and a rebalance, without the members that are 0.
func overBody(over time.Duration, atMost int) map[string]any {
	b := make(map[string]any)
	if over != 0 {
		b["over"] = over.String()
	}
	if atMost != 0 {
		b["at_most"] = atMost
	}
	return b
}
