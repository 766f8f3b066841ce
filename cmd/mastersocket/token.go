package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/mastersocket/mastersocket/auth"
)

// tokenCmd groups the commands that handle tokens.
type tokenCmd struct {
	New    tokenNewCmd    `cmd:"" help:"Make a new random token, and print it with its hash."`
	Hash   tokenHashCmd   `cmd:"" help:"Print the hash of a token from standard input."`
	Sign   tokenSignCmd   `cmd:"" help:"Sign a token as the local issuer, to try what it may do."`
	Secret tokenSecretCmd `cmd:"" help:"Make random tokens as a Kubernetes Secret, or as files, unless they exist."`
}

// tokenNewCmd makes a token.
type tokenNewCmd struct{}

// Help is the longer help.
func (*tokenNewCmd) Help() string {
	return `The token goes to the service that will use it, the hash into the hub's tokens file:

    tokens:
      - name: billing
        sha256: <the hash>
        groups: ["billing.*"]
        send: ["GROUP:billing.*", "DIRECT"]`
}

// Run prints a token and its hash as two lines of YAML.
func (*tokenNewCmd) Run(s streams) error {
	token := auth.Generate()
	_, err := fmt.Fprintf(s.out, "token: %s\nsha256: %s\n", token, auth.Hash(token))
	return err
}

// tokenHashCmd hashes a token.
type tokenHashCmd struct{}

// Help is the longer help.
func (*tokenHashCmd) Help() string {
	return `The token is read from standard input, since other users of the machine can see a command line, and shells remember
it:

    mastersocket token hash < token.txt

On a terminal it asks for the token and does not show it.`
}

// Run prints the hash.
func (*tokenHashCmd) Run(s streams) error {
	token, err := readToken(s)
	if err != nil {
		return err
	}
	if err := auth.CheckToken(token); err != nil {
		return usageError{err}
	}
	if bits := auth.EntropyBits(token); bits < auth.StrongBits {
		fmt.Fprintf(s.err, "warning: at most %d bits of this token are random, fewer than %d: mastersocket token new makes one that can't be guessed\n",
			bits, auth.StrongBits)
	}
	_, err = fmt.Fprintln(s.out, auth.Hash(token))
	return err
}

// readToken reads the one line of standard input.
func readToken(s streams) (string, error) {
	if f, ok := s.in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		fmt.Fprint(s.err, "Token (not shown): ")
		b, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(s.err)
		return string(b), err
	}
	// One byte more than a token may have shows that it is too long; two more are for the line's end.
	text, err := io.ReadAll(io.LimitReader(bufio.NewReader(s.in), auth.MaxTokenBytes+3))
	if err != nil {
		return "", fmt.Errorf("standard input: %w", err)
	}
	token := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	switch {
	case token == "":
		return "", usageError{errors.New("standard input is empty: want a token in one line")}
	case strings.ContainsAny(token, "\r\n"):
		return "", usageError{errors.New("standard input has more than one line: want one token")}
	}
	return token, nil
}
