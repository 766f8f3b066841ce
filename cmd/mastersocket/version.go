package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/alecthomas/kong"
)

// release is the version that the build sets: go build -ldflags "-X main.release=v1.2.3". A build without the repository,
// such as that of an image, has no other way to know it.
var release string

// version returns the version of the binary: the one that the build sets, that of the module, or dev.
func version() string {
	if release != "" {
		return release
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "dev"
}

// versionLine returns version, revision and platform of the binary.
func versionLine() string {
	parts := []string{"mastersocket", version()}
	if info, ok := debug.ReadBuildInfo(); ok {
		settings := make(map[string]string, len(info.Settings))
		for _, s := range info.Settings {
			settings[s.Key] = s.Value
		}
		if revision := settings["vcs.revision"]; revision != "" {
			parts = append(parts, "revision "+revision)
		}
		if settings["vcs.modified"] == "true" {
			parts = append(parts, "(with changes)")
		}
	}
	return strings.Join(append(parts, runtime.Version(), runtime.GOOS+"/"+runtime.GOARCH), " ")
}

// versionCmd prints the version.
type versionCmd struct{}

// Run prints the version.
func (*versionCmd) Run(s streams) error {
	_, err := fmt.Fprintln(s.out, versionLine())
	return err
}

// versionFlag is --version.
type versionFlag bool

// BeforeReset prints the version and ends, whatever else is on the command line.
func (versionFlag) BeforeReset(app *kong.Kong, s streams) error {
	fmt.Fprintln(s.out, versionLine())
	app.Exit(0)
	return nil
}
