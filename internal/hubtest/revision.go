//go:build linux

package hubtest

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// BinaryOf builds the binary of an earlier revision of the sources, which must be in the history of the working tree. It
// skips the test where the history is not there: in a shallow clone, or in sources without one.
func BinaryOf(tb testing.TB, revision string) string {
	tb.Helper()
	root, err := exec.Command("git", "rev-parse", "--show-toplevel").Output()
	if err != nil {
		tb.Skipf("these sources have no history, so that revision %s can't be built: %v", revision, err)
	}
	top := strings.TrimSpace(string(root))
	git := func(args ...string) *exec.Cmd { return exec.Command("git", append([]string{"-C", top}, args...)...) }
	if git("cat-file", "-e", revision+"^{commit}").Run() != nil {
		tb.Skipf("revision %s is not in the history of this clone: git fetch --unshallow", revision)
	}
	dir := tb.TempDir()
	archive := filepath.Join(dir, "sources.tar")
	if out, err := git("archive", "--output", archive, revision).CombinedOutput(); err != nil {
		tb.Fatalf("hubtest: git archive: %v\n%s", err, out)
	}
	if out, err := exec.Command("tar", "-C", dir, "-xf", archive).CombinedOutput(); err != nil {
		tb.Fatalf("hubtest: tar: %v\n%s", err, out)
	}
	binary := filepath.Join(dir, "mastersocket-"+revision)
	build := exec.Command("go", "build", "-trimpath", "-o", binary, "./cmd/mastersocket")
	build.Dir = dir
	if out, err := build.CombinedOutput(); err != nil {
		tb.Fatalf("hubtest: build revision %s: %v\n%s", revision, err, out)
	}
	return binary
}
