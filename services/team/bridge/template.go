package bridge

import (
	"errors"
	"fmt"
	"strings"

	"github.com/mastersocket/mastersocket/client"
	"github.com/mastersocket/mastersocket/services/team/rtm"
)

// teamsGroup is the group to which joins and lefts always go: the hub's team service listens there.
const teamsGroup = "teams"

// placeholder stands for the team's id in a template.
const placeholder = "{team_id}"

// template is the target of a team's events, with a placeholder.
type template string

// parseTemplate checks that s is an intent after a team's id is filled in.
func parseTemplate(s string) (template, error) {
	if strings.ContainsAny(strings.ReplaceAll(s, placeholder, ""), "{}") {
		return "", fmt.Errorf("%q: %s is all that may be in braces", s, placeholder)
	}
	t := template(s)
	if _, err := t.intent(rtm.IntID(1)); err != nil {
		return "", err
	}
	return t, nil
}

// intent returns the target of a team's events.
func (t template) intent(id rtm.ID) (client.Intent, error) {
	to, err := client.ParseIntent(strings.ReplaceAll(string(t), placeholder, id.String()))
	if err != nil {
		return to, fmt.Errorf("the team's id does not fit into the name of a group: %w", err)
	}
	return to, nil
}

// general returns the target of events that belong to no team.
func (t template) general() client.Intent {
	if strings.Contains(string(t), placeholder) {
		return client.Group(teamsGroup)
	}
	to, err := client.ParseIntent(string(t))
	if err != nil { // unreachable: parseTemplate has checked it
		return client.Group(teamsGroup)
	}
	return to
}

// errLoop is the error for a bridge whose messages would come back to it.
var errLoop = errors.New("the hub that serves Global is also the target, and its teams listen to the groups team.<id>: " +
	"messages would loop")

// loops reports whether messages to the template's groups come back to a bridge of the hub's own teams.
func (t template) loops() bool {
	return strings.HasPrefix(string(t), "GROUP:team.") || strings.HasPrefix(string(t), "ANY:team.")
}
