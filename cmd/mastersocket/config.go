package main

import (
	"fmt"

	"github.com/mastersocket/mastersocket/internal/config"
)

// configCmd groups the commands that handle configuration files.
type configCmd struct {
	Check configCheckCmd `cmd:"" help:"Check a file for serve --config, --tokens-file or --fleet-file, and print everything that is wrong with it."`
}

// configCheckCmd checks one file.
type configCheckCmd struct {
	File string `arg:"" help:"The file. One with the key tokens is a tokens file, one with the key fleets a fleet file, any other is one with settings."`
}

// Run checks the file.
func (c *configCheckCmd) Run(s streams) error {
	warnings, err := config.CheckFile(c.File)
	for _, w := range warnings {
		fmt.Fprintln(s.err, "warning:", w)
	}
	if err != nil {
		return usageError{err}
	}
	_, err = fmt.Fprintf(s.out, "%s: no errors\n", c.File)
	return err
}
