package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/mastersocket/mastersocket/auth"
)

// LoadTokens returns the tokens of --token, --token-file and --tokens-file, all that are given. If none is, it makes a
// token whose holders may do everything and returns it as generated, to be printed once; otherwise generated is empty.
//
// The error is an [InvalidError] that tells everything wrong with the files and never repeats a token.
func LoadTokens(s Serve) (tokens *auth.Tokens, generated string, err error) {
	if s.Token == "" && s.TokenFile == "" && s.TokensFile == "" {
		generated = auth.Generate()
		return auth.SharedToken(generated), generated, nil
	}
	v := validation{s: &s}
	var tables []*auth.Tokens
	if s.Token != "" {
		v.tokens()
		tables = append(tables, auth.SharedToken(s.Token.Reveal()))
	}
	if s.TokenFile != "" {
		tables = append(tables, v.tokenFile())
	}
	if s.TokensFile != "" {
		tables = append(tables, v.tokensFile())
	}
	if err := v.err(); err != nil {
		return nil, "", err
	}
	tokens, err = auth.Combine(tables...)
	if err != nil {
		v.addf(lastTokens(&s), "%v; remove one of the two (shared is the name of that in token, MASTERSOCKET_TOKEN or token-file)", err)
		return nil, "", v.err()
	}
	return tokens, "", nil
}

// lastTokens is the setting that can have brought a token a second time.
func lastTokens(s *Serve) string {
	if s.TokensFile != "" {
		return "tokens-file"
	}
	return "token-file"
}

// tokenFile reads the file with one token.
func (v *validation) tokenFile() *auth.Tokens {
	path := v.s.TokenFile
	b, err := readFile(path, auth.MaxTokenBytes+2)
	if err != nil {
		v.addf("token-file", "can't read %s: %v", path, err)
		return nil
	}
	token := strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	if err := auth.CheckToken(token); err != nil {
		v.addf("token-file", "%s: %v; the file must hold one token in one line and nothing else", path, err)
		return nil
	}
	return auth.SharedToken(token)
}

// tokensFile reads the file with many tokens.
func (v *validation) tokensFile() *auth.Tokens {
	path := v.s.TokensFile
	b, err := readFile(path, maxTokensBytes)
	if err != nil {
		v.addf("tokens-file", "can't read %s: %v", path, err)
		return nil
	}
	tokens, err := auth.ParseTokens(b)
	v.problems.addTokens(path, err)
	return tokens
}

// addTokens adds what auth.ParseTokens found wrong with the file at path.
func (p *problems) addTokens(path string, err error) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			p.addTokens(path, e)
		}
		return
	}
	var at *auth.FileError
	if errors.As(err, &at) {
		p.addf(fmt.Sprintf("%s:%d", path, at.Line), "%s", at.Problem)
	} else if err != nil {
		p.addf(path, "%v", err)
	}
}

// Warnings returns what is not wrong but worth a line in the log at start: variables with our prefix that are no
// setting, secrets where every user of the machine can read them. No secret is repeated.
func (s *Serve) Warnings() []string {
	warnings := append([]string(nil), s.unknown...)
	if s.Origin("token") == "--token" {
		warnings = append(warnings, "--token: every user of this machine can read the token in the list of processes; "+
			"use "+EnvName("token")+" or --token-file")
	}
	if s.Origin("redis") == "--redis" && strings.Contains(s.Redis.Reveal(), "@") {
		warnings = append(warnings, "--redis: every user of this machine can read the password in the list of processes; "+
			"use "+EnvName("redis")+" or the file of --config")
	}
	for _, setting := range []string{"token", "redis"} {
		if path, _, inFile := cutLine(s.Origin(setting)); inFile && readableByAll(path) {
			warnings = append(warnings, openFile(path))
		}
	}
	if s.TokenFile != "" && readableByAll(s.TokenFile) {
		warnings = append(warnings, openFile(s.TokenFile))
	}
	return warnings
}

func openFile(path string) string {
	return path + ": every user of this machine can read this file, and it has a secret; chmod o-r it " +
		"(in Kubernetes: defaultMode: 0440)"
}

// cutLine splits the place file:line; ok is false for others.
func cutLine(place string) (path, line string, ok bool) {
	i := strings.LastIndexByte(place, ':')
	if i < 0 {
		return "", "", false
	}
	return place[:i], place[i+1:], true
}

// readableByAll tells whether users other than the owner and its group may read the file. Files under /run/secrets,
// where container engines put secrets for one container alone, are spared.
func readableByAll(path string) bool {
	if runtime.GOOS == "windows" {
		return false // has no such mode
	}
	if abs, err := filepath.Abs(path); err == nil && strings.HasPrefix(strings.TrimPrefix(abs, "/var"), "/run/secrets/") {
		return false
	}
	info, err := os.Stat(path)
	return err == nil && info.Mode().Perm()&0o004 != 0
}
