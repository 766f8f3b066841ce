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

// healthCmd asks a hub whether it is ready, in containers without a shell and other programs.
type healthCmd struct {
	URL     string        `default:"http://127.0.0.1:42070/readyz" placeholder:"URL" help:"/readyz says whether the hub may get traffic, /healthz whether its process is up (default: ${default})."`
	Timeout time.Duration `default:"3s" placeholder:"TIME" help:"How long to wait for the answer (default: ${default})."`
}

// Help is the longer help.
func (*healthCmd) Help() string {
	return `Prints the answer, and ends with exit code 0 if it is 200, and 1 otherwise. With https:// the certificate is not
verified, since the command sends no secret.`
}

// maxHealthBytes bounds the printed part of an answer.
const maxHealthBytes = 4 << 10

// Run sends the request.
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
