package config

import (
	"bytes"
	"errors"
	"slices"

	"github.com/mastersocket/mastersocket/auth"
)

// CheckFile tells whether the file at path is a right one for --config or, where it has the key tokens, for
// --tokens-file. Of the former it also checks the files with tokens that it names; flags and the environment have no
// part in it. The error is an [InvalidError] that tells everything wrong; warnings are about what is not wrong, such as a
// certificate that is about to expire.
func CheckFile(path string) (warnings []string, err error) {
	var p problems
	b, err := readFile(path, maxTokensBytes)
	if err != nil {
		p.addf(path, "can't read the file: %v", err)
		return nil, p.err()
	}
	if isTokensFile(b) {
		_, err := auth.ParseTokens(b)
		p.addTokens(path, err)
		return nil, p.err()
	}
	warnings, err = checkSettings(path)
	if len(bytes.TrimSpace(b)) == 0 {
		warnings = append(warnings, path+": the file is empty: all settings have their defaults (one for --tokens-file needs the key tokens)")
	}
	return warnings, err
}

// isTokensFile tells whether the YAML in b has the key tokens and no setting of the hub beside it, in which case it is a
// file with settings whose author put the tokens into the wrong place.
func isTokensFile(b []byte) bool {
	root := mapping(b, "", new(problems))
	if root == nil {
		return false
	}
	settings, tokens := settingNames(), false
	for i := 0; i+1 < len(root.Content); i += 2 {
		key := root.Content[i].Value
		if slices.Contains(settings, key) {
			return false
		}
		tokens = tokens || key == "tokens"
	}
	return tokens
}

func checkSettings(path string) (warnings []string, err error) {
	s := Serve{sources: sources{environ: func() []string { return nil }}}
	err = s.parse("--config=" + path)
	var invalid *InvalidError
	if err != nil && !errors.As(err, &invalid) {
		return nil, err
	}
	var p problems
	if invalid != nil {
		p = invalid.Problems
	}
	if auth.CheckToken(s.Token.Reveal()) != nil {
		s.Token = "" // reported already
	}
	warnings = s.Warnings()
	var files *InvalidError
	tokens, _, err := LoadTokens(s)
	if errors.As(err, &files) {
		p = append(p, files.Problems...)
	}
	t, err := LoadTLS(s)
	if errors.As(err, &files) {
		p = append(p, files.Problems...)
	} else if t != nil {
		warnings = append(warnings, t.Warnings...)
	}
	if _, _, err := s.OIDC(); errors.As(err, &files) {
		p = append(p, files.Problems...)
	} else if invalid == nil {
		warnings = append(warnings, s.OIDCWarnings(tokens)...)
	}
	return warnings, p.err()
}
