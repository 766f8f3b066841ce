package config

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/mastersocket/mastersocket/auth"
)

// tokens checks the token that is a setting itself.
func (v *validation) tokens() {
	if v.s.Token == "" {
		return
	}
	token := v.s.Token.Reveal()
	if err := auth.CheckToken(token); err != nil {
		v.addf("token", "%v; choose another", err)
		return
	}
	v.strength("token", "", token)
}

// strength refuses a token that can be guessed from afar, and warns about one that could be. file, if not empty, is where
// it stands. Those of a tokens file are known only by their hashes.
func (v *validation) strength(setting, file, token string) {
	if file != "" {
		file += ": "
	}
	chars, bits := utf8.RuneCountInString(token), auth.EntropyBits(token)
	const advice = "mastersocket token new makes one that can't be guessed"
	switch {
	case chars < auth.MinTokenChars && !v.s.onLoopback():
		v.addf(setting, "%sthe token has %d characters and can be guessed; where other machines reach the hub it needs %d or more: %s",
			file, chars, auth.MinTokenChars, advice)
	case bits < auth.StrongBits:
		v.warnings = append(v.warnings, fmt.Sprintf("%s: %sthe token has %d characters, so that at most %d bits of it are random, fewer than %d: %s",
			v.s.Place(setting), file, chars, bits, auth.StrongBits, advice))
	}
}

// loadTokens reads the tokens of --token, --token-file and --tokens-file, of all that are given. Without any of them it
// makes a token.
func (v *validation) loadTokens(l *Loaded) {
	s := v.s
	if s.Token == "" && s.TokenFile == "" && s.TokensFile == "" {
		l.Generated = auth.Generate()
		l.Tokens = auth.SharedToken(l.Generated)
		return
	}
	var tables []*auth.Tokens
	if s.Token != "" {
		tables = append(tables, auth.SharedToken(s.Token.Reveal()))
	}
	if s.TokenFile != "" {
		tables = append(tables, v.tokenFile())
	}
	if s.TokensFile != "" {
		tables = append(tables, v.tokensFile())
	}
	var err error
	if l.Tokens, err = auth.Combine(tables...); err != nil {
		v.addf(lastTokens(s), "%v; remove one of the two (shared is the name of the token in token, MASTERSOCKET_TOKEN or token-file)", err)
	}
}

// lastTokens returns the setting that names the last table of tokens, where a token can stand a second time.
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
	v.strength("token-file", path, token)
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
