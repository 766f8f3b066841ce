package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// pageSize is how many entries a request of a list asks for.
const pageSize = 500

// nodesCmd lists the instances.
type nodesCmd struct {
	adminAPI `embed:""`
}

// node is what the command prints of an instance.
type node struct {
	ID          string         `json:"id"`
	Name        string         `json:"name"`
	Version     string         `json:"version"`
	Started     time.Time      `json:"started"`
	Draining    bool           `json:"draining"`
	Connections map[string]int `json:"connections"`
	Groups      int            `json:"groups"`
	QueueBytes  int64          `json:"queue_bytes"`
	Lag         float64        `json:"loop_turn_p99_seconds"`
	Gated       bool           `json:"gated"`
	Broker      struct {
		Available bool `json:"available"`
	} `json:"broker"`
}

func (n *node) state() string {
	switch {
	case n.Draining:
		return "draining"
	case n.Gated:
		return "overloaded"
	case !n.Broker.Available:
		return "no broker"
	}
	return "serving"
}

// Run prints the list.
func (c *nodesCmd) Run(s streams) error {
	ctx, stop := interruptible()
	defer stop()
	a, err := c.open(ctx)
	if err != nil {
		return err
	}
	list, err := a.page(ctx, "/v1/nodes", "nodes", nil)
	if err != nil {
		return interruptedOr(ctx, err)
	}
	warnMissing(s.err, list.missing)
	if c.Output == "json" {
		for _, n := range list.entries {
			if err := printLine(s.out, n); err != nil {
				return err
			}
		}
		return nil
	}
	t := newTable(s.out, "NAME", "ID", "STATE", "CLIENTS", "GROUPS", "UNSENT", "LAG", "UP", "VERSION")
	for _, b := range list.entries {
		n, err := decode[node](b)
		if err != nil {
			return err
		}
		clients := 0
		for _, count := range n.Connections {
			clients += count
		}
		t.row(n.Name, n.ID, n.state(), clients, n.Groups, bytesText(n.QueueBytes), time.Duration(n.Lag*float64(time.Second)).Round(time.Microsecond), since(n.Started), n.Version)
	}
	return t.flush()
}

// clientsCmd lists clients, or shows one.
type clientsCmd struct {
	adminAPI `embed:""`

	Group     string `short:"g" placeholder:"GROUP" help:"Only members of this group."`
	Type      string `placeholder:"TYPE" help:"Only clients of this service type."`
	Name      string `placeholder:"NAME" help:"Only clients with this name; a * at the end matches any rest."`
	Node      string `placeholder:"NAME" help:"Only clients of this instance."`
	MinUnsent int    `name:"min-unsent" placeholder:"BYTES" help:"Only clients with at least so many unsent bytes; 1 finds those that are slow."`
	Limit     int    `short:"n" placeholder:"N" help:"Print at most so many (default: all)."`
	ID        string `arg:"" optional:"" help:"The client to show."`
}

// Help is the longer help.
func (*clientsCmd) Help() string {
	return `Lists the clients of all instances, or shows the one with ID.

Examples:
    mastersocket clients --group orders
    mastersocket clients --min-unsent 1
    mastersocket clients --name 'billing*' --output json | jq -r .id | xargs mastersocket kick` + tokenHelp
}

// connected is what the command prints of a client.
type connected struct {
	ID      string    `json:"id"`
	Node    string    `json:"node"`
	Type    string    `json:"type"`
	Name    string    `json:"name"`
	Address string    `json:"address"`
	Token   string    `json:"token"`
	Groups  []string  `json:"groups"`
	Since   time.Time `json:"connected_since"`
	In      uint64    `json:"messages_in"`
	Out     uint64    `json:"messages_out"`
	Unsent  int       `json:"queue_bytes"`
	Stalled int64     `json:"stalled_ms"`
}

