// Command mastersocket runs a socket hub, and talks to one.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/alecthomas/kong"
)

// cli is the grammar of the command line.
type cli struct {
	Serve serveCmd `cmd:"" help:"Run the hub."`
}

// streams are where a command reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// usageError is a mistake of whoever called: exit code 2.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func main() { os.Exit(run(os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr})) }

// run runs one command and returns the process's exit code: 0 done, 1 failed, 2 bad usage or configuration.
func run(args []string, s streams) int {
	parser, err := kong.New(&cli{}, kong.Name("mastersocket"), kong.Writers(s.out, s.err), kong.Bind(s),
		kong.Description("A pub/sub socket hub for microservices."))
	if err != nil {
		fmt.Fprintln(s.err, "mastersocket:", err)
		return 1
	}
	ctx, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintln(s.err, "mastersocket:", err)
		return 2
	}
	if err := ctx.Run(); err != nil {
		fmt.Fprintln(s.err, "mastersocket:", err)
		if errors.As(err, new(usageError)) {
			return 2
		}
		return 1
	}
	return 0
}

// version returns the version that the binary was built from.
func version() string { return "dev" }
