//go:build linux

package servers

import (
	"fmt"
	"os/exec"
)

// StartRedis starts a redis-server that keeps nothing on disk. The caller must Stop it.
func StartRedis() (*Process, error) {
	site, err := NewSite()
	if err != nil {
		return nil, fmt.Errorf("starting redis-server: %w", err)
	}
	p, err := Run(exec.Command("redis-server", "--bind", site.Listen.Addr().String(), "--port", portOf(site.Listen),
		"--save", "", "--appendonly", "no", "--dir", site.Dir, "--loglevel", "warning"), site)
	if err != nil {
		return nil, fmt.Errorf("starting redis-server: %w", err)
	}
	return p, nil
}

// WithRedis returns the build as one instance of several that a Redis makes one hub.
func (m Mastersocket) WithRedis(redis *Process, instance int) Mastersocket {
	m.Label = fmt.Sprintf("%s instance %d", m.Label, instance)
	m.Args = append(append([]string(nil), m.Args...),
		"--redis=redis://"+redis.Site.Listen.String(), fmt.Sprintf("--node=bench-%d", instance))
	return m
}