// Run prints the list.
func (c *clientsCmd) Run(s streams) error {
	ctx, stop := interruptible()
	defer stop()
	if c.Limit < 0 || c.MinUnsent < 0 {
		return usageError{fmt.Errorf("want --limit and --min-unsent of 0 or more")}
	}
	a, err := c.open(ctx)
	if err != nil {
		return err
	}
	if c.ID != "" {
		b, err := a.call(ctx, call{method: http.MethodGet, path: "/v1/clients/" + url.PathEscape(c.ID)})
		if err != nil {
			return interruptedOr(ctx, err)
		}
		return c.print(s, []json.RawMessage{b})
	}
	query := values("group", c.Group, "type", c.Type, "name", c.Name, "node", c.Node)
	if c.MinUnsent > 0 {
		query.Set("min_queue_bytes", strconv.Itoa(c.MinUnsent))
	}
	all, err := a.all(ctx, s, "/v1/clients", "clients", query, c.Limit)
	if err != nil {
		return interruptedOr(ctx, err)
	}
	return c.print(s, all)
}

func (c *clientsCmd) print(s streams, all []json.RawMessage) error {
	t := (*table)(nil)
	for _, b := range all {
		if c.Output == "json" {
			if err := printLine(s.out, b); err != nil {
				return err
			}
			continue
		}
		if t == nil {
			t = newTable(s.out, "NAME", "ID", "NODE", "TYPE", "UNSENT", "STALLED", "IN", "OUT", "UP", "ADDRESS", "TOKEN", "GROUPS")
		}
		v, err := decode[connected](b)
		if err != nil {
			return err
		}
		t.row(v.Name, v.ID, v.Node, v.Type, bytesText(v.Unsent), (time.Duration(v.Stalled) * time.Millisecond).Truncate(time.Second), v.In, v.Out,
			since(v.Since), v.Address, v.Token, strings.Join(v.Groups, ","))
	}
	if t == nil {
		return nil
	}
	return t.flush()
}

// groupsCmd lists groups, or shows one.
type groupsCmd struct {
	adminAPI `embed:""`

	Prefix string `placeholder:"TEXT" help:"Only groups whose names begin with this."`
	Limit  int    `short:"n" placeholder:"N" help:"Print at most so many (default: all)."`
	Name   string `arg:"" optional:"" help:"The group to show."`
}

// Run prints the list.
func (c *groupsCmd) Run(s streams) error {
	ctx, stop := interruptible()
	defer stop()
	if c.Limit < 0 {
		return usageError{fmt.Errorf("--limit %d: want 0 or more", c.Limit)}
	}
	a, err := c.open(ctx)
	if err != nil {
		return err
	}
	var all []json.RawMessage
	if c.Name != "" {
		b, e := a.call(ctx, call{method: http.MethodGet, path: "/v1/groups/" + url.PathEscape(c.Name)})
		all, err = []json.RawMessage{b}, e
	} else {
		all, err = a.all(ctx, s, "/v1/groups", "groups", values("prefix", c.Prefix), c.Limit)
	}
	if err != nil {
		return interruptedOr(ctx, err)
	}
	t := (*table)(nil)
	present, watchers := []presentMember(nil), 0
	for _, b := range all {
		if c.Output == "json" {
			if err := printLine(s.out, b); err != nil {
				return err
			}
			continue
		}
		g, err := decode[struct {
			Name      string         `json:"name"`
			Members   int            `json:"members"`
			Nodes     map[string]int `json:"nodes"`
			Exclusive *struct {
				Holder  string `json:"holder"`
				Node    string `json:"node"`
				Term    uint64 `json:"term"`
				Waiting int    `json:"waiting"`
			} `json:"exclusive"`
			Watchers int             `json:"watchers"`
			Present  []presentMember `json:"present"`
		}](b)
		if err != nil {
			return err
		}
		present, watchers = g.Present, g.Watchers
		if t == nil {
			t = newTable(s.out, "GROUP", "MEMBERS", "BY INSTANCE", "HELD BY")
		}
		held := ""
		if e := g.Exclusive; e != nil && e.Holder == "" {
			held = fmt.Sprintf("none, %d waiting", e.Waiting)
		} else if e != nil {
			held = fmt.Sprintf("%s on %s, term %d, %d waiting", e.Holder, e.Node, e.Term, e.Waiting)
		}
		var nodes []string
		for _, name := range slices.Sorted(maps.Keys(g.Nodes)) {
			nodes = append(nodes, fmt.Sprint(name, "=", g.Nodes[name]))
		}
		t.row(g.Name, g.Members, strings.Join(nodes, " "), held)
	}
	if t == nil {
		return nil
	}
	if err := t.flush(); err != nil || c.Name == "" {
		return err
	}
	return showMembers(s, watchers, present)
}

