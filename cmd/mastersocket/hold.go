package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"github.com/mastersocket/mastersocket/client"
)

// holdCmd runs a command while it holds an exclusive group.
type holdCmd struct {
	connection `embed:""`

	Group     string        `required:"" short:"g" placeholder:"GROUP" help:"Exclusive group to hold."`
	Join      string        `placeholder:"GROUP" default:"hold" help:"Plain group to be in; the token must allow it."`
	HoldWait  time.Duration `placeholder:"TIME" help:"End with code 1 if the group is not held within this time; 0 waits for ever."`
	KillAfter time.Duration `placeholder:"TIME" default:"1s" help:"From SIGTERM to SIGKILL, less than 2s."`
	Quiet     bool          `short:"q" help:"Report nothing on standard error."`
	Command   []string      `arg:"" passthrough:"" help:"The command and its arguments, behind --."`
}

// Exit codes of hold beside those of its command.
const (
	codeHoldLost  = 75  // EX_TEMPFAIL of sysexits.h
	codeCannotRun = 126 // as of shells
	codeNotFound  = 127
)

// maxKillAfter leaves a holder time between confirmations, which come every second and last up to 2.5 s.
const maxKillAfter = 2 * time.Second

// Help is the longer help.
func (*holdCmd) Help() string {
	return `It waits until it is the group's one holder in the whole cluster, runs the command, and gives the group to the next one
when the command has ended. Others that wait get it in the order in which they asked.

If the hold is not confirmed in time (the connection is lost, the hub restarts without a move, its broker is away), the
command and all processes of its group get SIGTERM, and SIGKILL when the time is over for which the hold was confirmed.
SIGINT and SIGTERM for this command end the command in the same way. It reads no terminal: it is a process group of its own.

The command finds in its environment:
    MASTERSOCKET_HOLD_GROUP  the group
    MASTERSOCKET_HOLD_TERM   the term: each holder has a higher one than those before. A database that refuses lower terms
                             than the highest it has seen is safe even from a command that outlived its hold

Exit codes:
    of the command      it ended by itself; 128 + the signal that ended it
    1                   not held within --hold-wait, or no connection
    75                  the hold was lost and the command ended
    126, 127            the command can't be run, was not found
    130                 interrupted while it waited

Examples:
    mastersocket hold --group nightly -- ./backup.sh
    mastersocket hold --group leader --hold-wait 10s -- ./scheduler` + tokenHelp
}

// commandEnd is how the command ended: an exit code, of which nothing is to be said.
type commandEnd int

// Error says the code.
func (c commandEnd) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

// Run holds the group and runs the command.
func (c *holdCmd) Run(s streams) error {
	if len(c.Command) > 0 && c.Command[0] == "--" {
		c.Command = c.Command[1:]
	}
	switch {
	case len(c.Command) == 0:
		return usageError{errors.New("no command: want it behind --")}
	case c.KillAfter <= 0 || c.KillAfter >= maxKillAfter:
		return usageError{fmt.Errorf("--kill-after %v: want more than 0 and less than %v", c.KillAfter, maxKillAfter)}
	case c.HoldWait < 0:
		return usageError{fmt.Errorf("--hold-wait %v: want 0 or more", c.HoldWait)}
	}
	path, err := exec.LookPath(c.Command[0])
	if err != nil {
		fmt.Fprintln(s.err, "mastersocket:", err)
		if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
			return commandEnd(codeNotFound)
		}
		return commandEnd(codeCannotRun)
	}
	ctx, stop := interruptible()
	defer stop()
	cl, err := c.connect(ctx, client.Options{Group: c.Join, Name: "mastersocket hold", NoAcks: true, StopOnAuthError: true})
	if err != nil {
		return interruptedOr(ctx, err)
	}
	defer goodbye(cl)
	h, err := c.hold(ctx, cl)
	if err != nil {
		return err
	}
	c.say(s, "holds %q, term %d", c.Group, h.Term())
	return c.run(ctx, s, path, h)
}

func (c *holdCmd) say(s streams, format string, args ...any) {
	if !c.Quiet {
		fmt.Fprintf(s.err, "mastersocket: "+format+"\n", args...)
	}
}

// hold waits for the group.
func (c *holdCmd) hold(ctx context.Context, cl *client.Client) (*client.Hold, error) {
	wait := ctx
	if c.HoldWait > 0 {
		var cancel context.CancelFunc
		wait, cancel = context.WithTimeout(ctx, c.HoldWait)
		defer cancel()
	}
	h, err := cl.Hold(wait, c.Group)
	switch {
	case err == nil:
		return h, nil
	case ctx.Err() != nil:
		return nil, errInterrupted
	case wait.Err() != nil:
		return nil, fmt.Errorf("another one holds %q (--hold-wait %v)", c.Group, c.HoldWait)
	}
	return nil, err
}

// run runs the command until it ends, the hold is lost, or ctx ends.
func (c *holdCmd) run(ctx context.Context, s streams, path string, h *client.Hold) error {
	cmd := exec.Command(path, c.Command[1:]...)
	cmd.Args[0] = c.Command[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.in, s.out, s.err
	cmd.Env = append(os.Environ(), "MASTERSOCKET_HOLD_GROUP="+c.Group, fmt.Sprintf("MASTERSOCKET_HOLD_TERM=%d", h.Term()))
	cmd.WaitDelay = time.Second // for output of processes that left its group
	group := newProcessGroup(cmd)
	runtime.LockOSThread() // the command dies with the thread that starts it
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(s.err, "mastersocket:", err)
		return commandEnd(codeCannotRun)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	lost := false
	for left := h.Left(); ; left = h.Left() {
		confirmed := time.NewTimer(max(left-c.KillAfter, 0))
		select {
		case err := <-ended:
			confirmed.Stop()
			group.kill() // what it left behind
			return exitOf(err)
		case <-ctx.Done():
		case <-confirmed.C:
			if h.Left() > c.KillAfter {
				continue
			}
			lost = true
		}
		confirmed.Stop()
		break
	}
	if lost {
		c.say(s, "%q is not confirmed any more: ending the command", c.Group)
	}
	group.terminate()
	by := h.Left()
	if !lost {
		by = min(by, c.KillAfter)
	}
	kill := time.NewTimer(by)
	defer kill.Stop()
	var err error
	select {
	case err = <-ended:
	case <-kill.C:
		group.kill()
		err = <-ended
	}
	group.kill()
	if lost {
		return commandEnd(codeHoldLost)
	}
	return exitOf(err)
}

// exitOf returns how the command ended, nil for code 0.
func exitOf(err error) error {
	var exit *exec.ExitError
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay):
		return nil
	case !errors.As(err, &exit):
		return err
	}
	if st, ok := exit.Sys().(syscall.WaitStatus); ok && st.Signaled() {
		return commandEnd(128 + int(st.Signal()))
	}
	return commandEnd(exit.ExitCode())
}
