//go:build unix

package agent

import (
	"os/exec"
	"syscall"
)

// own gives the program a session, and so a process group, of its own: signals to the agent's terminal don't reach it.
func own(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }

// killGroup kills the program's process group.
func killGroup(cmd *exec.Cmd) error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
