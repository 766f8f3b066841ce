//go:build linux

// Command bench measures mastersocket beside its peers and beside the least that a server could do, on one machine and
// by turns. See docs/benchmarks.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"

	"github.com/mastersocket/mastersocket/bench/measure"
	"github.com/mastersocket/mastersocket/bench/report"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return
		}
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	adapters, skipped, err := o.choose()
	if err != nil {
		return err
	}
	plan := measure.Plan{
		Servers: adapters, Measures: o.measures, Rounds: o.rounds, Times: o.times, Progress: os.Stderr,
	}
	runs := plan.Execute(ctx)
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	return report.Table(report.Summarize(runs), skipped).Print(os.Stdout)
}
