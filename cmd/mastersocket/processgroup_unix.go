//go:build unix

package main

import (
	"os/exec"
	"syscall"
)

// processGroup is a command with all that it starts, as far as that stays in its group.
type processGroup struct{ cmd *exec.Cmd }

// newProcessGroup prepares cmd, which has not started, to be one.
func newProcessGroup(cmd *exec.Cmd) processGroup {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	dieWithParent(cmd.SysProcAttr)
	return processGroup{cmd}
}

// terminate asks its processes to end.
func (g processGroup) terminate() { g.signal(syscall.SIGTERM) }

// kill ends its processes.
func (g processGroup) kill() { g.signal(syscall.SIGKILL) }

func (g processGroup) signal(sig syscall.Signal) {
	_ = syscall.Kill(-g.cmd.Process.Pid, sig) // an error: it has none any more
}
