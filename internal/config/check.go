package config

import (
	"bytes"
	"slices"

	"github.com/mastersocket/mastersocket/auth"
)

// CheckFile checks a file for --config or, where it has the key tokens, fleets or issuers, for --tokens-file, --fleet-file or
// --issuers-file. Of the first it also checks the files that its settings name, by [Serve.Load]; flags and the environment have no part in it. The error is an
// [InvalidError] with everything that is wrong. Warnings are about what is not wrong, such as a certificate that is about
// to expire.
func CheckFile(path string) (warnings []string, err error) {
	var p problems
	b, err := readFile(path, maxTokensBytes)
	if err != nil {
		p.addf(path, "can't read the file: %v", err)
		return nil, p.err()
	}
	if isFileOf("tokens", b) {
		_, err := auth.ParseTokens(b)
		p.addTokens(path, err)
		return nil, p.err()
	}
	if isFileOf("fleets", b) {
		v := validation{s: new(Serve)}
		v.parseFleets(b, path)
		return v.warnings, v.err()
	}
	if isFileOf("issuers", b) {
		v := validation{s: new(Serve)}
		issuers := v.parseIssuers(b, path, nil)
		return issuerWarnings(issuers), v.err()
	}
	warnings, err = checkSettings(path)
	if len(bytes.TrimSpace(b)) == 0 {
		warnings = append(warnings, path+": the file is empty: all settings have their defaults (one for --tokens-file needs the key tokens)")
	}
	return warnings, err
}

// isFileOf reports whether the YAML in b is the file with that key: it has the key and no setting of the hub. A file with
// both is one with settings whose author put the others into the wrong place.
func isFileOf(key string, b []byte) bool {
	settings, found := settingNames(), false
	for _, pair := range pairs(b, "", new(problems)) {
		if slices.Contains(settings, pair.Key.Value) {
			return false
		}
		found = found || pair.Key.Value == key
	}
	return found
}

func checkSettings(path string) (warnings []string, err error) {
	s := Serve{sources: sources{environ: func() []string { return nil }}}
	if err := s.parse("--config=" + path); err != nil {
		return nil, err
	}
	l, err := s.Load()
	if err != nil {
		return nil, err
	}
	return l.Warnings, nil
}
