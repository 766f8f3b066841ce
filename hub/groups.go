package hub

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
)

// This file tells operators which groups the cluster has. Nothing is kept for it: each instance answers when it is asked.

// Group is a group with members as operators, and instances that ask each other, see it.
type Group struct {
	Name    string         `json:"name"`
	Members int            `json:"members"`
	Nodes   map[string]int `json:"nodes" doc:"Members by the name of their instance."`
}

// GroupPage is a part of the cluster's groups, in the order of their names.
type GroupPage struct {
	Groups  []Group
	Next    string   // cursor of the page that follows; empty for none
	Missing []string // names of the instances that did not answer in time: their members are not counted
}

// ErrGroupNotFound: no instance that answered has a member of the group.
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

// Group returns the group of that name. The error is ErrGroupNotFound if no instance that answered has a member of it.
func (h *Hub) Group(ctx context.Context, name string) (g Group, missing []string, err error) {
	sums := make(groupSums)
	silent, err := groupQuestion.ask(ctx, h, groupAsked{name}, sums.add)
	if err != nil {
		return g, nil, err
	}
	g, ok := sums[name]
	if !ok {
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
		for node, n := range g.Nodes {
			sum.Nodes[node] += n
		}
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
			found = appendGroup(found, g, h.node.Name)
		}
		after = q.Prefix
	}
	for next := make([]*group, 0, limit); len(found) < limit; {
		next = h.groups.ordered.After(after, next[:0])
		for _, g := range next {
			if !strings.HasPrefix(g.name, q.Prefix) {
				return groupsFound{found}, nil
			}
			if found = appendGroup(found, g, h.node.Name); len(found) == limit {
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

// appendGroup appends what operators see of a group on the instance node, if it has members there.
func appendGroup(all []Group, g *group, node string) []Group {
	n := g.total()
	if n == 0 {
		return all
	}
	return append(all, Group{Name: g.name, Members: n, Nodes: map[string]int{node: n}})
}

// groupHere looks for one group on this instance.
func (h *Hub) groupHere(_ context.Context, q groupAsked) (groupsFound, error) {
	g := h.groups.find([]byte(q.Name))
	if g == nil {
		return groupsFound{}, nil
	}
	return groupsFound{appendGroup(nil, g, h.node.Name)}, nil
}
