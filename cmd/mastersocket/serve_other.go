//go:build !linux

package main

import "errors"

// serveCmd stands in for the hub where it does not run.
type serveCmd struct {
	Args []string `arg:"" optional:"" passthrough:"" hidden:""`
}

// Help says what to do instead.
func (*serveCmd) Help() string { return errNotHere.Error() }

var errNotHere = errors.New(`the hub runs on Linux only: it stands on epoll.
Run it in a container or a virtual machine, for instance in the folder with its source:

    docker run --rm -it -p 42069:42069 -v "$PWD":/src -w /src golang:1.26 go run ./cmd/mastersocket serve

All other commands, and the Go package client, run here too: give them the token that the hub prints.`)

// Run refuses.
func (*serveCmd) Run() error { return errNotHere }
