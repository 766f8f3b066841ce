// Command mastersocket runs a socket hub, and talks to one.
//
// Data goes to standard output, everything else to standard error. Exit codes: 0 done, 1 failed, 2 bad usage or
// configuration, 130 interrupted before it was done, 141 the reader of standard output is gone.
package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/mastersocket/mastersocket/internal/config"
	"github.com/mastersocket/mastersocket/internal/kubesecret"
)

// cli is the grammar of the command line.
type cli struct {
	Serve   serveCmd   `cmd:"" help:"Run the hub."`
	Sub     subCmd     `cmd:"" help:"Join groups and print what arrives."`
	Watch   watchCmd   `cmd:"" help:"Print who is in a group, and who joins and leaves."`
	Pub     pubCmd     `cmd:"" help:"Send events."`
	Request requestCmd `cmd:"" help:"Send an event and print the replies to it."`
	Reply   replyCmd   `cmd:"" help:"Answer requests with the output of a command."`
	Hold    holdCmd    `cmd:"" help:"Run a command while it holds an exclusive group."`
	Bridge  bridgeCmd  `cmd:"" help:"Connect a server of another protocol to the hub."`
	Echo    echoCmd    `cmd:"" help:"Test a hub that serves the echo protocol."`
	Fleet   fleetCmd   `cmd:"" help:"Show and operate fleets of bot processes, and run the agent of one."`

	Clients   clientsCmd   `cmd:"" help:"List the clients of all instances, or show one."`
	Groups    groupsCmd    `cmd:"" help:"List the groups."`
	Nodes     nodesCmd     `cmd:"" help:"List the instances."`
	History   historyCmd   `cmd:"" help:"Print what is kept of a group with history, or drop it."`
	Tail      tailCmd      `cmd:"" help:"Print a sample of the events to a group without joining it."`
	Top       topCmd       `cmd:"" help:"Show the busiest clients, groups and tokens."`
	Events    eventsCmd    `cmd:"" help:"Print what happened of late: connects, disconnects, slow consumers, reloads."`
	Publish   publishCmd   `cmd:"" help:"Publish an event by the admin API, with a receipt."`
	Join      joinCmd      `cmd:"" help:"Put a connected client into groups."`
	Leave     leaveCmd     `cmd:"" help:"Take a connected client out of groups."`
	Kick      kickCmd      `cmd:"" help:"Disconnect clients."`
	Drain     drainCmd     `cmd:"" help:"Take an instance out of service."`
	Rebalance rebalanceCmd `cmd:"" help:"Spread the clients over the instances."`
	Reload    reloadCmd    `cmd:"" help:"Reload the configuration of an instance."`

	Health  healthCmd  `cmd:"" help:"Ask a hub whether it is ready, for health checks of containers."`
	Token   tokenCmd   `cmd:"" help:"Make tokens, and hash them for a tokens file."`
	Config  configCmd  `cmd:"" help:"Check configuration files."`
	Version versionCmd `cmd:"" help:"Print the version."`

	PrintVersion versionFlag `name:"version" help:"Print the version."`
}

const description = `A pub/sub socket hub for microservices.

Services open one WebSocket each and exchange events, which the hub routes to all clients, to a group, to one client, or
to any one of a group. A first try, each line in a shell of its own:

    mastersocket serve
    mastersocket sub --group demo
    mastersocket pub --to GROUP:demo --event hi '{"n":1}'
`

// streams are where a command reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// usageError is a mistake of the caller: exit code 2.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// errInterrupted ends a command that was told to stop before it was done.
var errInterrupted = errors.New("interrupted")

// Exit codes as a shell has them for processes that SIGINT and SIGPIPE ended.
const (
	codeInterrupted = 130
	codeNoReader    = 141
)

func main() {
	// Go ends a process that writes to a standard stream whose reader is gone, unless it asks for SIGPIPE. A hub must
	// outlive the reader of its log; the others decide by the error of the write.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	code := run(os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr})
	if code == codeNoReader { // end as any other filter: by SIGPIPE, which the next write raises where there are signals
		signal.Reset(syscall.SIGPIPE)
		_, _ = os.Stdout.WriteString("\n")
	}
	os.Exit(code)
}

// exit is the panic with which kong ends after --help.
type exit int

// run runs one command and returns the process's exit code.
func run(args []string, s streams) (code int) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case exit:
			code = int(r)
		default:
			panic(r)
		}
	}()
	parser, err := kong.New(&cli{}, kong.Name("mastersocket"), kong.Writers(s.out, s.err), kong.Bind(s),
		kong.Description(description), kong.Exit(func(code int) { panic(exit(code)) }),
		config.DecimalNumbers(), kong.Vars{"account_dir": kubesecret.AccountDir},
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 110}))
	if err != nil {
		fmt.Fprintln(s.err, "mastersocket:", err)
		return 1
	}
	ctx, err := parser.Parse(args)
	if err != nil {
		printUsageError(s.err, err)
		return 2
	}
	return report(s.err, ctx.Run())
}

// printUsageError says what is wrong with the command line and where to read more.
func printUsageError(w io.Writer, err error) {
	command := "mastersocket"
	var parse *kong.ParseError
	if errors.As(err, &parse) {
		if node := parse.Context.Selected(); node != nil {
			command = node.FullPath()
		}
	}
	fmt.Fprintf(w, "mastersocket: %v\nFor help: %s --help\n", err, command)
}

// report prints the error that a command ended with, and returns the exit code for it.
func report(w io.Writer, err error) int {
	if err == nil {
		return 0
	}
	switch {
	case errors.Is(err, errInterrupted): // the user knows
		return codeInterrupted
	case isOutputGone(err): // as in: mastersocket sub … | head -1
		return codeNoReader
	}
	var end commandEnd
	if errors.As(err, &end) {
		return int(end)
	}
	fmt.Fprintln(w, "mastersocket:", err)
	if errors.As(err, new(usageError)) {
		return 2
	}
	return 1
}

// isOutputGone reports whether a write to standard output failed because its reader is gone.
func isOutputGone(err error) bool {
	var path *fs.PathError
	return errors.As(err, &path) && path.Path == os.Stdout.Name() && errors.Is(path.Err, syscall.EPIPE)
}
