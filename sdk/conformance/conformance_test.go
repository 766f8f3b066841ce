package conformance

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// adapter is an SDK's adapter.
type adapter struct {
	name string
	// start returns the command line, or why the adapter can't be started here.
	start func(t *testing.T) (command []string, missing string)
	dir   string
	can   []string // capabilities that scenarios may need
}

// The capabilities.
const (
	canStatus = "status"   // the platform tells the HTTP status of a refused handshake
	canPause  = "pause"    // the platform lets a client stop reading
	noPause   = "no-pause" // it does not, as in browsers
	canGroups = "groups"   // the SDK changes groups, and watches who is in them
	canHold   = "hold"     // the SDK holds exclusive groups
	canGiveUp = "give-up"  // the platform ends a handshake that takes too long at once, and opens nothing more for it

	canRequests = "requests" // the SDK's requests and answers are tracked
	canHistory  = "history"  // the SDK recovers what it missed in groups with history, and keeps positions
)

// adapters are the SDKs. Another SDK is a further line.
var adapters = []adapter{
	{name: "go", start: buildGo("./goadapter"), can: []string{canStatus, canGiveUp, canPause, canGroups, canHold, canRequests, canHistory}},
	{name: "python", start: findPython, dir: "../python", can: []string{canStatus, canGiveUp, canPause, canGroups, canHold, canRequests}},
	{name: "typescript", start: node(), can: []string{canStatus, canGiveUp, canPause, canGroups, canHold, canRequests}},
	{name: "typescript-platform", start: node("--experimental-websocket"), can: []string{noPause, canGroups, canHold, canRequests}},
}

// node returns what starts the adapter in TypeScript: with the package ws or, given flags for it, with the WebSocket of Node.js.
func node(flags ...string) func(t *testing.T) (command []string, missing string) {
	return func(*testing.T) (command []string, missing string) {
		dir, err := filepath.Abs("../typescript")
		if err != nil {
			return nil, err.Error()
		}
		for _, made := range []string{"dist/index.js", "node_modules/ws"} {
			if _, err := os.Stat(filepath.Join(dir, made)); err != nil {
				return nil, "the SDK in TypeScript is not built; make sdk-test builds it"
			}
		}
		command = append([]string{"node"}, flags...)
		if out, err := exec.Command("node", append(flags, "--eval", "")...).CombinedOutput(); err != nil {
			return nil, fmt.Sprintf("no Node.js that takes %v: %v %s", flags, err, out)
		}
		command = append(command, filepath.Join(dir, "test/adapter.mjs"))
		if len(flags) > 0 {
			command = append(command, "platform")
		}
		return command, ""
	}
}

// programs is the folder of the programs in Go.
var programs = sync.OnceValue(func() string {
	dir, err := os.MkdirTemp("", "conformance-")
	if err != nil {
		panic(err)
	}
	return dir
})

// buildGo returns what builds a program in Go, once for all tests.
func buildGo(program string) func(t *testing.T) (command []string, missing string) {
	build := sync.OnceValues(func() (file string, err error) {
		file = filepath.Join(programs(), filepath.Base(program))
		if out, err := exec.Command("go", "build", "-o", file, program).CombinedOutput(); err != nil {
			return "", fmt.Errorf("%w: %s", err, out)
		}
		return file, nil
	})
	return func(t *testing.T) (command []string, missing string) {
		t.Helper()
		file, err := build()
		if err != nil {
			t.Fatal(err)
		}
		return []string{file}, ""
	}
}

// findPython returns the adapter of the Python SDK, where Python has its packages.
func findPython(*testing.T) (command []string, missing string) {
	const python = "/usr/bin/python3" // with Debian's packages
	if err := exec.Command(python, "-c", "import websockets").Run(); err != nil {
		return nil, python + " has no package websockets"
	}
	return []string{python, "-m", "tests.adapter"}, ""
}

// command returns the adapter's command line, or skips the test if the adapter can't be started here. MASTERSOCKET_SDK names the only
// adapters to be tested, separated by commas; it is then an error if one of them can't be started.
func (a adapter) command(t *testing.T) []string {
	t.Helper()
	only := os.Getenv("MASTERSOCKET_SDK")
	if only != "" && !slices.Contains(strings.Split(only, ","), a.name) {
		t.Skip("MASTERSOCKET_SDK is " + only)
	}
	command, missing := a.start(t)
	if missing != "" && only != "" {
		t.Fatal(missing)
	}
	if missing != "" {
		t.Skip(missing)
	}
	return command
}

// TestScenarios plays each scenario against each adapter.
func TestScenarios(t *testing.T) {
	t.Parallel()
	all := scenarios(t)
	for _, a := range adapters {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			command := a.command(t)
			for _, s := range all {
				t.Run(s.name, func(t *testing.T) {
					for _, need := range s.Needs {
						if !slices.Contains(a.can, need) {
							t.Skip("the adapter can't " + need)
						}
					}
					t.Parallel()
					play(t, s, command, a.dir)
				})
			}
		})
	}
}
