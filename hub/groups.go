package hub

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// This file tells operators which groups the cluster has. Nothing is kept for it: each instance answers when it is asked.

// Group is a group with members as operators, and instances that ask each other, see it.
type Group struct {
	Name    string         `json:"name"`
	Members int            `json:"members"`
	Nodes   map[string]int `json:"nodes" doc:"Members by the name of their instance."`
	// Exclusive is nil for a group that no client claims.
	Exclusive *Exclusive `json:"exclusive,omitempty" doc:"Who holds it, and how many wait, where it is claimed as an exclusive group."`
	// Watchers are counted where one group is asked for.
	Watchers int `json:"watchers,omitempty" doc:"Clients that watch it; left out in lists."`
}

// Exclusive is who holds an exclusive group, as far as the instances that answered know.
type Exclusive struct {
	Holder  string `json:"holder,omitempty" doc:"The id of the client that holds it; left out while none does."`
	Node    string `json:"node,omitempty" doc:"The name of the holder's instance."`
	Term    uint64 `json:"term,omitempty" doc:"Higher than that of each holder before."`
	Waiting int    `json:"waiting" doc:"How many wait for it."`
}

// with returns what two instances say, either of which may be nil.
func (e *Exclusive) with(o *Exclusive) *Exclusive {
	if e == nil || o == nil {
		return cmp.Or(e, o)
	}
	sum := *e
	if o.Term > e.Term { // the other one has yet to hear that it lost the group
		sum = *o
	}
	sum.Waiting = e.Waiting + o.Waiting
	return &sum
}

// GroupPage is a part of the cluster's groups, in the order of their names.
type GroupPage struct {
	Groups  []Group
	Next    string   // cursor of the page that follows; empty for none
	Missing []string // names of the instances that did not answer in time: their members are not counted
}

// ErrGroupNotFound: no instance that answered has a member of the group, or a client that claims it.
var ErrGroupNotFound = errors.New("no such group")

// groupsAsked asks for an instance's groups behind a name.
type groupsAsked struct {
	After  string `json:"name"`
	Prefix string `json:"prefix,omitempty"`
	Limit  int    `json:"limit"`
}

// groupAsked asks for one group.
type groupAsked struct {
	Name string `json:"name"`
}

// groupsFound is an instance's answer to both.
type groupsFound struct {
	Groups []Group `json:"groups,omitempty"`
}

var (
	groupsQuestion = question[groupsAsked, groupsFound]{"groups", (*Hub).groupsHere}
	groupQuestion  = question[groupAsked, groupsFound]{"group", (*Hub).groupHere}
)

// Groups lists the cluster's groups whose names begin with prefix in the order of their names, as Clients does clients.
func (h *Hub) Groups(ctx context.Context, prefix, cursor string, limit int) (GroupPage, error) {
	q := groupsAsked{Prefix: prefix, Limit: min(max(limit, 1), MaxPage)}
	if err := decodeCursor(cursor, &q.After); err != nil {
		return GroupPage{}, err
	}
	sums := make(groupSums)
	silent, err := groupsQuestion.ask(ctx, h, q, sums.add)
	if err != nil {
		return GroupPage{}, err
	}
	page := GroupPage{Missing: h.namesOf(silent)}
	for _, g := range sums {
		page.Groups = append(page.Groups, g)
	}
	slices.SortFunc(page.Groups, func(a, b Group) int { return cmp.Compare(a.Name, b.Name) })
	if len(page.Groups) >= q.Limit {
		// Every instance named its first ones, as many as fit: what is cut off here, and only that, may be incomplete.
		page.Groups = page.Groups[:q.Limit]
		page.Next = encodeCursor(page.Groups[q.Limit-1].Name)
	}
	return page, nil
}

// Group returns the group of that name. The error is ErrGroupNotFound if no instance that answered has a member of it, or a
// client that claims it.
func (h *Hub) Group(ctx context.Context, name string) (g Group, missing []string, err error) {
	sums := make(groupSums)
	silent, err := groupQuestion.ask(ctx, h, groupAsked{name}, sums.add)
	if err != nil {
		return g, nil, err
	}
	g, ok := sums[name]
	if !ok || g.Members == 0 && g.Exclusive == nil {
		err = ErrGroupNotFound
	}
	return g, h.namesOf(silent), err
}

// groupSums are groups of several instances, by name.
type groupSums map[string]Group

// add adds what one instance says of its groups.
func (sums groupSums) add(found groupsFound) {
	for _, g := range found.Groups {
		sum, ok := sums[g.Name]
		if !ok {
			sum = Group{Name: g.Name, Nodes: make(map[string]int)}
		}
		sum.Members += g.Members
		sum.Watchers += g.Watchers
		for node, n := range g.Nodes {
			sum.Nodes[node] += n
		}
		sum.Exclusive = sum.Exclusive.with(g.Exclusive)
		sums[g.Name] = sum
	}
}

// groupsHere lists the groups with members on this instance, in the order of their names.
func (h *Hub) groupsHere(_ context.Context, q groupsAsked) (groupsFound, error) {
	limit := min(max(q.Limit, 0), MaxPage)
	var found []Group
	after := q.After
	if after < q.Prefix { // the first that begin so come behind it, or are it
		if g := h.groups.find([]byte(q.Prefix)); g != nil {
			found = h.appendGroup(found, g)
		}
		after = q.Prefix
	}
	for next := make([]*group, 0, limit); len(found) < limit; {
		next = h.groups.ordered.After(after, next[:0])
		for _, g := range next {
			if !strings.HasPrefix(g.name, q.Prefix) {
				return groupsFound{found}, nil
			}
			if found = h.appendGroup(found, g); len(found) == limit {
				break
			}
		}
		if len(next) < cap(next) {
			break
		}
		after = next[len(next)-1].name
	}
	return groupsFound{found}, nil
}

// appendGroup appends what operators see of a group, if it has members here.
func (h *Hub) appendGroup(all []Group, g *group) []Group {
	n := g.total()
	if n == 0 {
		return all
	}
	return append(all, Group{Name: g.name, Members: n, Nodes: map[string]int{h.node.Name: n}, Exclusive: h.exclusive(g.name)})
}

// exclusive returns what this instance knows of an exclusive group, nil where none of its clients claims it.
func (h *Hub) exclusive(name string) *Exclusive {
	of := h.claims.of(name)
	if of == (claimsOf{}) {
		return nil
	}
	e := &Exclusive{Waiting: of.waiting}
	if of.holder != uuid.Nil {
		e.Holder, e.Node, e.Term = of.holder.String(), h.node.Name, of.term
	}
	return e
}

// groupHere looks for one group on this instance.
func (h *Hub) groupHere(ctx context.Context, q groupAsked) (groupsFound, error) {
	watchers, err := h.watchersOf(ctx, q.Name)
	if err != nil {
		return groupsFound{}, err
	}
	var found []Group
	if g := h.groups.find([]byte(q.Name)); g != nil {
		found = h.appendGroup(nil, g)
	}
	if e := h.exclusive(q.Name); len(found) == 0 && (e != nil || watchers > 0) { // its clients here wait, or watch others
		found = []Group{{Name: q.Name, Nodes: map[string]int{}, Exclusive: e}}
	}
	if len(found) > 0 {
		found[0].Watchers = watchers
	}
	return groupsFound{found}, nil
}
