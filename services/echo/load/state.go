package load

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// State is the state that a hub holds for echo connections.
type State struct{ Connections, Waiting, Given int }

// Zero reports whether no state remains.
func (s State) Zero() bool { return s == State{} }

// The metrics that a State is read from.
const (
	metricConnections = `mastersocket_connections{type="echo"}`
	metricWaiting     = "mastersocket_echo_waiting"
	metricGiven       = "mastersocket_echo_given"
)

// ServerState reads the state from the metrics of the hub's admin listener at the URL.
func ServerState(ctx context.Context, admin string) (State, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(admin, "/")+"/metrics", nil)
	if err != nil {
		return State{}, fmt.Errorf("read the hub's metrics: %w", err)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return State{}, fmt.Errorf("read the hub's metrics: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return State{}, fmt.Errorf("read the hub's metrics: %s answers %s", admin, response.Status)
	}
	values := make(map[string]int)
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		name, value, ok := strings.Cut(lines.Text(), " ")
		switch name {
		case metricConnections, metricWaiting, metricGiven:
			v, err := strconv.ParseFloat(value, 64)
			if !ok || err != nil {
				return State{}, fmt.Errorf("read the hub's metrics: %q", lines.Text())
			}
			values[name] = int(v)
		}
	}
	if err := lines.Err(); err != nil {
		return State{}, fmt.Errorf("read the hub's metrics: %w", err)
	}
	if len(values) != 3 {
		return State{}, fmt.Errorf("read the hub's metrics: %s: %w", admin, ErrNoEcho)
	}
	return State{values[metricConnections], values[metricWaiting], values[metricGiven]}, nil
}

// ErrNoEcho means that the hub does not serve echo.
var ErrNoEcho = errors.New("the hub does not serve echo")

// AwaitZero reads the state until it is zero or ctx ends, and returns the last state. The error is that of the last
// read, unless the end of ctx caused it.
func AwaitZero(ctx context.Context, admin string) (State, error) {
	last, err := ServerState(ctx, admin)
	for err == nil && !last.Zero() {
		select {
		case <-ctx.Done():
			return last, nil
		case <-time.After(50 * time.Millisecond):
		}
		var s State
		if s, err = ServerState(ctx, admin); err == nil {
			last = s
		} else if ctx.Err() != nil {
			return last, nil
		}
	}
	return last, err
}
