//go:build linux

package main

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/mastersocket/mastersocket/bench/measure"
	"github.com/mastersocket/mastersocket/bench/servers"
)

type options struct {
	servers  []string
	measures []string
	rounds   int
	times    measure.Times
	cluster  bool
	json     string
	docs     string
	from     string
	builds   []servers.Mastersocket
	cache    string
}

func parse(args []string) (options, error) {
	var (
		o       options
		quick   bool
		window  time.Duration
		list    string
		flagSet = flag.NewFlagSet("bench", flag.ContinueOnError)
	)
	flagSet.StringVar(&list, "measures", "", "measures to take, separated by commas (default: all; none: no server by itself, for -cluster); saturated stands for all that begin so: "+
		strings.Join(measure.Names(), ","))
	flagSet.Func("servers", "servers to measure, separated by commas (default: all that are installed)", func(s string) error {
		o.servers = strings.Split(s, ",")
		return nil
	})
	flagSet.Func("mastersocket", "build of mastersocket to measure: PATH or NAME=PATH, with further flags of serve behind it; "+
		"may be repeated to compare builds (default: bin/mastersocket)", func(s string) error {
		m, err := servers.ParseMastersocket(s)
		o.builds = append(o.builds, m)
		return err
	})
	flagSet.IntVar(&o.rounds, "rounds", 0, "rounds, of which the medians are taken (default: 5; with -quick: 1)")
	flagSet.BoolVar(&quick, "quick", false, "a short run that shows that everything works; its figures mean little")
	flagSet.DurationVar(&window, "window", 0, "length of each measurement, instead of each measure's own")
	flagSet.StringVar(&o.json, "json", "", "file to write all runs to, as JSON")
	flagSet.StringVar(&o.docs, "docs", "", "folder docs: put tables and charts there, into benchmarks.md and benchmarks/")
	flagSet.StringVar(&o.from, "from", "", "measure nothing, but print and publish what -json wrote to this file")
	flagSet.BoolVar(&o.cluster, "cluster", false, "measure 1, 2 and 4 instances with a redis-server too")
	flagSet.StringVar(&o.cache, "cache", "", "folder with the installed servers (default: that of this program)")
	if err := flagSet.Parse(args); err != nil {
		return o, err
	}
	if flagSet.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", flagSet.Arg(0))
	}
	return o, o.complete(list, quick, window)
}

// complete sets the defaults.
func (o *options) complete(list string, quick bool, window time.Duration) (err error) {
	var named []string
	if list != "" {
		named = strings.Split(list, ",")
	}
	if list != "none" {
		if o.measures, err = measure.Select(named); err != nil {
			return err
		}
	}
	o.times = measure.FullTimes
	rounds := 5
	if quick {
		o.times, rounds = measure.QuickTimes, 1
	}
	if window > 0 {
		o.times = o.times.All(window)
	}
	if o.rounds == 0 {
		o.rounds = rounds
	}
	if o.rounds < 0 {
		return fmt.Errorf("%d rounds", o.rounds)
	}
	if o.cache == "" {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("finding this program: %w", err)
		}
		o.cache = filepath.Dir(filepath.Dir(self))
	}
	if len(o.builds) == 0 {
		// This program is in bench/.cache/bin.
		path := filepath.Join(o.cache, "..", "..", "bin", "mastersocket")
		o.builds = []servers.Mastersocket{
			{Label: "mastersocket", Path: path},
			{Label: servers.OneLoop, Path: path, Args: []string{"--loops=1"}}, // leaves the other core to the generator
		}
	}
	return nil
}

// all returns every server, in the order of the table.
func (o *options) all() []servers.Adapter {
	bin, peers := filepath.Join(o.cache, "bin"), filepath.Join(o.cache, "..", "peers")
	centrifugo := cmp.Or(os.Getenv(servers.CentrifugoVariable), filepath.Join(bin, "centrifugo"))
	var all []servers.Adapter
	for _, m := range o.builds {
		all = append(all, m)
	}
	return append(all,
		servers.Floor{Bin: bin, C: true},
		servers.Floor{Bin: bin},
		servers.Floor{Bin: bin, C: true, Coalesce: true},
		servers.Floor{Bin: bin, Coalesce: true},
		servers.GWS{Bin: bin},
		servers.NATS{Bin: bin},
		servers.NewWS(peers),
		servers.NewSocketIO(peers),
		servers.NewMastersocketSocketIO(o.builds[0].Path),
		servers.Centrifugo{Path: centrifugo},
		servers.UWS{Path: os.Getenv(servers.UWSVariable), Peers: peers},
	)
}

// choose returns the servers to measure, and why others can't be measured.
func (o *options) choose() (chosen []servers.Adapter, skipped map[string]string, err error) {
	skipped = map[string]string{}
	var names []string
	for _, a := range o.all() {
		names = append(names, a.Name())
		if len(o.servers) > 0 && !slices.Contains(o.servers, a.Name()) {
			continue
		}
		if reason := a.Missing(); reason != nil {
			skipped[a.Name()] = reason.Error()
			continue
		}
		chosen = append(chosen, a)
	}
	for _, name := range o.servers {
		if !slices.Contains(names, name) {
			return nil, nil, fmt.Errorf("no server is called %q; there are: %s", name, strings.Join(names, ", "))
		}
	}
	if len(chosen) == 0 {
		return nil, nil, fmt.Errorf("none of the servers can be run: %v", skipped)
	}
	return chosen, skipped, nil
}
