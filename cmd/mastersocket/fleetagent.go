package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/mastersocket/mastersocket/client"
	"github.com/mastersocket/mastersocket/internal/logwriter"
	"github.com/mastersocket/mastersocket/services/fleet/agent"
)

// fleetAgentCmd runs the programs that a fleet asks for.
type fleetAgentCmd struct {
	connection `embed:""`

	Fleet    string        `required:"" placeholder:"NAME" help:"The fleet."`
	Spawn    string        `placeholder:"PROGRAM" help:"Program, with its arguments, that starts a bot. It is the bot itself, or starts one and ends."`
	Rollback string        `placeholder:"PROGRAM" help:"Program that sets the bots' program back to $$FLEET_REVISION or $$FLEET_VERSION."`
	Deploy   string        `placeholder:"PROGRAM" help:"Program that fetches the newest version."`
	Revision string        `placeholder:"PROGRAM" help:"Program whose first line of output is the revision in place, such as git rev-parse HEAD."`
	Dir      string        `placeholder:"DIR" help:"Folder in which the programs run (default: the present one)."`
	Timeout  time.Duration `default:"10m" placeholder:"TIME" help:"How long --rollback, --deploy and --revision may take before they are killed (default: ${default})."`
	Grace    time.Duration `default:"1s" placeholder:"TIME" help:"How long a spawned bot must run to count as spawned (default: ${default})."`
	SpawnLog string        `placeholder:"FILE" help:"File to which spawned bots print. One of more than 10 MiB is renamed to FILE.1 when the agent starts. Default: what they print is dropped."`

	LogFormat string `enum:"text,json" default:"text" help:"Format of the log on standard error: ${enum} (default: ${default})."`
}

// Help is the longer help.
func (*fleetAgentCmd) Help() string {
	return `A program is split at white space, and no shell reads it; one that begins with [ is a JSON array of arguments. The variables
FLEET_NAME, FLEET_TASK, FLEET_VERSION and FLEET_REVISION tell it what is asked; the hub's token is not among its variables.
One program runs at a time. Bots outlive the agent.

Example:
    mastersocket fleet agent --fleet helium --spawn 'python3 main.py' --rollback ./rollback.sh --deploy 'git pull' \
        --revision 'git rev-parse HEAD' --dir /srv/helium

The token must be allowed to join the group fleet.NAME.agent and to send GROUP:fleet.` + tokenHelp
}

// maxSpawnLog is the size from which a log of bots is renamed, in bytes.
const maxSpawnLog = 10 << 20

// Run runs the agent until it is interrupted.
func (c *fleetAgentCmd) Run(s streams) error {
	ctx, stop := interruptible()
	defer stop()
	lines := logwriter.New(s.err)
	defer lines.Close(closeWait)
	o, err := c.options()
	if err != nil {
		return usageError{err}
	}
	o.Log = logwriter.NewLogger(lines, c.LogFormat, slog.LevelInfo)
	if c.SpawnLog != "" {
		f, err := openSpawnLog(c.SpawnLog)
		if err != nil {
			return usageError{fmt.Errorf("--spawn-log: %w", err)}
		}
		defer f.Close()
		o.Output = f
	}
	a, err := agent.New(o)
	if err != nil {
		return usageError{fmt.Errorf("%w: give --spawn, --rollback, --deploy or --revision", err)}
	}
	hub, err := c.connect(ctx, a.HubOptions(client.Options{Name: "mastersocket fleet agent", Logger: o.Log}))
	if err != nil {
		return interruptedOr(ctx, err)
	}
	defer goodbye(hub)
	return a.Run(ctx, hub)
}

func (c *fleetAgentCmd) options() (agent.Options, error) {
	o := agent.Options{Fleet: c.Fleet, Dir: c.Dir, Timeout: c.Timeout, Grace: c.Grace}
	if c.Timeout <= 0 || c.Grace <= 0 {
		return o, errors.New("--timeout, --grace: want more than 0")
	}
	for _, p := range []struct {
		flag, text string
		to         *[]string
	}{{"spawn", c.Spawn, &o.Spawn}, {"rollback", c.Rollback, &o.Rollback}, {"deploy", c.Deploy, &o.Deploy}, {"revision", c.Revision, &o.Revision}} {
		argv, err := arguments(p.text)
		if err != nil {
			return o, fmt.Errorf("--%s: %w", p.flag, err)
		}
		*p.to = argv
	}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "MASTERSOCKET_TOKEN=") {
			o.Env = append(o.Env, v)
		}
	}
	return o, nil
}

// arguments splits a program and its arguments.
func arguments(text string) ([]string, error) {
	if !strings.HasPrefix(strings.TrimSpace(text), "[") {
		return strings.Fields(text), nil
	}
	var argv []string
	if err := json.Unmarshal([]byte(text), &argv); err != nil || len(argv) == 0 || argv[0] == "" {
		return nil, errors.New(`want words, or a JSON array of texts such as ["python3","main.py"]`)
	}
	return argv, nil
}

// openSpawnLog opens the file to which bots print.
func openSpawnLog(name string) (*os.File, error) {
	if info, err := os.Stat(name); err == nil && info.Size() > maxSpawnLog {
		if err := os.Rename(name, name+".1"); err != nil {
			return nil, err
		}
	}
	return os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
}
