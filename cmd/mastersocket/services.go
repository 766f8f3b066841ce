//go:build linux

package main

import (
	"fmt"

	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/services/echo"
	"github.com/mastersocket/mastersocket/services/socketio"
	"github.com/mastersocket/mastersocket/services/team"
)

// services makes the service types that the settings enable.
func (c *serveCmd) services() ([]hub.ServiceType, error) {
	var all []hub.ServiceType
	for _, name := range c.Enable {
		switch name {
		case "echo":
			all = append(all, echo.New(echo.DefaultLimits()))
		case "socketio":
			all = append(all, socketio.New(socketio.Options{}))
		case "team":
			c.teams = team.New(team.Options{Anonymous: c.TeamAnonymous, Healthcheck: c.TeamHealthcheck})
			all = append(all, c.teams)
		default:
			return nil, usageError{fmt.Errorf("--enable: %q is not part of this build", name)}
		}
	}
	return all, nil
}
