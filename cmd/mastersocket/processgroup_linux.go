package main

import "syscall"

// dieWithParent has the command killed if this process is.
func dieWithParent(a *syscall.SysProcAttr) { a.Pdeathsig = syscall.SIGKILL }
