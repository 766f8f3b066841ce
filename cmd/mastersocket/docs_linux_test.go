package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// root is the folder of the repository.
const root = "../.."

// documents returns the texts that people read, by their paths below root.
func documents(t *testing.T) map[string]string {
	t.Helper()
	texts := make(map[string]string)
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/adr/*.md", "deploy/*.md", "deploy/helm/mastersocket/*.md"} {
		paths, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			texts[strings.TrimPrefix(path, root+"/")] = string(b)
		}
	}
	if len(texts) < 10 {
		t.Fatalf("only %d documents", len(texts))
	}
	return texts
}

var (
	fenced = regexp.MustCompile("(?ms)^ *```.*?^ *```")
	span   = regexp.MustCompile("`[^`\n]*`")
	link   = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	scheme = regexp.MustCompile(`^[a-z]+:`)
)

// TestDocumentLinks: whatever a document links to in the repository is there, down to the heading.
func TestDocumentLinks(t *testing.T) {
	t.Parallel()
	texts := documents(t)
	for path, text := range texts {
		for _, m := range link.FindAllStringSubmatch(span.ReplaceAllString(fenced.ReplaceAllString(text, ""), ""), -1) {
			if scheme.MatchString(m[1]) {
				continue
			}
			file, anchor, _ := strings.Cut(m[1], "#")
			target := path
			if file != "" {
				target = filepath.Join(filepath.Dir(path), file)
			}
			if _, err := os.Stat(filepath.Join(root, target)); err != nil {
				t.Errorf("%s links to %s: no such file", path, m[1])
			} else if anchor != "" && !slices.Contains(anchors(texts[target]), anchor) {
				t.Errorf("%s links to %s: no such heading", path, m[1])
			}
		}
	}
}

var repositoryPath = regexp.MustCompile("`((?:admin|auth|bench|broker|client|cmd|deploy|docs|hub|intent|internal|opcodes|scripts|services|tools|transport)/[\\w./-]+)`")

// TestDocumentPaths: files and folders of the repository that a document names are there.
func TestDocumentPaths(t *testing.T) {
	t.Parallel()
	for name, text := range documents(t) {
		if name == "CHANGELOG.md" { // files of former releases
			continue
		}
		for _, m := range repositoryPath.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
			if strings.Contains(m[1], "NAME") || strings.HasPrefix(m[1], "bench/.cache") {
				continue
			}
			if _, err := os.Stat(filepath.Join(root, m[1])); err != nil {
				t.Errorf("%s names %s: no such file", name, m[1])
			}
		}
	}
}

var (
	heading = regexp.MustCompile(`(?m)^#{1,6} (.*)$`)
	noWord  = regexp.MustCompile(`[^\p{L}\p{N}_\- ]`)
)

// anchors returns what GitHub makes of the headings of a document.
func anchors(text string) []string {
	var all []string
	seen := make(map[string]int)
	for _, m := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
		a := strings.ReplaceAll(noWord.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-")
		if n := seen[a]; n > 0 {
			all = append(all, fmt.Sprintf("%s-%d", a, n))
		} else {
			all = append(all, a)
		}
		seen[a]++
	}
	return all
}

// otherFlags are those of other programs in the documents: docker, helm, kubectl, redis, ss, journalctl, and sysctl.
var otherFlags = strings.Fields(`--build-arg --dry-run --force --grace-period --latency --platform --port --push --raw
	--save --set --since --system --ulimit`)

// TestDocumentFlags: the documents name no flag that no command has.
func TestDocumentFlags(t *testing.T) {
	t.Parallel()
	parser, err := kong.New(&cli{}, kong.Vars{"account_dir": ""})
	if err != nil {
		t.Fatal(err)
	}
	known := append([]string{"--help"}, otherFlags...)
	add := func(n *kong.Node) {
		for _, f := range n.Flags {
			known = append(known, "--"+f.Name)
		}
	}
	add(parser.Model.Node)
	for _, n := range parser.Model.Leaves(false) {
		add(n)
	}
	flag := regexp.MustCompile(`(?:^|[^\w-])(--[a-z][a-z0-9-]*)`)
	for path, text := range documents(t) {
		if path == "CHANGELOG.md" || path == "docs/benchmarks.md" { // flags of former releases, and of other tools
			continue
		}
		for _, m := range flag.FindAllStringSubmatch(text, -1) {
			if !slices.Contains(known, m[1]) {
				t.Errorf("%s: no command has a flag %s", path, m[1])
			}
		}
	}
}
