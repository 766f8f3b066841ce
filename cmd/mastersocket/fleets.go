//go:build linux

package main

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/mastersocket/mastersocket/admin"
	"github.com/mastersocket/mastersocket/services/fleet"
	"github.com/mastersocket/mastersocket/services/fleet/lifecycle"
)

// fleetManager returns what shows and operates fleets, nil where there are none.
func (c *serveCmd) fleetManager() admin.FleetManager {
	if c.fleets == nil {
		return nil
	}
	return fleetManager{c.fleets}
}

// fleetManager translates what the service type tells.
type fleetManager struct{ service *fleet.Service }

// Fleets implements admin.FleetManager.
func (m fleetManager) Fleets(ctx context.Context, name string) (all []admin.Fleet, missing []string, err error) {
	states, missing, err := m.service.Fleets(ctx, name)
	if err != nil {
		return nil, missing, fleetError(err)
	}
	for i := range states {
		all = append(all, fleetOf(&states[i]))
	}
	return all, missing, nil
}

// OperateFleet implements admin.FleetManager.
func (m fleetManager) OperateFleet(ctx context.Context, name, operation, client string) (admin.Fleet, error) {
	s, err := m.service.Operate(ctx, name, operation, client)
	if err != nil {
		return admin.Fleet{}, fleetError(err)
	}
	return fleetOf(&s), nil
}

// fleetError translates an error of the service type; those of a context stay as they are.
func fleetError(err error) error {
	status := 0
	switch {
	case errors.Is(err, fleet.ErrNoFleet), errors.Is(err, lifecycle.ErrUnknown):
		status = http.StatusNotFound
	case errors.Is(err, lifecycle.ErrNotReady), errors.Is(err, lifecycle.ErrRuns):
		status = http.StatusConflict
	case errors.Is(err, fleet.ErrNoAnswer):
		status = http.StatusGatewayTimeout
	case errors.Is(err, fleet.ErrNoLeader):
		status = http.StatusServiceUnavailable
	default:
		return err
	}
	return &admin.FleetError{Status: status, What: err.Error()}
}

func fleetOf(s *fleet.State) admin.Fleet {
	f := admin.Fleet{
		Name: s.Name, Leader: nonEmpty(s.Leader), Running: nonEmpty(s.Running), Sane: s.Sane, Alarm: nonEmpty(s.Alarm),
		Task: taskOf(s.Task, s.TaskSince), Wanted: taskOf(s.Wanted, s.WantedAt), Bots: make([]admin.FleetBot, 0, len(s.Bots)),
	}
	if s.GoodVersion != "" {
		f.Good = &admin.FleetGood{Version: s.GoodVersion, Revision: s.GoodRevision}
	}
	if !s.NextSpawn.IsZero() {
		f.NextSpawn = &s.NextSpawn
	}
	for _, b := range s.Bots {
		f.Bots = append(f.Bots, admin.FleetBot{Client: b.Client, Version: b.Version, State: b.State})
	}
	return f
}

func taskOf(task string, at time.Time) *admin.FleetTask {
	if task == "" {
		return nil
	}
	return &admin.FleetTask{Task: task, At: at}
}

func nonEmpty(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
