package team

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/services/team/rtm"
)

// MaxPage is the greatest number of entries in one page of [Service.Teams].
const MaxPage = 500

// Team is a team as operators see it.
type Team struct {
	ID    rtm.ID    `json:"id"`    // as first announced
	Since time.Time `json:"since"` // when an instance first heard that the team joined
	// Connection is the team's open connection; nil if there is none.
	Connection *Connection `json:"connection"`
	// MessageCount and PropsCount count the messages, and those with "props" in the text, that the hub queued for the
	// team's present and former connections, since the start of the instances concerned.
	MessageCount uint64 `json:"message_count"`
	PropsCount   uint64 `json:"props_count"`
	// Claims are the clients' statements about the team in their last healthcheck answers, one entry per Global
	// connection that named it, at most MaxClaims per instance.
	Claims []Claim `json:"claims"`
}

// Connection is an open connection of a team.
type Connection struct {
	Node    string    `json:"node"`   // the instance's name
	Client  uuid.UUID `json:"client"` // the connection's id in the hub
	Address string    `json:"address,omitempty"`
	Since   time.Time `json:"since"`
}

// Claim is a client's statement about a team. The hub's own counts show whether it is true.
type Claim struct {
	Node         string    `json:"node"`   // the instance of the Global connection
	Client       uuid.UUID `json:"client"` // the Global connection's id in the hub
	At           time.Time `json:"at"`     // when the claim arrived
	Connected    bool      `json:"connected"`
	MessageCount uint64    `json:"message_count"`
	PropsCount   uint64    `json:"props_count"`
}

// MaxClaims bounds the claims about one team that an instance lists.
const MaxClaims = 8

// Page is a page of the cluster's teams, in the order of their ids' texts.
type Page struct {
	Teams   []Team
	Next    string   // cursor of the next page; empty: this is the last
	Missing []string // names of the instances that did not answer in time, whose knowledge the page lacks
}

// teamsAnswer is an instance's answer to askTeams.
type teamsAnswer struct {
	Teams []teamHere `json:"teams"`
	More  bool       `json:"more,omitzero"`
}

// teamHere is an instance's knowledge of a team.
type teamHere struct {
	Team
	There bool `json:"there"` // the team is present
}

// Teams lists the teams of the whole cluster, at most limit of them (1 to MaxPage), from cursor on; an empty cursor
// begins with the first. A page may be shorter though others follow. Teams waits for other instances until ctx ends;
// while the broker is away all others are missing. The error is hub.ErrCursor, or the cause why the others can't be
// asked.
func (s *Service) Teams(ctx context.Context, cursor string, limit int) (Page, error) {
	after, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		return Page{}, fmt.Errorf("%w: %q", hub.ErrCursor, cursor)
	}
	limit = min(max(limit, 1), MaxPage)
	all := newTeamList()
	all.add(s.teamsHere(string(after), limit))
	query, err := json.Marshal(question{Kind: askTeams, After: string(after), Limit: limit})
	if err != nil {
		return Page{}, fmt.Errorf("%w: %q", hub.ErrCursor, cursor)
	}
	missing, err := s.hub.Ask(ctx, s.Name(), query, func(_ string, b []byte) {
		var a teamsAnswer
		if json.Unmarshal(b, &a) == nil {
			all.add(a)
		}
	})
	if errors.Is(err, broker.ErrUnavailable) { // only this instance answers
		missing, err = s.others(), nil
	}
	if err != nil {
		return Page{}, fmt.Errorf("list teams: %w", err)
	}
	return all.page(limit, missing), nil
}

// others returns the names of the other instances.
func (s *Service) others() []string {
	var names []string
	for _, n := range s.hub.Nodes() {
		if n.ID != s.hub.Node().ID {
			names = append(names, n.Name)
		}
	}
	return names
}

// teamsHere lists the teams that this instance knows.
func (s *Service) teamsHere(after string, limit int) teamsAnswer {
	var a teamsAnswer
	node := s.hub.Node().Name
	for _, e := range s.store.behind(after) {
		if t, ok := s.store.describe(e, node); ok {
			if len(a.Teams) == limit {
				a.More = true
				break
			}
			a.Teams = append(a.Teams, t)
		}
	}
	s.addClaims(a.Teams, node)
	return a
}

// describe returns the operators' view of an entry, and whether there is anything to show.
func (s *store) describe(e *entry, node string) (teamHere, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	t := teamHere{There: e.present, Team: Team{
		ID: e.id, Since: time.UnixMilli(e.since).UTC(), MessageCount: e.messages.Load(), PropsCount: e.props.Load(), Claims: []Claim{},
	}}
	if e.socket != nil {
		t.Connection = &Connection{Node: node, Client: e.socket.client, Address: e.socket.address, Since: e.socket.since.UTC()}
	}
	return t, e.present || e.socket != nil || t.MessageCount > 0
}

// addClaims adds the claims of this instance's clients.
func (s *Service) addClaims(teams []teamHere, node string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for g := range s.globals {
		claims := g.claims.Load()
		if claims == nil {
			continue
		}
		for i := range teams {
			stat, ok := claims.teams[teams[i].ID.String()]
			if !ok || len(teams[i].Claims) == MaxClaims {
				continue
			}
			teams[i].Claims = append(teams[i].Claims, Claim{
				Node: node, Client: g.client, At: claims.at.UTC(),
				Connected: stat.Connected, MessageCount: stat.MessageCount, PropsCount: stat.PropsCount,
			})
		}
	}
}

// teamList merges the answers of instances.
type teamList struct {
	byText map[string]*teamHere
	cut    string // all answers are complete up to this team
	more   bool   // there are teams behind cut
}

func newTeamList() *teamList { return &teamList{byText: make(map[string]*teamHere)} }

// add adds one instance's answer.
func (l *teamList) add(a teamsAnswer) {
	for _, t := range a.Teams {
		text := t.ID.String()
		if sum := l.byText[text]; sum != nil {
			sum.combine(&t)
		} else {
			l.byText[text] = &t
		}
	}
	if n := len(a.Teams); a.More && n > 0 {
		l.truncate(a.Teams[n-1].ID.String())
	}
}

// truncate notes that the list is complete only up to a team.
func (l *teamList) truncate(text string) {
	if !l.more || text < l.cut {
		l.cut = text
	}
	l.more = true
}

// combine adds another instance's knowledge of the same team.
func (t *teamHere) combine(o *teamHere) {
	if o.There && (!t.There || o.Since.Before(t.Since)) {
		t.ID, t.Since = o.ID, o.Since
	}
	t.There = t.There || o.There
	t.MessageCount += o.MessageCount
	t.PropsCount += o.PropsCount
	t.Claims = append(t.Claims, o.Claims...)
	if t.Connection == nil || o.Connection != nil && o.Connection.Since.After(t.Connection.Since) {
		t.Connection = o.Connection
	}
}

// page returns the present teams.
func (l *teamList) page(limit int, missing []string) Page {
	texts := slices.Sorted(maps.Keys(l.byText))
	if len(texts) > limit {
		l.truncate(texts[limit-1])
	}
	p := Page{Teams: []Team{}, Missing: missing}
	for _, text := range texts {
		if l.more && text > l.cut {
			break
		}
		t := l.byText[text]
		if !t.There {
			continue
		}
		slices.SortFunc(t.Claims, func(a, b Claim) int { return cmp.Or(b.At.Compare(a.At), strings.Compare(a.Node, b.Node)) })
		p.Teams = append(p.Teams, t.Team)
	}
	if l.more {
		p.Next = base64.RawURLEncoding.EncodeToString([]byte(l.cut))
	}
	return p
}
