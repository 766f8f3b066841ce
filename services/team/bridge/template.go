package bridge

import (
	"errors"
	"fmt"
	"strings"

	"github.com/mastersocket/mastersocket/client"
	"github.com/mastersocket/mastersocket/services/team/rtm"
)

// teamsGroup is the group that joins and lefts always go to: the hub's own team service listens there.
const teamsGroup = "teams"

// placeholder stands for the team's id in a template.
const placeholder = "{team_id}"

// template says whom the events of a team are for.
type template string

// parseTemplate checks that s is an intent once the id of a team is filled in.
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

// intent returns whom the events of a team are for.
func (t template) intent(id rtm.ID) (client.Intent, error) {
	to, err := client.ParseIntent(strings.ReplaceAll(string(t), placeholder, id.String()))
	if err != nil {
		return to, fmt.Errorf("the team's id does not fit into the name of a group: %w", err)
	}
	return to, nil
}

// general returns whom events of no team are for.
func (t template) general() client.Intent {
	if strings.Contains(string(t), placeholder) {
		return client.Group(teamsGroup)
	}
	to, err := client.ParseIntent(string(t))
	if err != nil { // not reached: parseTemplate has read it
		return client.Group(teamsGroup)
	}
	return to
}

// errLoop: what the bridge brings into the hub would come out of it again where the bridge listens.
var errLoop = errors.New("the hub that serves Global is the one that the teams are brought into, and its groups team.<id> " +
	"are those that its teams listen to: messages would go round for ever")

// loops tells whether messages to the template's groups come back to a bridge of the hub's own teams.
func (t template) loops() bool {
	return strings.HasPrefix(string(t), "GROUP:team.") || strings.HasPrefix(string(t), "ANY:team.")
}
