package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/hub/internal/meter"
)

// This file tells operators which clients, groups and tokens are busiest in the cluster. Each loop measures its own; the
// instances add them up when they are asked.

// Rates are messages and bytes of EVENTs and REPLYs a second.
type Rates struct {
	MessagesIn  float64 `json:"messages_in" doc:"From the client; of a group: to the group, from all clients."`
	BytesIn     float64 `json:"bytes_in"`
	MessagesOut float64 `json:"messages_out" doc:"Queued for the client; of a group: for its members."`
	BytesOut    float64 `json:"bytes_out"`
}

func ratesOf(c meter.Counts) Rates {
	return Rates{c[meter.In], c[meter.InBytes], c[meter.Out], c[meter.OutBytes]}
}

func (r Rates) with(o Rates) Rates {
	return Rates{r.MessagesIn + o.MessagesIn, r.BytesIn + o.BytesIn, r.MessagesOut + o.MessagesOut, r.BytesOut + o.BytesOut}
}

// WindowRates are rates over two windows.
type WindowRates struct {
	Short Rates `json:"rates_10s" doc:"Over the last 10 seconds."`
	Long  Rates `json:"rates_5m" doc:"Over the last 5 minutes."`
}

func (r *WindowRates) add(o *WindowRates) {
	r.Short, r.Long = r.Short.with(o.Short), r.Long.with(o.Long)
}

// TopClient is a busy client.
type TopClient struct {
	ID        uuid.UUID `json:"id" format:"uuid"`
	Node      string    `json:"node" doc:"Name of its instance."`
	Type      string    `json:"type" doc:"Its service type."`
	Name      string    `json:"name" doc:"Name from its IDENTIFY; empty if it sent none."`
	Token     string    `json:"token" doc:"Name of its token."`
	Connected bool      `json:"connected" doc:"Whether it is still connected."`
	WindowRates
}

// TopNamed is a busy group, or a busy token.
type TopNamed struct {
	Name string `json:"name"`
	WindowRates
}

// Top is what is busiest in the cluster, the busiest first.
type Top struct {
	Clients []TopClient
	Groups  []TopNamed
	Tokens  []TopNamed
	Missing []string // names of the instances that did not answer in time, or don't measure
}

// TopOptions say what counts as busy.
type TopOptions struct {
	Sort  string `json:"sort"`           // one of TopSorts
	Long  bool   `json:"long,omitempty"` // by the rates over 5 minutes, not over 10 seconds
	Limit int    `json:"limit"`          // of each list: 1 to MaxTop
}

// MaxTop bounds the lists of a Top.
const MaxTop = 100

// TopSorts are the rates by which a Top can be sorted.
func TopSorts() []string { return []string{"messages_in", "bytes_in", "messages_out", "bytes_out"} }

// value returns the rate that counts.
func (o *TopOptions) value(r *WindowRates) float64 {
	rates := &r.Short
	if o.Long {
		rates = &r.Long
	}
	switch o.Sort {
	case "bytes_in":
		return rates.BytesIn
	case "messages_out":
		return rates.MessagesOut
	case "bytes_out":
		return rates.BytesOut
	}
	return rates.MessagesIn
}

// topFound is an instance's answer: more groups and tokens than are asked for, as these are added up over the instances.
type topFound struct {
	Measures bool        `json:"measures"` // false of an earlier release
	Clients  []TopClient `json:"clients,omitempty"`
	Groups   []TopNamed  `json:"groups,omitempty"`
	Tokens   []TopNamed  `json:"tokens,omitempty"`
}

var topQuestion = question[TopOptions, topFound]{"top", (*Hub).topHere}

