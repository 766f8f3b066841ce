//go:build linux

package main

import (
	"fmt"
	"slices"

	"github.com/mastersocket/mastersocket/hub"
	"github.com/mastersocket/mastersocket/internal/config"
	"github.com/mastersocket/mastersocket/services/echo"
	"github.com/mastersocket/mastersocket/services/fleet"
	"github.com/mastersocket/mastersocket/services/fleet/lifecycle"
	"github.com/mastersocket/mastersocket/services/httpapi"
	"github.com/mastersocket/mastersocket/services/socketio"
	"github.com/mastersocket/mastersocket/services/team"
)

// services makes the service types that the settings enable.
func (c *serveCmd) services(loaded *config.Loaded) ([]hub.ServiceType, error) {
	var all []hub.ServiceType
	if c.HTTPAPI {
		all = append(all, httpapi.New())
	}
	for _, name := range c.Enable {
		switch name {
		case "echo":
			all = append(all, echo.New(echo.DefaultLimits()))
		case "fleet":
			c.fleets = fleet.New(fleet.Options{
				CommandEvent: c.FleetCommandEvent, Anonymous: c.FleetAnonymous, Fleets: fleetSettings(loaded.Fleets),
			})
			all = append(all, c.fleets)
		case "socketio": // below
		case "team":
			c.teams = team.New(team.Options{Anonymous: c.TeamAnonymous, Healthcheck: c.TeamHealthcheck})
			all = append(all, c.teams)
		default:
			return nil, usageError{fmt.Errorf("--enable: %q is not part of this build", name)}
		}
	}
	o := socketio.Options{Authorities: loaded.AdvertisedCAs, ApplicationOnly: !slices.Contains(c.Enable, "socketio")}
	if c.fleets != nil {
		o.Application = c.fleets
	}
	if o.Application != nil || !o.ApplicationOnly {
		all = append(all, socketio.New(o))
	}
	return all, nil
}

// fleetSettings translates the settings of fleets.
func fleetSettings(fleets []config.Fleet) []fleet.Settings {
	all := make([]fleet.Settings, 0, len(fleets))
	for i := range fleets {
		f := &fleets[i]
		all = append(all, fleet.Settings{Name: f.Name, Token: f.Token.Reveal(), Config: lifecycle.Config{
			VitalCogs: f.VitalCogs, HealthyPercent: f.HealthyPercentage, RetireOutdated: f.ShutDownOutdated,
			ReadyTimeout: f.ReadyTimeout, HealthTimeout: f.HealthTimeout,
		}})
	}
	return all
}
