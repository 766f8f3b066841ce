//go:build linux

// Package servers runs the measured servers and has their protocols.
//
// Each server runs as a separate process with its fastest settings: no compression, no log lines per message or
// connection, no pings within a run.
package servers

import (
	"net/netip"
	"os/exec"

	"github.com/mastersocket/mastersocket/bench/load"
)

// An Adapter is one server.
type Adapter interface {
	// Name is the server's name in tables and flags.
	Name() string

	// Version returns the server's version, for the record.
	Version() (string, error)

	// Missing returns the reason why the server can't run here, or nil.
	Missing() error

	// Command returns the command that starts the server.
	Command(s Site) (*exec.Cmd, error)

	// Dialect returns how to speak with a server that was just started, in messages of that shape.
	Dialect(load.Shape) load.Dialect
}

// A Site is the addresses and the folder of one start of a server.
type Site struct {
	Listen netip.AddrPort // for clients
	Admin  netip.AddrPort // for whatever else the server offers
	Dir    string         // an empty folder, removed afterwards
	Cores  int            // that the server may use; 0: all

	// PEM files in Dir for a server whose clients connect over TLS; empty for one without.
	Certificate, Key string
}

// Secured is implemented by adapters whose servers serve over TLS at a Site with a certificate.
type Secured interface {
	Adapter
	Secured()
}

// Limited is implemented by adapters that take part in some of the measures only.
type Limited interface {
	Covers(measure string) bool
}

// AllocationCounter is implemented by adapters whose server reports its number of allocated objects.
type AllocationCounter interface {
	Allocations(s Site) (float64, error)
}
