package config

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// Warnings returns what is not wrong but worth a line in the log at start: variables with our prefix that are no
// setting, and secrets that every user of the machine can read. It repeats no secret.
func (s *Serve) Warnings() []string {
	warnings := slices.Clone(s.unknown)
	var open []string // files that hold secrets and that every user can read
	for _, f := range settings() {
		if !f.isSecret(s) {
			continue
		}
		origin := s.Origin(f.Name)
		path, _, inFile := cutLine(origin)
		switch {
		case f.Path:
			path = f.text(s)
		case origin == "--"+f.Name:
			warnings = append(warnings, origin+": every user of this machine can read the value of a flag in the list of processes; "+
				"use "+envName(f.Name)+", or a file")
			continue
		case !inFile:
			continue
		}
		if readableByAll(path) && !slices.Contains(open, path) {
			open = append(open, path)
		}
	}
	for _, path := range open {
		warnings = append(warnings, path+": every user of this machine can read this file, and it holds a secret; "+
			"chmod o-r it (in Kubernetes: defaultMode: 0440)")
	}
	return warnings
}

// isSecret reports whether the setting has a value in s that is a secret, or that names a file with one. The URL of a
// Redis is a secret only with a password.
func (f Setting) isSecret(s *Serve) bool {
	text := f.text(s)
	if !f.Secret || text == "" {
		return false
	}
	return f.Name != "redis" || strings.Contains(text, "@") || strings.Contains(text, "password=")
}

// cutLine splits the place file:line; ok is false for others.
func cutLine(place string) (path, line string, ok bool) {
	i := strings.LastIndexByte(place, ':')
	if i < 0 {
		return "", "", false
	}
	return place[:i], place[i+1:], true
}

// readableByAll reports whether users other than the owner and its group may read the file. Files under /run/secrets,
// where container engines put the secrets of one container, are exempt.
func readableByAll(path string) bool {
	if runtime.GOOS == "windows" {
		return false // file modes there say nothing about it
	}
	if abs, err := filepath.Abs(path); err == nil && strings.HasPrefix(strings.TrimPrefix(abs, "/var"), "/run/secrets/") {
		return false
	}
	info, err := os.Stat(path)
	return err == nil && info.Mode().Perm()&0o004 != 0
}
