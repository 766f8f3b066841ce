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

// TestInstalledPackage installs the package of the SDK in TypeScript into an empty project, and runs and type-checks the
// examples of the documents there.
func TestInstalledPackage(t *testing.T) {
	t.Parallel()
	find := adapter{name: "typescript", start: node()}
	find.command(t)
	sdk, err := filepath.Abs("../typescript")
	if err != nil {
		t.Fatal(err)
	}
	hub := hubtest.Start(t, hubtest.Options{Quiet: true})
	project := t.TempDir()
	run := func(dir string, command ...string) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, command[0], command[1:]...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "MASTERSOCKET_TOKEN="+hub.Token)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v\n%s", command, err, out)
		}
		return string(out)
	}
	tarball := strings.TrimSpace(run(sdk, "npm", "pack", "--silent", "--ignore-scripts", "--pack-destination", project))
	write(t, project, "package.json", `{"type": "module"}`)
	run(project, "npm", "install", "--offline", "--ignore-scripts", "--no-audit", "--no-fund", "./"+tarball)
	for _, installed := range []string{"ws", "@types"} { // as npm install ws would, without a registry
		if err := os.Symlink(filepath.Join(sdk, "node_modules", installed), filepath.Join(project, "node_modules", installed)); err != nil {
			t.Fatal(err)
		}
	}
	for _, document := range []string{"../../README.md", "../typescript/README.md"} {
		text, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		_, rest, ok := strings.Cut(string(text), "\n```ts\n")
		example, _, ended := strings.Cut(rest, "\n```\n")
		if !ok || !ended || !strings.Contains(example, "ws://127.0.0.1:42069") {
			t.Fatalf("%s has no example in TypeScript", document)
		}
		example = strings.Replace(example, "ws://127.0.0.1:42069", hub.URL(), 1)
		write(t, project, "example.mjs", example)
		out := run(project, "node", "example.mjs")
		if lines := strings.Split(out, "\n"); len(lines) != 3 || !strings.HasPrefix(lines[0], "hi from ") || lines[1] != "3" {
			t.Errorf("the example of %s prints %q", document, out)
		}
		write(t, project, "example.ts", example)
		run(project, "node", filepath.Join(sdk, "node_modules/typescript/bin/tsc"), "--strict", "--noEmit", "--module", "nodenext",
			"--target", "es2022", "--types", "node", "example.ts")
	}
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
