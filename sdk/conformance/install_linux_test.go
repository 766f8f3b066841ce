package conformance

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/internal/hubtest"
)

// project is an empty folder in which an SDK is installed.
type project struct {
	*testing.T
	hub *hubtest.Server
	dir string
	env []string
}

func newProject(t *testing.T) *project {
	t.Helper()
	return &project{T: t, hub: hubtest.Start(t, hubtest.Options{Quiet: true}), dir: t.TempDir()}
}

// runIn runs a command in another folder and returns what it prints.
func (p *project) runIn(dir string, command ...string) string {
	p.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	var stderr strings.Builder
	cmd.Dir, cmd.Stderr = dir, &stderr
	cmd.Env = append(append(os.Environ(), "MASTERSOCKET_TOKEN="+p.hub.Token), p.env...)
	out, err := cmd.Output()
	if err != nil {
		p.Fatalf("%v: %v\n%s%s", command, err, out, stderr.String())
	}
	return string(out)
}

func (p *project) run(command ...string) string {
	p.Helper()
	return p.runIn(p.dir, command...)
}

func (p *project) write(name, text string) {
	p.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o644); err != nil {
		p.Fatal(err)
	}
}

// built returns a package of the folder that MASTERSOCKET_DIST names, "" if there is none: then the test builds it.
func (p *project) built(pattern string) string {
	p.Helper()
	dist := os.Getenv("MASTERSOCKET_DIST")
	if dist == "" {
		return ""
	}
	files, err := filepath.Glob(filepath.Join(dist, pattern))
	if err != nil || len(files) != 1 {
		p.Fatalf("%v in %s, want one that matches %s: %v", files, dist, pattern, err)
	}
	return files[0]
}

// example returns the first example of a document in a language, with the address of the test's hub.
func (p *project) example(document, language string) string {
	p.Helper()
	text, err := os.ReadFile(document)
	if err != nil {
		p.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(text), "\n```"+language+"\n")
	example, _, ended := strings.Cut(rest, "\n```\n")
	if !ok || !ended || !strings.Contains(example, "ws://127.0.0.1:42069") {
		p.Fatalf("%s has no example in %s", document, language)
	}
	return strings.Replace(example, "ws://127.0.0.1:42069", p.hub.URL(), 1) + "\n"
}

// checkOutput checks what an example prints: perhaps of a message, and the sum of a request.
func (p *project) checkOutput(document, out string) {
	p.Helper()
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if sum := lines[len(lines)-1]; sum != "3" {
		p.Errorf("the example of %s prints %q", document, out)
	}
	if filepath.Dir(document) == filepath.FromSlash("../..") && (len(lines) != 2 || !strings.HasPrefix(lines[0], "hi from ")) {
		p.Errorf("the example of %s prints %q", document, out)
	}
}

// TestInstalledPackages installs each SDK's package into an empty project, without a registry, and runs the examples of the
// documents there as they are, but for the hub's address.
func TestInstalledPackages(t *testing.T) {
	t.Parallel()
	t.Run("go", installGo)
	t.Run("python", installPython)
	t.Run("typescript", installTypeScript)
}

func installGo(t *testing.T) {
	t.Parallel()
	adapter{name: "go", start: func(*testing.T) ([]string, string) { return nil, "" }}.command(t)
	p := newProject(t)
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	p.env = []string{"GOPROXY=off", "GOFLAGS=-mod=mod", "GOWORK=off"}
	sums, err := os.ReadFile(filepath.Join(root, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	p.write("go.sum", string(sums))
	p.write("main.go", p.example("../../README.md", "go"))
	p.run("go", "mod", "init", "example.com/project")
	const module = "github.com/mastersocket/mastersocket"
	p.run("go", "mod", "edit", "-require="+module+"@v0.0.0", "-replace="+module+"="+root)
	p.checkOutput("../../README.md", p.run("go", "run", "."))
}

func installPython(t *testing.T) {
	t.Parallel()
	python := adapter{name: "python", start: findPython}.command(t)[0]
	p := newProject(t)
	wheel := p.built("mastersocket-*.whl")
	if wheel == "" {
		// From a copy, since setuptools builds within the source.
		source, dist := filepath.Join(t.TempDir(), "source"), t.TempDir()
		p.runIn(".", "cp", "-r", "../python", source)
		p.run(python, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", dist, source)
		found, err := filepath.Glob(filepath.Join(dist, "mastersocket-*.whl"))
		if err != nil || len(found) != 1 {
			t.Fatalf("%v wheels: %v", found, err)
		}
		wheel = found[0]
	}
	p.run(python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", "installed", wheel)
	if _, err := os.Stat(filepath.Join(p.dir, "installed/mastersocket/py.typed")); err != nil {
		t.Error(err)
	}
	p.env = []string{"PYTHONPATH=installed"}
	for _, document := range []string{"../../README.md", "../python/README.md"} {
		p.write("example.py", p.example(document, "python"))
		p.checkOutput(document, p.run(python, "example.py"))
	}
}

func installTypeScript(t *testing.T) {
	t.Parallel()
	adapter{name: "typescript", start: node()}.command(t)
	p := newProject(t)
	sdk, err := filepath.Abs("../typescript")
	if err != nil {
		t.Fatal(err)
	}
	tarball := p.built("mastersocket-client-*.tgz")
	if tarball == "" {
		tarball = "./" + strings.TrimSpace(p.runIn(sdk, "npm", "pack", "--silent", "--ignore-scripts", "--pack-destination", p.dir))
	}
	p.write("package.json", `{"type": "module"}`)
	p.run("npm", "install", "--offline", "--ignore-scripts", "--no-audit", "--no-fund", tarball)
	for _, installed := range []string{"ws", "@types"} { // as npm install ws would, without a registry
		if err := os.Symlink(filepath.Join(sdk, "node_modules", installed), filepath.Join(p.dir, "node_modules", installed)); err != nil {
			t.Fatal(err)
		}
	}
	for _, document := range []string{"../../README.md", "../typescript/README.md"} {
		example := p.example(document, "ts")
		p.write("example.mjs", example)
		p.checkOutput(document, p.run("node", "example.mjs"))
		p.write("example.ts", example)
		p.run("node", filepath.Join(sdk, "node_modules/typescript/bin/tsc"), "--strict", "--noEmit", "--module", "nodenext",
			"--target", "es2022", "--types", "node", "example.ts")
	}
}