// Top returns what is busiest. It waits for other instances until ctx ends. The error is ctx's, or one of the options.
func (h *Hub) Top(ctx context.Context, o TopOptions) (Top, error) {
	if !slices.Contains(TopSorts(), o.Sort) {
		return Top{}, fmt.Errorf("sort %q: want one of %q", o.Sort, TopSorts())
	}
	o.Limit = min(max(o.Limit, 1), MaxTop)
	var top Top
	groups, tokens := make(namedRates), make(namedRates)
	own, err := h.topHere(ctx, o)
	if err != nil {
		return Top{}, err
	}
	var without []broker.NodeID
	add := func(from broker.NodeID, a topFound) {
		if !a.Measures {
			without = append(without, from)
		}
		top.Clients = append(top.Clients, a.Clients...)
		groups.addAll(a.Groups)
		tokens.addAll(a.Tokens)
	}
	add(h.node.ID, own)
	silent, err := topQuestion.askOthers(ctx, h, o, add)
	if err != nil && !errors.Is(err, broker.ErrUnavailable) {
		return Top{}, err
	}
	top.Missing = h.namesOf(append(silent, without...))
	top.Clients = first(top.Clients, o.Limit, func(c *TopClient) float64 { return o.value(&c.WindowRates) })
	named := func(n *TopNamed) float64 { return o.value(&n.WindowRates) }
	top.Groups, top.Tokens = first(groups.sorted(&o), o.Limit, named), first(tokens.sorted(&o), o.Limit, named)
	return top, nil
}

// namedRates are the rates of groups or tokens by name.
type namedRates map[string]*WindowRates

func (all namedRates) add(name string, r WindowRates) {
	if sum := all[name]; sum != nil {
		sum.add(&r)
		return
	}
	all[name] = &r
}

func (all namedRates) addAll(found []TopNamed) {
	for _, n := range found {
		all.add(n.Name, n.WindowRates)
	}
}

// sorted returns them all, the busiest first.
func (all namedRates) sorted(o *TopOptions) []TopNamed {
	list := make([]TopNamed, 0, len(all))
	for name, r := range all {
		list = append(list, TopNamed{name, *r})
	}
	slices.SortFunc(list, func(a, b TopNamed) int { // those that are as busy don't take turns
		return cmp.Or(cmp.Compare(o.value(&b.WindowRates), o.value(&a.WindowRates)), cmp.Compare(a.Name, b.Name))
	})
	return list
}

// first returns the first entries by their values, the highest first. What has none is left out.
func first[T any](list []T, limit int, value func(*T) float64) []T {
	list = slices.DeleteFunc(list, func(e T) bool { return value(&e) == 0 })
	slices.SortStableFunc(list, func(a, b T) int { return cmp.Compare(value(&b), value(&a)) })
	return list[:min(len(list), limit)]
}

// maxNamed is how many groups and tokens an instance tells of. These are more than are asked for: one that is busy everywhere
// need not be among the first of any instance, and what comes to one instance may leave from another.
const maxNamed = 1000

// topHere returns what is busiest on this instance.
func (h *Hub) topHere(ctx context.Context, o TopOptions) (topFound, error) {
	o.Limit = min(max(o.Limit, 1), MaxTop)
	var mu sync.Mutex
	found := topFound{Measures: true}
	groups, tokens := make(namedRates), make(namedRates)
	err := h.onLoops(ctx, func(sh *shard) {
		mu.Lock()
		defer mu.Unlock()
		found.Clients = append(found.Clients, sh.topClients()...)
		now := sh.loop.Clock()
		sh.traffic.groups.Each(now, func(name string, _ struct{}, short, long meter.Counts) {
			groups.add(name, WindowRates{ratesOf(short), ratesOf(long)})
		})
		sh.traffic.tokens.Each(now, func(name string, _ struct{}, short, long meter.Counts) {
			tokens.add(name, WindowRates{ratesOf(short), ratesOf(long)})
		})
	})
	if err != nil {
		return topFound{}, err
	}
	mu.Lock()
	defer mu.Unlock()
	found.Clients = first(found.Clients, o.Limit, func(c *TopClient) float64 { return o.value(&c.WindowRates) })
	found.Groups, found.Tokens = groups.sorted(&o), tokens.sorted(&o)
	found.Groups = found.Groups[:min(len(found.Groups), maxNamed)]
	found.Tokens = found.Tokens[:min(len(found.Tokens), maxNamed)]
	return found, nil
}

// topClients returns the loop's clients that are measured.
func (sh *shard) topClients() (all []TopClient) {
	sh.traffic.clients.Each(sh.loop.Clock(), func(id uuid.UUID, b busyClient, short, long meter.Counts) {
		all = append(all, TopClient{
			ID: id, Node: sh.hub.node.Name, Type: sh.hub.typeNames[b.kind], Name: b.name, Token: b.token, Connected: sh.client(&id) != nil,
			WindowRates: WindowRates{ratesOf(short), ratesOf(long)},
		})
	})
	return all
}
