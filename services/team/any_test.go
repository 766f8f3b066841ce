package team

import (
	"context"
	"testing"

	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/client"
)

// A message to any one of the services is never drawn for a team client, which would ignore it.
func TestAnyOfTheGroupOfTeamsIsAService(t *testing.T) {
	t.Parallel()
	bus := memory.NewBus()
	here, there := start(t, settings{broker: bus.Broker()}), start(t, settings{broker: bus.Broker()})
	worker := there.service()
	for range 4 { // on both loops
		here.global()
		there.global()
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	boss, err := client.Connect(ctx, client.Options{URL: here.base, Token: token, Group: "boss"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = boss.Close(context.Background()) }()
	for n := range 32 {
		if _, err := boss.SendAcked(ctx, client.Any(teamsGroup), "work", data{"n": n}); err != nil {
			t.Error(err)
		}
		if d := worker.event("work"); d["n"] != float64(n) {
			t.Errorf("got %v, want %d", d, n)
		}
	}
}
