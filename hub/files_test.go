package hub_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// files are the package's files from the ground up: a file may use what those above it in this list define. See doc.go.
var files = []string{
	"doc.go",
	// What no other file defines.
	"counters.go", "feedback.go", "deferral.go", "cursor.go", "verifications.go", "limits.go", "chronicle.go", "options.go",
	// State.
	"tracked.go", "session.go", "marks.go", "group.go", "tenure.go", "registry.go", "change.go", "shard.go", "hub.go", "claim.go", "record.go", "traffic.go", "probe.go",
	// A message's way.
	"mail.go", "tour.go", "report.go", "membership.go", "pressure.go", "relay.go", "numbering.go",
	"trackednews.go", "trackedparts.go", "delivery.go", "timeline.go", "any.go", "routing.go", "selection.go", "trackedrequest.go", "trackedtimes.go", "trackedsettle.go", "trackedprogress.go", "trackedhearer.go", "trackeddraw.go",
	// Who is in the groups that are watched.
	"presence.go", "stream.go", "mirror.go", "watch.go",
	// What members of groups with history missed.
	"catchup.go",
	// A client's life.
	"subscribe.go", "recovery.go", "holding.go", "ending.go", "notice.go", "expiry.go", "authenticate.go", "callers.go", "join.go", "verify.go", "identify.go", "tokens.go",
	// What clients, service types and operators do.
	"trackedask.go", "events.go", "fence.go", "peer.go", "questions.go", "requests.go", "service.go", "hold.go", "tap.go", "inquiries.go", "receipts.go", "clients.go", "clienttap.go", "groups.go", "eventlog.go", "top.go",
	"archive.go", "stats.go", "nodes.go", "operate.go", "regroup.go", "campaign.go", "rebalance.go", "drain.go",
	// What calls the package, and its start and end.
	"protocol.go", "remote.go", "lifecycle.go",
}

// upward are the references against that order that stay, with their reasons.
var upward = map[string]string{
	"group.go -> tenure.go":                 "a group knows who holds it",
	"hub.go -> claim.go":                    "the hub has the claims of its clients, and a claim its hub",
	"session.go -> holding.go":              "a session has its holdings, and a holding its session",
	"change.go -> holding.go":               "a change has the holdings that it makes",
	"session.go -> group.go":                "a session knows its places in groups, and a group its members",
	"session.go -> change.go":               "a session has its changes of groups, and a change its session",
	"session.go -> report.go":               "a session knows the connection that it came from, or goes to",
	"session.go -> presence.go":             "a session has the groups that it watches, and a group its watchers",
	"shard.go -> probe.go":                  "a shard has what operators watch of its clients",
	"hub.go -> clienttap.go":                "a hub has the probes that others ask it for",
	"shard.go -> traffic.go":                "a shard has what it measures of its clients",
	"shard.go -> numbering.go":              "a shard has what its senders have on the way to the broker",
	"shard.go -> catchup.go":                "a shard has the reads of its members that recover",
	"session.go -> catchup.go":              "a session knows its recoveries, and a recovery its session",
	"group.go -> timeline.go":               "a group knows how far this instance and its loops are in its history",
	"timeline.go -> catchup.go":             "a timeline knows the members that numbered messages pass by",
	"membership.go -> timeline.go":          "a member that leaves recovers no more",
	"change.go -> recovery.go":              "a change has the positions at which it joins",
	"numbering.go -> protocol.go":           "a message that was kept is handled like one that comes",
	"group.go -> report.go":                 "a loop knows where it reports its members to",
	"shard.go -> presence.go":               "a shard has the watched groups whose home it is, and these their shard",
	"session.go -> shard.go":                "a session knows its loop's shard, and a shard its sessions",
	"shard.go -> hub.go":                    "a shard knows the hub, and the hub its shards",
	"shard.go -> mail.go":                   "a shard holds ANYs for clients that are about to join",
	"hub.go -> callers.go":                  "a hub knows who sends without being a client",
	"hub.go -> inquiries.go":                "a hub asks others about messages",
	"inquiries.go -> receipts.go":           "an inquiry is about a message, and a message has its inquiry",
	"shard.go -> receipts.go":               "a shard has the messages that wait for receipts",
	"options.go -> service.go":              "service types are among a hub's options",
	"routing.go -> selection.go":            "what is sent may have several targets, or exceptions",
	"session.go -> trackedparts.go":         "a session knows its last parts in requests",
	"session.go -> trackedrequest.go":       "a session knows its open requests",
	"shard.go -> trackedparts.go":           "a shard has the parts of its clients in requests",
	"shard.go -> trackedrequest.go":         "a shard has the requests of its clients",
	"tracked.go -> hub.go":                  "the hash of a request is the hub's own, and its clock is the hub's",
	"trackedrequest.go -> trackedtimes.go":  "a request is put where its time is watched",
	"trackedtimes.go -> trackedprogress.go": "the timer has the loop look at what is due",
	"trackedprogress.go -> trackeddraw.go":  "an ANY without an answer is handed on, and goes on from there",
	"any.go -> trackedrequest.go":           "an ANY that comes back may be a request",
	"any.go -> trackeddraw.go":              "a request that no member of a loop is to get goes on to the next",
}

