//go:build !unix

package agent

import "os/exec"

// own does nothing: this system has no process groups.
func own(*exec.Cmd) {}

// killGroup kills the program alone.
func killGroup(cmd *exec.Cmd) error { return cmd.Process.Kill() }
