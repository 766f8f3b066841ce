package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// PositionsFile returns [Positions] in a file, for one Client at a time. Save writes and syncs another file beside it and renames
// that, so that a crash leaves the one or the other. A missing file has no positions; what is malformed, or of a version that
// this release does not know, is an error.
func PositionsFile(path string) Positions { return positionsFile(path) }

type positionsFile string

// positionsVersion is the version of the file's form.
const positionsVersion = 1

// positionsForm is the file's form.
type positionsForm struct {
	Version   int                 `json:"version"`
	Positions map[string]Position `json:"positions"`
}

// Load implements Positions.
func (f positionsFile) Load(context.Context) (map[string]Position, error) {
	text, err := os.ReadFile(string(f))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var form positionsForm
	if err := json.Unmarshal(text, &form); err != nil {
		return nil, fmt.Errorf("%s: %w", f, err)
	}
	if form.Version != positionsVersion {
		return nil, fmt.Errorf("%s: version %d; this release knows version %d", f, form.Version, positionsVersion)
	}
	return form.Positions, nil
}

// Save implements Positions.
func (f positionsFile) Save(_ context.Context, all map[string]Position) (err error) {
	var text bytes.Buffer
	if err := json.MarshalWrite(&text, positionsForm{positionsVersion, all}, json.Deterministic(true), jsontext.WithIndent("  ")); err != nil {
		return fmt.Errorf("%s: %w", f, err)
	}
	text.WriteByte('\n')
	beside, err := os.CreateTemp(filepath.Dir(string(f)), filepath.Base(string(f))+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(beside.Name())
		}
	}()
	_, err = beside.Write(text.Bytes())
	if err == nil {
		err = beside.Sync()
	}
	if closeErr := beside.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	if err := os.Rename(beside.Name(), string(f)); err != nil {
		return err
	}
	return syncDir(filepath.Dir(string(f)))
}

// syncDir makes a renaming in a directory last. Windows has no such call.
func syncDir(path string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
