package deploy

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// image is the image as described by the Dockerfile.
type image struct {
	build                        []string // commands of the stage that builds
	entrypoint, cmd, healthcheck []string
	user                         string
	ports                        []string
	copied                       []string // sources of what the last stage copies, with their stage
}

func dockerfile(t *testing.T) image {
	t.Helper()
	f, err := os.Open("../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	parsed, err := parser.Parse(f)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range parsed.Warnings {
		t.Errorf("Dockerfile: %s", w.Short)
	}
	stages, _, err := instructions.Parse(parsed.AST, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(stages) != 2 || stages[1].BaseName != "scratch" || stages[0].Platform != "$BUILDPLATFORM" {
		t.Fatalf("the stages are %+v", stages)
	}
	var d image
	for _, c := range stages[0].Commands {
		if run, ok := c.(*instructions.RunCommand); ok {
			d.build = append(d.build, strings.Join(run.CmdLine, " "))
		}
	}
	for _, c := range stages[1].Commands {
		switch c := c.(type) {
		case *instructions.EntrypointCommand:
			d.entrypoint = c.CmdLine
		case *instructions.CmdCommand:
			d.cmd = c.CmdLine
		case *instructions.HealthCheckCommand:
			if len(c.Health.Test) == 0 || c.Health.Test[0] != "CMD" {
				t.Errorf("the health check %q needs a shell, which there is not", c.Health.Test)
			}
			d.healthcheck = c.Health.Test[1:]
		case *instructions.UserCommand:
			d.user = c.User
		case *instructions.ExposeCommand:
			d.ports = c.Ports
		case *instructions.CopyCommand:
			for _, source := range c.SourcePaths {
				d.copied = append(d.copied, c.From+":"+source)
			}
		case *instructions.RunCommand:
			t.Errorf("the last stage runs %q in an empty file system", c.CmdLine)
		}
	}
	return d
}

func TestDockerfile(t *testing.T) {
	t.Parallel()
	d := dockerfile(t)
	if !slices.Equal(d.build, []string{"go mod download", "deploy/image/rootfs /rootfs"}) || !slices.Equal(d.copied, []string{"build:/rootfs/"}) {
		t.Errorf("it builds by %q and copies %q", d.build, d.copied)
	}
	if d.user != "65532:65532" || !slices.Equal(d.ports, []string{"42069", "42070"}) {
		t.Errorf("user %q, ports %q", d.user, d.ports)
	}
	for _, program := range [][]string{d.entrypoint, d.healthcheck} {
		if _, err := os.Stat(filepath.Join(rootfs(t), program[0])); err != nil {
			t.Errorf("%q is not in the image", program)
		}
	}
	for _, flag := range flagsOf(d.cmd) {
		if !slices.Contains(serveFlags(t), flag) {
			t.Errorf("the hub has no flag %s", flag)
		}
	}
}

// buildContext makes a folder with the files of the repository that are in the Dockerfile's build context.
func buildContext(t *testing.T) string {
	t.Helper()
	f, err := os.Open("../Dockerfile.dockerignore")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	patterns, err := ignorefile.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	matcher, err := patternmatcher.New(patterns)
	if err != nil {
		t.Fatal(err)
	}
	repository, dir := "../..", t.TempDir()
	err = filepath.WalkDir(repository, func(path string, d fs.DirEntry, err error) error {
		rel, rerr := filepath.Rel(repository, path)
		if err != nil || rerr != nil || rel == "." {
			return err
		}
		if d.IsDir() {
			if d.Name() == ".git" || d.Name() == "node_modules" {
				return filepath.SkipDir // large, and excluded by the patterns
			}
			return nil
		}
		ignored, err := matcher.MatchesOrParentMatches(rel)
		if err != nil || ignored {
			return err
		}
		return copyFile(path, filepath.Join(dir, rel))
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE, info.Mode().Perm())
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		_ = out.Close()
		return err
	}
	return out.Close()
}
