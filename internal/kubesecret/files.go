package kubesecret

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// fileMode of a secret: its owner and group read it.
const fileMode = 0o440

// WriteFiles does the same as [Cluster.Create] without Kubernetes: it makes a file in dir for each value, and leaves
// existing ones as they are. It returns the names of those it made. A file appears whole or not at all.
func WriteFiles(dir string, keys []string, value func() string) (made []string, err error) {
	for _, key := range keys {
		ok, err := writeOnce(filepath.Join(dir, key), value)
		if err != nil {
			return made, err
		}
		if ok {
			made = append(made, key)
		}
	}
	return made, nil
}

// writeOnce makes a file, and tells whether it did.
func writeOnce(path string, value func() string) (bool, error) {
	if _, err := os.Lstat(path); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return false, fmt.Errorf("make a secret: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(value() + "\n")
	if err = errors.Join(err, f.Chmod(fileMode), f.Sync(), f.Close()); err != nil {
		return false, fmt.Errorf("make a secret: %w", err)
	}
	// A link, since a rename would replace a file that another process has made meanwhile.
	if err := os.Link(f.Name(), path); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return false, nil
		}
		return false, fmt.Errorf("make a secret: %w", err)
	}
	return true, nil
}
