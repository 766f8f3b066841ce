package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/internal/kubesecret"
)

// tokenSecretCmd makes random secrets that several instances share.
type tokenSecretCmd struct {
	Kubernetes string   `placeholder:"NAME" help:"Make a Secret of this name in the namespace of the pod that this command runs in, with a random value for each key."`
	Labels     []string `name:"label" placeholder:"KEY=VALUE" help:"A label of that Secret; several are separated by commas."`
	Dir        string   `placeholder:"DIR" help:"Make a file in this folder for each key instead."`
	AccountDir string   `hidden:"" default:"${account_dir}"`
	Keys       []string `arg:"" name:"key" help:"Name of a value, such as token."`
}

// Help is the longer help.
func (*tokenSecretCmd) Help() string {
	return `For deployments whose files must not contain a secret: run it before the hubs, which wait for what it makes. An existing
Secret or file is left as it is, so that the command may run any number of times. It prints no value.

    mastersocket token secret --kubernetes mastersocket token redis-password
    mastersocket token secret --dir /run/secrets/mastersocket token

In Kubernetes the pod needs an account that may create Secrets, and get the one with this name.`
}

// secretKey is what a key of a Secret, and the name of a file, may be.
var secretKey = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}$`)

// Run makes the secrets.
func (c *tokenSecretCmd) Run(s streams) error {
	for i, key := range c.Keys {
		if !secretKey.MatchString(key) || slices.Contains(c.Keys[:i], key) {
			return usageError{fmt.Errorf("key %q: want names of letters, digits, and any of . _ -, each once", key)}
		}
	}
	switch {
	case (c.Kubernetes == "") == (c.Dir == ""):
		return usageError{errors.New("want one of --kubernetes NAME and --dir DIR")}
	case c.Dir != "":
		return c.writeFiles(s)
	}
	labels := make(map[string]string)
	for _, label := range c.Labels {
		key, value, ok := strings.Cut(label, "=")
		if !ok || key == "" {
			return usageError{fmt.Errorf("--label %q: want KEY=VALUE", label)}
		}
		labels[key] = value
	}
	cluster, err := kubesecret.InCluster(os.Getenv, c.AccountDir)
	if err != nil {
		return err
	}
	values := make(map[string][]byte)
	for _, key := range c.Keys {
		values[key] = []byte(auth.Generate())
	}
	made, err := cluster.Create(context.Background(), c.Kubernetes, labels, values)
	if err != nil {
		return err
	}
	what := "exists and stays as it is"
	if made {
		what = "made"
	}
	_, err = fmt.Fprintf(s.out, "secret %s in namespace %s: %s\n", c.Kubernetes, cluster.Namespace(), what)
	return err
}

// writeFiles makes files.
func (c *tokenSecretCmd) writeFiles(s streams) error {
	made, err := kubesecret.WriteFiles(c.Dir, c.Keys, auth.Generate)
	if err != nil {
		return err
	}
	for _, key := range c.Keys {
		what := "exists and stays as it is"
		if slices.Contains(made, key) {
			what = "made"
		}
		if _, err := fmt.Fprintf(s.out, "%s in %s: %s\n", key, c.Dir, what); err != nil {
			return err
		}
	}
	return nil
}
