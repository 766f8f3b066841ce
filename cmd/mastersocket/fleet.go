package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// fleetCmd has the commands about fleets.
type fleetCmd struct {
	List     fleetListCmd     `cmd:"" help:"List the fleets."`
	Show     fleetShowCmd     `cmd:"" help:"Show a fleet and its bots."`
	Promote  fleetPromoteCmd  `cmd:"" help:"Make a bot the one that runs."`
	Rollback fleetRollbackCmd `cmd:"" help:"Have the program of a fleet set back to the last good version."`
	TryAgain fleetTryAgainCmd `cmd:"" help:"Have a fleet that is not sane spawn bots again."`
	Deploy   fleetDeployCmd   `cmd:"" help:"Have the newest version of a fleet's program fetched and spawned."`
	Agent    fleetAgentCmd    `cmd:"" help:"Run the programs that a fleet asks for, where its bots live."`
}

// fleetState is what the commands print of a fleet.
type fleetState struct {
	Name    string  `json:"name"`
	Leader  *string `json:"leader"`
	Running *string `json:"running"`
	Sane    bool    `json:"sane"`
	Alarm   *string `json:"alarm"`
	Good    *struct {
		Version  string `json:"version"`
		Revision string `json:"revision"`
	} `json:"good"`
	Task      *fleetTask `json:"task"`
	Wanted    *fleetTask `json:"wanted"`
	NextSpawn *time.Time `json:"next_spawn"`
	Bots      []struct {
		Client  string `json:"client"`
		Version string `json:"version"`
		State   string `json:"state"`
	} `json:"bots"`
}

type fleetTask struct {
	Task string    `json:"task"`
	At   time.Time `json:"at"`
}

// state says in words how the fleet is.
func (f *fleetState) state() string {
	switch {
	case f.Leader == nil:
		return "no leader"
	case !f.Sane:
		return "not sane"
	case f.Running == nil:
		return "none runs"
	}
	return "runs"
}

// version returns the version of the bot that runs.
func (f *fleetState) version() string {
	for _, b := range f.Bots {
		if f.Running != nil && b.Client == *f.Running {
			return b.Version
		}
	}
	return ""
}

func (f *fleetState) task() string {
	switch {
	case f.Task != nil:
		return f.Task.Task
	case f.Wanted != nil:
		return "no agent for " + f.Wanted.Task
	case f.NextSpawn != nil:
		return "spawn in " + time.Until(*f.NextSpawn).Round(time.Second).String()
	}
	return ""
}

// text describes the fleet and its bots.
func (f *fleetState) text() string {
	var t strings.Builder
	fmt.Fprintf(&t, "%s: %s", f.Name, f.state())
	if f.Leader != nil {
		fmt.Fprintf(&t, ", led by %s", visible(*f.Leader))
	}
	if f.Alarm != nil {
		fmt.Fprintf(&t, "; %s", visible(strings.ReplaceAll(*f.Alarm, "_", " ")))
	}
	if f.Good != nil {
		fmt.Fprintf(&t, "\n  last good version: %s", visible(strings.TrimSpace(f.Good.Version+" "+f.Good.Revision)))
	}
	if task := f.task(); task != "" {
		fmt.Fprintf(&t, "\n  agent: %s", visible(task))
	}
	for _, b := range f.Bots {
		fmt.Fprintf(&t, "\n  %s  %s  %s", visible(b.Client), visible(b.State), visible(b.Version))
	}
	return t.String()
}

// fleetListCmd lists the fleets.
type fleetListCmd struct {
	adminAPI `embed:""`
}

// Run prints the list.
func (c *fleetListCmd) Run(s streams) error {
	ctx, stop := interruptible()
	defer stop()
	a, err := c.open(ctx)
	if err != nil {
		return err
	}
	list, err := a.page(ctx, "/v1/fleets", "fleets", nil)
	if err != nil {
		return interruptedOr(ctx, err)
	}
	warnMissing(s.err, list.missing)
	if c.Output == "json" {
		for _, f := range list.entries {
			if err := printLine(s.out, f); err != nil {
				return err
			}
		}
		return nil
	}
	t := newTable(s.out, "FLEET", "STATE", "VERSION", "BOTS", "AGENT", "LEADER")
	for _, b := range list.entries {
		f, err := decode[fleetState](b)
		if err != nil {
			return err
		}
		leader := ""
		if f.Leader != nil {
			leader = *f.Leader
		}
		t.row(f.Name, f.state(), f.version(), len(f.Bots), f.task(), leader)
	}
	return t.flush()
}

// fleetAPI has the flags of the commands about one fleet.
type fleetAPI struct {
	adminAPI `embed:""`

	Fleet string `arg:"" help:"The fleet."`
}

// operate posts an operation and prints the fleet after it.
func (c *fleetAPI) operate(s streams, operation string, body any) error {
	return c.post(s, call{path: c.path() + "/" + operation, body: body}, fleetText)
}

func (c *fleetAPI) path() string { return "/v1/fleets/" + url.PathEscape(c.Fleet) }

func fleetText(b json.RawMessage) (string, error) {
	f, err := decode[fleetState](b)
	return f.text(), err
}

// fleetShowCmd shows a fleet.
type fleetShowCmd struct {
	fleetAPI `embed:""`
}

// Run prints the fleet.
func (c *fleetShowCmd) Run(s streams) error {
	return c.ask(s, call{method: http.MethodGet, path: c.path()}, fleetText)
}

// fleetPromoteCmd promotes a bot.
type fleetPromoteCmd struct {
	fleetAPI `embed:""`

	Client string `arg:"" help:"The bot's id as a client; mastersocket fleet show prints it."`
}

// Run promotes the bot.
func (c *fleetPromoteCmd) Run(s streams) error {
	return c.operate(s, "promote", map[string]string{"client": c.Client})
}

// fleetRollbackCmd rolls a fleet back.
type fleetRollbackCmd struct {
	fleetAPI `embed:""`
}

// Run asks for the rollback.
func (c *fleetRollbackCmd) Run(s streams) error { return c.operate(s, "rollback", nil) }

// fleetTryAgainCmd makes a fleet sane.
type fleetTryAgainCmd struct {
	fleetAPI `embed:""`
}

// Run makes the fleet sane.
func (c *fleetTryAgainCmd) Run(s streams) error { return c.operate(s, "try-again", nil) }

// fleetDeployCmd deploys a fleet's program.
type fleetDeployCmd struct {
	fleetAPI `embed:""`
}

// Help is the longer help.
func (*fleetDeployCmd) Help() string {
	return `A forge's webhook can do the same: POST /v1/fleets/NAME/deploy of the admin API.` + tokenHelp
}

// Run asks for the deploy.
func (c *fleetDeployCmd) Run(s streams) error { return c.operate(s, "deploy", nil) }