// TestFilesUseWhatIsBelow keeps the package's main direction. References are those of identifiers in one file to what
// another file of the package defines: types, functions, methods, fields, variables and constants.
func TestFilesUseWhatIsBelow(t *testing.T) {
	t.Parallel()
	uses := fileReferences(t)
	rank := make(map[string]int)
	for i, f := range files {
		rank[f] = i
	}
	found := make(map[string]bool)
	for pair, names := range uses {
		from, to := pair[0], pair[1]
		for _, f := range pair {
			if _, ok := rank[f]; !ok {
				t.Errorf("%s is not in the list", f)
			}
		}
		if rank[from] > rank[to] {
			continue
		}
		key := from + " -> " + to
		found[key] = true
		if _, ok := upward[key]; !ok {
			slices.Sort(names)
			t.Errorf("%s uses what a file above it defines: %s", key, strings.Join(slices.Compact(names), ", "))
		}
	}
	for key := range upward {
		if !found[key] {
			t.Errorf("%s is allowed, and not used any more", key)
		}
	}
	t.Logf("%d files, %d references between files, %d upward", len(files), len(uses), len(found))
}

// fileReferences returns, for each pair of files, the names that the first uses and the second defines.
func fileReferences(t *testing.T) map[[2]string][]string {
	t.Helper()
	paths, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	set := token.NewFileSet()
	var parsed []*ast.File
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, f)
	}
	info := &types.Info{Uses: make(map[*ast.Ident]types.Object)}
	config := types.Config{Importer: importer.ForCompiler(set, "gc", exports(t))}
	pkg, err := config.Check("hub", set, parsed, info)
	if err != nil {
		t.Fatal(err)
	}
	uses := make(map[[2]string][]string)
	for id, o := range info.Uses {
		if o.Pkg() != pkg {
			continue
		}
		from, to := set.Position(id.Pos()).Filename, set.Position(o.Pos()).Filename
		if from != to {
			uses[[2]string{from, to}] = append(uses[[2]string{from, to}], o.Name())
		}
	}
	return uses
}

// exports returns what finds the compiled form of a package that this one imports.
func exports(t *testing.T) importer.Lookup {
	t.Helper()
	out, err := exec.Command("go", "list", "-export", "-deps", "-f", "{{.ImportPath}} {{.Export}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	compiled := make(map[string]string)
	for line := range bytes.Lines(out) {
		if path, file, ok := strings.Cut(strings.TrimSpace(string(line)), " "); ok {
			compiled[path] = file
		}
	}
	return func(path string) (io.ReadCloser, error) {
		file, ok := compiled[path]
		if !ok {
			return nil, fmt.Errorf("no compiled form of %s", path)
		}
		return os.Open(file)
	}
}
