package brokertest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/internal/eventually"
)

// Instance is one member of a cluster under test.
type Instance struct {
	broker.Broker
	*Recorder
	ID broker.NodeID
}

// Cluster starts n instances that know each other.
func Cluster(t testing.TB, n int, newBroker func(testing.TB) broker.Broker) []*Instance {
	t.Helper()
	nodes := make([]*Instance, n)
	for i := range nodes {
		nodes[i] = Join(t, newBroker(t))
	}
	for _, in := range nodes {
		eventually.True(t, "the instances to know each other", func() bool { return len(in.Nodes()) == n })
	}
	return nodes
}

// Join starts b under an id of its own and closes it with the test.
func Join(t testing.TB, b broker.Broker) *Instance {
	t.Helper()
	in := &Instance{Broker: b, Recorder: NewRecorder(), ID: broker.NodeID(rand.Uint32() | 1)}
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	if err := b.Start(ctx, broker.Node{ID: in.ID, Name: fmt.Sprintf("node-%d", in.ID), Version: "1.2.3"}, in.Recorder); err != nil {
		t.Fatalf("start: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), Patience)
		defer cancel()
		if err := b.Close(ctx); err != nil {
			t.Logf("close: %v", err)
		}
	})
	return in
}

// Outcome publishes m and returns what its Completion was told.
func (in *Instance) Outcome(t testing.TB, m *broker.Message) (int, error) {
	t.Helper()
	type result struct {
		n   int
		err error
	}
	results := make(chan result, 2)
	in.Publish(m, broker.CompletionFunc(func(n int, err error) { results <- result{n, err} }))
	select {
	case r := <-results:
		return r.n, r.err
	case <-time.After(Patience):
		t.Fatal("no outcome of a published message")
		return 0, nil
	}
}

// SubscribeWait waits for the confirmation.
func (in *Instance) SubscribeWait(t testing.TB, group string) {
	t.Helper()
	confirmed := make(chan error, 2)
	in.Subscribe(group, func(err error) { confirmed <- err })
	select {
	case err := <-confirmed:
		if err != nil {
			t.Fatalf("subscribe %s: %v", group, err)
		}
	case <-time.After(Patience):
		t.Fatalf("subscribe %s: no confirmation", group)
	}
}

// Mixed makes the message seq of a sender: to all, to group g, and to one instance, in turn.
func Mixed(sender uuid.UUID, seq uint64, to broker.NodeID) *broker.Message {
	m := &broker.Message{Sender: sender, Seq: seq, Payload: []byte(`{"op":0,"event":"E"}`)}
	switch seq % 3 {
	case 0:
		m.Kind = broker.KindGlobal
	case 1:
		m.Kind, m.Group = broker.KindGroup, []byte("g")
	case 2:
		m.Kind, m.To = broker.KindDirect, to
	}
	return m
}

// JoinGroup gives the group a member on this instance, and waits for the confirmation.
func (in *Instance) JoinGroup(t testing.TB, group string) {
	t.Helper()
	in.SetMembers(group, 1)
	in.SubscribeWait(t, group)
}

// LeaveGroup takes the group's members on this instance away.
func (in *Instance) LeaveGroup(group string) {
	in.SetMembers(group, 0)
	in.Unsubscribe(group)
}
