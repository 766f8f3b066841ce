package admin

import (
	"context"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/hub"
)

// fleets is a FleetManager with one fleet.
type fleets struct{ client string }

func (m fleets) Fleets(_ context.Context, name string) ([]Fleet, []string, error) {
	if name != "" && name != "helium" {
		return nil, nil, &FleetError{404, "no fleet has this name"}
	}
	return []Fleet{{Name: "helium", Running: &m.client, Sane: true, Bots: []FleetBot{{m.client, "1.0.0", "running"}}}}, []string{"far"}, nil
}

func (m fleets) OperateFleet(_ context.Context, name, operation, client string) (Fleet, error) {
	if operation == "promote" && client == m.client {
		return Fleet{}, &FleetError{409, "it runs already"}
	}
	return Fleet{Name: name + "/" + operation + "/" + client, Bots: []FleetBot{}}, nil
}

func TestFleets(t *testing.T) {
	t.Parallel()
	m := fleets{uuid.NewString()}
	c := startCluster(t, 1, func(_ int, _ *hub.Options, a *Options) { a.Fleets = m })
	var list FleetList
	if c.get(0, "/v1/fleets", &list); len(list.Fleets) != 1 || *list.Fleets[0].Running != m.client || list.Missing[0] != "far" {
		t.Errorf("got %+v", list)
	}
	var one Fleet
	if c.get(0, "/v1/fleets/helium", &one); one.Name != "helium" || one.Bots[0].Version != "1.0.0" || one.Leader != nil {
		t.Errorf("got %+v", one)
	}
	other := uuid.NewString()
	for _, r := range []struct {
		method, path, body string
		status             int
		name               string
	}{
		{"GET", "/v1/fleets/argon", "", 404, ""},
		{"GET", "/v1/fleets/a.b", "", 422, ""},
		{"POST", "/v1/fleets/helium/promote", `{"client":"` + other + `"}`, 200, "helium/promote/" + other},
		{"POST", "/v1/fleets/helium/promote", `{"client":"` + m.client + `"}`, 409, ""},
		{"POST", "/v1/fleets/helium/promote", `{"client":"x"}`, 422, ""},
		{"POST", "/v1/fleets/helium/promote", ``, 400, ""},
		{"POST", "/v1/fleets/helium/rollback", ``, 200, "helium/rollback/"},
		{"POST", "/v1/fleets/helium/try-again", ``, 200, "helium/try_again/"},
		{"POST", "/v1/fleets/helium/deploy", ``, 200, "helium/deploy/"},
		{"GET", "/v1/fleets/helium/deploy", ``, 405, ""},
	} {
		got := c.call(0, r.method, r.path, r.body)
		if got.status != r.status || r.name != "" && !strings.Contains(string(got.body), `"name":"`+r.name+`"`) {
			t.Errorf("%s %s %s: %d %s", r.method, r.path, r.body, got.status, got.body)
		}
	}
	without := startCluster(t, 1, nil)
	for _, path := range []string{"/v1/fleets", "/v1/fleets/helium"} {
		if r := without.call(0, "GET", path, ""); r.status != 404 {
			t.Errorf("%s without the service type: %d", path, r.status)
		}
	}
	if r := without.call(0, "POST", "/v1/fleets/helium/deploy", ""); r.status != 404 {
		t.Errorf("without the service type: %d", r.status)
	}
}
