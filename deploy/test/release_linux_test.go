package deploy

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// TestReleaseIsReproducible builds a release for this machine twice: checksums, SBOMs and file systems are equal, and the
// binary has the version of the changelog.
func TestReleaseIsReproducible(t *testing.T) {
	t.Parallel()
	binary(t) // compiles the packages once, before the two builds link them
	dirs := [2]string{t.TempDir(), t.TempDir()}
	var sums [2]string
	var errs [2]error
	var builds sync.WaitGroup
	for i, dir := range dirs {
		builds.Go(func() {
			cmd := exec.Command("../../scripts/release", dir, "linux/"+runtime.GOARCH)
			cmd.Env = append(os.Environ(), "VERSION=")
			if out, err := cmd.CombinedOutput(); err != nil {
				errs[i] = fmt.Errorf("%w\n%s", err, out)
				return
			}
			b, err := os.ReadFile(filepath.Join(dir, "SHA256SUMS"))
			sums[i], errs[i] = string(b), err
		})
	}
	builds.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	if sums[0] != sums[1] {
		t.Errorf("two releases of the same sources differ:\n%s\n%s", sums[0], sums[1])
	}
	if n := strings.Count(sums[0], "\n"); n != 3 {
		t.Errorf("%d files, want the binary, its SBOM and the file system of the image:\n%s", n, sums[0])
	}
	version := releaseVersion(t)
	name := filepath.Join(dirs[0], "mastersocket-"+version+"-linux-"+runtime.GOARCH)
	if out, err := exec.Command(name, "version").CombinedOutput(); err != nil ||
		!strings.HasPrefix(string(out), "mastersocket "+version+" ") {
		t.Errorf("version prints %q: %v", out, err)
	}
	expectBOM(t, name+".cdx.json", version)
}

// expectBOM checks that an SBOM is about this version and names what the binary is built from.
func expectBOM(t *testing.T, path, version string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	type component struct{ Name, Version string }
	var bom struct {
		BOMFormat  string
		Metadata   struct{ Component component }
		Components []component
	}
	if err := json.Unmarshal(b, &bom); err != nil {
		t.Fatal(err)
	}
	if bom.BOMFormat != "CycloneDX" || bom.Metadata.Component.Version != "v"+version {
		t.Errorf("the SBOM is a %q of version %q", bom.BOMFormat, bom.Metadata.Component.Version)
	}
	var names []string
	for _, c := range bom.Components {
		names = append(names, c.Name)
	}
	for _, want := range []string{"github.com/redis/go-redis/v9", "std"} {
		if !strings.Contains(strings.Join(names, " "), want) {
			t.Errorf("the SBOM lacks %s: %q", want, names)
		}
	}
}
