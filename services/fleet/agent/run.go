package agent

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
	"unicode"
)

// maxOutput bounds what is kept of a program's output, in bytes: its end. The program may print any amount.
const maxOutput = 4 << 10

// killWait is how long the agent waits for the output of a program that it has killed: another process may hold it open.
const killWait = 2 * time.Second

// tail keeps the end of what is written to it.
type tail struct {
	b   []byte
	cut bool
}

// Write implements io.Writer. It never fails.
func (t *tail) Write(p []byte) (int, error) {
	n := len(p)
	if n > maxOutput {
		p, t.b, t.cut = p[n-maxOutput:], t.b[:0], true
	}
	if over := len(t.b) + len(p) - maxOutput; over > 0 {
		t.b, t.cut = t.b[:copy(t.b, t.b[over:])], true
	}
	t.b = append(t.b, p...)
	return n, nil
}

// run runs a program to its end and returns the end of its standard output. The error has that of both outputs.
func (a *Agent) run(ctx context.Context, argv, env []string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, a.opts.Timeout)
	defer cancel()
	var out, errs tail
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = a.opts.Dir, env, &out, &errs
	own(cmd)
	cmd.Cancel = func() error { return killGroup(cmd) }
	cmd.WaitDelay = killWait
	err := cmd.Run()
	if cmd.Process != nil {
		_ = killGroup(cmd) // what it left behind, if anything
	}
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		err = fmt.Errorf("it took longer than %v and was killed", a.opts.Timeout)
	case ctx.Err() != nil:
		err = errors.New("the agent was stopped")
	case errors.Is(err, exec.ErrWaitDelay): // it has ended well, and a process that it left behind held its output open
		err = nil
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w%s", argv[0], err, lastLine(&errs, &out))
	}
	return string(out.b), nil
}

// lastLine returns the last line of the first output that has one, as the end of an error.
func lastLine(outputs ...*tail) string {
	for _, t := range outputs {
		lines := strings.FieldsFunc(string(t.b), func(r rune) bool { return r == '\n' || r == '\r' })
		for i := len(lines) - 1; i >= 0; i-- {
			line := strings.TrimSpace(strings.Map(func(r rune) rune {
				if unicode.IsPrint(r) {
					return r
				}
				return ' '
			}, lines[i]))
			if line != "" {
				return ": " + line[:min(len(line), maxLine)]
			}
		}
	}
	return ""
}

// maxLine bounds what an error repeats of an output, in bytes.
const maxLine = 120

// spawn starts a bot, which outlives the agent. It fails if the bot ends with an error at once.
func (a *Agent) spawn(ctx context.Context, argv, env []string) error {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = a.opts.Dir, env, a.opts.Output, a.opts.Output
	own(cmd)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	ended := make(chan error, 1)
	go func() {
		err := cmd.Wait() // reaps it
		a.opts.Log.Info("bot has ended", "pid", cmd.Process.Pid, "state", cmd.ProcessState.String())
		ended <- err
	}()
	timer := time.NewTimer(a.opts.Grace)
	defer timer.Stop()
	select {
	case err := <-ended:
		if err != nil {
			return fmt.Errorf("%s: it ended at once: %w", argv[0], err)
		}
	case <-timer.C:
	case <-ctx.Done():
	}
	a.opts.Log.Info("bot spawned", "pid", cmd.Process.Pid)
	return nil
}