// presentMember is what the command prints of a member of a group.
type presentMember struct {
	ID      string            `json:"id"`
	Name    string            `json:"name"`
	Version string            `json:"version"`
	Meta    map[string]string `json:"meta"`
	Weight  *int              `json:"weight"`
	Node    string            `json:"node"`
	Since   time.Time         `json:"since"`
}

// showMembers prints who is in a group.
func showMembers(s streams, watchers int, present []presentMember) error {
	if _, err := fmt.Fprintf(s.out, "\nThe first %d members, as its %d watchers see them:\n\n", len(present), watchers); err != nil {
		return err
	}
	t := newTable(s.out, "ID", "NAME", "VERSION", "NODE", "WEIGHT", "SINCE", "META")
	for i := range present {
		m := &present[i]
		weight := "1"
		if m.Weight != nil {
			weight = strconv.Itoa(*m.Weight)
		}
		var meta []string
		for _, key := range slices.Sorted(maps.Keys(m.Meta)) {
			meta = append(meta, key+"="+m.Meta[key])
		}
		t.row(m.ID, m.Name, m.Version, m.Node, weight, since(m.Since), strings.Join(meta, " "))
	}
	return t.flush()
}

// values returns the pairs of names and values without empty values.
func values(pairs ...string) url.Values {
	v := make(url.Values)
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			v.Set(pairs[i], pairs[i+1])
		}
	}
	return v
}

// page is a page of a list.
type page struct {
	entries []json.RawMessage
	missing []string
	next    string
}

// page requests one page of a list; member has its entries.
func (a *api) page(ctx context.Context, path, member string, query url.Values) (page, error) {
	b, err := a.call(ctx, call{method: http.MethodGet, path: path, query: query})
	if err != nil {
		return page{}, err
	}
	list, err := decode[struct {
		Missing []string `json:"missing"`
		Next    *string  `json:"next"`
	}](b)
	if err != nil {
		return page{}, err
	}
	members, err := decode[map[string]json.RawMessage](b)
	if err != nil {
		return page{}, err
	}
	entries, err := decode[[]json.RawMessage](members[member])
	if err != nil {
		return page{}, err
	}
	p := page{entries: entries, missing: list.Missing}
	if list.Next != nil {
		p.next = *list.Next
	}
	return p, nil
}

// all requests the pages of a list up to a limit; 0 for none.
func (a *api) all(ctx context.Context, s streams, path, member string, query url.Values, limit int) ([]json.RawMessage, error) {
	var all []json.RawMessage
	missing := make(map[string]bool)
	for {
		size := pageSize
		if limit > 0 {
			size = min(pageSize, limit-len(all))
		}
		query.Set("limit", strconv.Itoa(size))
		p, err := a.page(ctx, path, member, query)
		if err != nil {
			return nil, err
		}
		all = append(all, p.entries...)
		for _, name := range p.missing {
			missing[name] = true
		}
		if p.next == "" || limit > 0 && len(all) >= limit {
			warnMissing(s.err, slices.Sorted(maps.Keys(missing)))
			return all, nil
		}
		query.Set("cursor", p.next)
	}
}
