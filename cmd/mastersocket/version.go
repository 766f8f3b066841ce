package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/alecthomas/kong"
)

// release is the version where the build says it: go build -ldflags "-X main.release=v1.2.3". Builds from files alone,
// without the repository around them, as those of images are, have no other way to know it.
var release string

// version returns the version that the binary was built from: what the build says, or that of the module, or dev for a
// build of a work tree that Go could not give one.
func version() string {
	if release != "" {
		return release
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "dev"
}

// versionLine says what the binary is.
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
