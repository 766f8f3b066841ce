package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/mastersocket/mastersocket/auth/oidc"
)

// tokenSignCmd signs a token as an application's backend does.
type tokenSignCmd struct {
	KeyFile  string        `required:"" placeholder:"FILE" help:"File with the secret of the local issuer, or with the private key in PEM that its public key belongs to."`
	Issuer   string        `default:"local" placeholder:"NAME" help:"Name of the local issuer (the claim iss)."`
	Audience string        `default:"mastersocket" placeholder:"NAME" help:"The claim aud."`
	Subject  string        `placeholder:"NAME" help:"Whose token it is (the claim sub)."`
	Expires  time.Duration `default:"1h" help:"How long it is valid."`
	Claims   []string      `name:"claim" placeholder:"NAME=TEXT" help:"A further claim; several are separated by commas."`
}

// Help is the longer help.
func (*tokenSignCmd) Help() string {
	return `For trying entries of the tokens file with claims, where --issuers-file names a local issuer:

    mastersocket token secret --dir . user.key
    mastersocket token sign --key-file user.key --subject 42

An application's backend makes such tokens for its users, with a library for JWT or ten lines of its own
(docs/identity.md).`
}

// Run prints the token.
func (c *tokenSignCmd) Run(s streams) error {
	key, err := os.ReadFile(c.KeyFile)
	if err != nil {
		return err
	}
	now := time.Now()
	claims := map[string]any{"iss": c.Issuer, "aud": c.Audience, "iat": now.Unix(), "exp": now.Add(c.Expires).Unix()}
	if c.Subject != "" {
		claims["sub"] = c.Subject
	}
	if c.Expires < time.Second {
		return usageError{errors.New("--expires: want a second or more")}
	}
	for _, text := range c.Claims {
		name, value, ok := strings.Cut(text, "=")
		if _, repeated := claims[name]; !ok || name == "" || repeated {
			return usageError{fmt.Errorf("--claim %q: want NAME=TEXT, each name once, and none that has a flag of its own", text)}
		}
		claims[name] = value
	}
	token, err := oidc.Sign(key, claims)
	if err != nil {
		return usageError{fmt.Errorf("%s: %w", c.KeyFile, err)}
	}
	_, err = fmt.Fprintln(s.out, token)
	return err
}
