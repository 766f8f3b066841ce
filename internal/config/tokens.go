package config

import (
	"errors"
	"fmt"
	"strings"

	"github.com/mastersocket/mastersocket/auth"
)

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
