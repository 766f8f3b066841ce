//go:build linux

// Package servers knows how to run each server that is measured, and how to speak with it.
//
// Each server runs as a process of its own, with what it needs to be at its best: no compression, no log lines per
// message or connection, no pings within a run.
package servers

import (
	"net/netip"
	"os/exec"

	"github.com/mastersocket/mastersocket/bench/load"
)

// An Adapter is one server.
type Adapter interface {
	// Name is what the server is called in tables and flags.
	Name() string

	// Version returns the server's version, for the record.
	Version() (string, error)

	// Missing says why the server can't be run here, or returns nil.
	Missing() error

	// Command returns what starts the server. The tool adds what it needs to watch and end it.
	Command(s Site) (*exec.Cmd, error)

	// Dialect returns how to speak with a server that was just started.
	Dialect() load.Dialect
}

// A Site is what one start of a server has for itself.
type Site struct {
	Listen netip.AddrPort // for clients
	Admin  netip.AddrPort // for whatever else the server offers
	Dir    string         // an empty folder, removed afterwards
}

// Limited is implemented by adapters that take part in some of the measures only.
type Limited interface {
	Covers(measure string) bool
}

// AllocationCounter is implemented by adapters whose server tells how many objects it has allocated so far.
type AllocationCounter interface {
	Allocations(s Site) (float64, error)
}
