package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"time"

	"github.com/mastersocket/mastersocket/services/echo/load"
)

// echoShareCmd carries out one share of a load. It reads the plan from standard input, which its parent then keeps open,
// and writes reports to standard output, one JSON value a line.
type echoShareCmd struct{}

// Run carries out the share.
func (*echoShareCmd) Run(s streams) error {
	signal.Ignore(os.Interrupt) // Ctrl-C goes to the parent, which ends this process by closing its input
	in := bufio.NewReader(s.in)
	line, err := in.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("read the plan: %w", err)
	}
	var p load.Plan
	if err := json.Unmarshal(line, &p); err != nil {
		return fmt.Errorf("read the plan: %w", err)
	}
	if err := p.Check(); err != nil {
		return fmt.Errorf("read the plan: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { // ends with the process
		_, _ = io.Copy(io.Discard, in)
		cancel()
	}()
	out := json.NewEncoder(s.out)
	var failed error
	load.Work(ctx, p, func(r load.Report) {
		if err := out.Encode(r); err != nil { // the parent is gone
			failed = fmt.Errorf("report: %w", err)
			cancel()
		}
	})
	return failed
}

// shareEnd bounds how long a process may take to end.
const shareEnd = 10 * time.Second

// shareReport is a report of one of the shares, or why there are no more of it.
type shareReport struct {
	share  int
	report load.Report
	err    error
}

// runShares carries out all shares of the plan, each in a process of its own, or here if there is only one. show is told
// of each change. The Sum is never nil.
func runShares(ctx context.Context, p load.Plan, show func(load.Counts)) (*load.Sum, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	reports := make(chan shareReport)
	var all sync.WaitGroup
	for i := range p.Shares {
		p := p
		p.Share = i
		all.Go(func() {
			report := func(r load.Report) { reports <- shareReport{share: i, report: r} }
			if p.Shares == 1 {
				load.Work(ctx, p, report)
			} else if err := runShare(ctx, p, report); err != nil {
				reports <- shareReport{share: i, err: fmt.Errorf("process %d of %d: %w", i+1, p.Shares, err)}
			}
		})
	}
	go func() {
		all.Wait()
		close(reports)
	}()
	sum := load.NewSum(p.Shares)
	var failed error
	for r := range reports {
		if r.err != nil {
			failed = errors.Join(failed, r.err)
			cancel() // without one share the result means nothing
			continue
		}
		sum.Add(r.share, r.report)
		show(sum.Counts())
	}
	return sum, failed
}

// runShare carries out a share in a process of its own.
func runShare(ctx context.Context, p load.Plan, report func(load.Report)) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	plan, err := json.Marshal(p)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, self, "echo", "load-share")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	cmd.Cancel, cmd.WaitDelay = in.Close, shareEnd
	if err := cmd.Start(); err != nil {
		return err
	}
	_, err = in.Write(append(plan, '\n'))
	done := false
	for reports := json.NewDecoder(out); err == nil && !done; {
		var r load.Report
		if err = reports.Decode(&r); err == nil {
			report(r)
			done = r.Done
		}
	}
	_ = in.Close()
	ended := cmd.Wait()
	if done {
		return nil
	}
	return errors.Join(err, ended)
}
