package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// healthCmd asks a hub whether it is well: for containers that have no shell and no other program.
type healthCmd struct {
	URL     string        `default:"http://127.0.0.1:42070/readyz" placeholder:"URL" help:"What to ask: /readyz tells whether the hub may be sent traffic, /healthz whether its process is up (default: ${default})."`
	Timeout time.Duration `default:"3s" placeholder:"TIME" help:"How long the answer may take (default: ${default})."`
}

// Help is the longer help.
func (*healthCmd) Help() string {
	return `Prints the answer, and ends with exit code 0 if it is 200, and 1 otherwise. With https:// the certificate is not
verified, as nothing is sent: it is about this hub's health, not about who it is.`
}

// maxHealthBytes bounds what is printed of an answer.
const maxHealthBytes = 4 << 10

// Run asks.
func (c *healthCmd) Run(s streams) error {
	if !strings.HasPrefix(c.URL, "http://") && !strings.HasPrefix(c.URL, "https://") || c.Timeout <= 0 {
		return usageError{errors.New("want --url http://HOST:PORT/readyz, or https://…, and a --timeout above 0")}
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL, http.NoBody)
	if err != nil {
		return usageError{fmt.Errorf("--url: %w", err)}
	}
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, // see Help
	}}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("health: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxHealthBytes))
	if err != nil {
		return fmt.Errorf("health: read the answer: %w", err)
	}
	text := strings.TrimSpace(string(body))
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("health: %s: %s", resp.Status, text)
	}
	_, err = fmt.Fprintln(s.out, text)
	return err
}
