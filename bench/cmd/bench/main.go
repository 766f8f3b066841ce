//go:build linux

// Command bench measures mastersocket, its peers and minimal servers on one machine, in turns. See docs/benchmarks.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"

	"github.com/mastersocket/mastersocket/bench/measure"
	"github.com/mastersocket/mastersocket/bench/report"
	"github.com/mastersocket/mastersocket/bench/servers"
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
	if o.from != "" {
		d, err := report.Read(o.from)
		if err != nil {
			return err
		}
		return publish(d, o)
	}
	adapters, skipped, err := o.choose()
	if err != nil {
		return err
	}
	plan := measure.Plan{
		Servers: adapters, Measures: o.measures, Rounds: o.rounds, Times: o.times, Progress: os.Stderr,
	}
	d := &report.Document{
		Taken: time.Now().UTC().Truncate(time.Second), Command: args, Machine: report.ThisMachine(), Rounds: o.rounds,
		Versions: versions(adapters), Skipped: skipped, Subjects: names(o.builds),
	}
	if len(o.measures) > 0 {
		d.Runs = plan.Execute(ctx)
	}
	if o.cluster {
		cluster := measure.ClusterPlan{
			Build: o.builds[0], Sizes: measure.ClusterSizes, Rounds: o.rounds, Times: o.times, Progress: os.Stderr,
		}
		d.Cluster = cluster.Execute(ctx)
	}
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	return publish(d, o)
}

// publish writes the results to the requested places. It fails at the end if any run failed.
func publish(d *report.Document, o options) error {
	if err := d.Print(os.Stdout); err != nil {
		return err
	}
	if o.json != "" {
		if err := d.Write(o.json); err != nil {
			return err
		}
	}
	if o.docs != "" {
		if err := d.Publish(o.docs); err != nil {
			return err
		}
	}
	if n := d.Failures(); n > 0 {
		return fmt.Errorf("%d runs failed", n)
	}
	return nil
}

// versions returns the servers' versions. A server with an unknown version is measured nevertheless.
func versions(adapters []servers.Adapter) map[string]string {
	all := map[string]string{}
	for _, a := range adapters {
		v, err := a.Version()
		if err != nil {
			v = "unknown: " + err.Error()
		}
		all[a.Name()] = v
	}
	return all
}

// names returns the names of the builds.
func names(builds []servers.Mastersocket) []string {
	var all []string
	for _, b := range builds {
		all = append(all, b.Name())
	}
	return all
}
