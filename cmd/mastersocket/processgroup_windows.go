package main

import "os/exec"

// processGroup is a command. Windows knows no signals: its children go on.
type processGroup struct{ cmd *exec.Cmd }

// newProcessGroup prepares cmd, which has not started, to be one.
func newProcessGroup(cmd *exec.Cmd) processGroup { return processGroup{cmd} }

// terminate and kill end the command.
func (g processGroup) terminate() { _ = g.cmd.Process.Kill() }

func (g processGroup) kill() { _ = g.cmd.Process.Kill() }
