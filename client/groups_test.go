package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mastersocket/mastersocket/client"
	"github.com/mastersocket/mastersocket/opcodes"
)

// groupLog records the changes that clients ask for, as "1:SUBSCRIBE a b" with the number of the connection.
type groupLog struct {
	journal
	answer func(l *line, f frame) (answered bool) // nil: each is granted at once
}

// grant answers a change as the hub does.
func grant(l *line, f frame) { l.deliver(`{"op":%d,"id":%q,"data":%s}`, f.Op, f.ID, f.Data) }

// inGroups runs a test with a rig that grants changes of groups.
func inGroups(t *testing.T, f func(t *testing.T, r *rig, log *groupLog)) {
	t.Helper()
	inRig(t, func(t *testing.T, r *rig) {
		log := &groupLog{}
		r.features += `,"groups"`
		r.hear = func(l *line, f frame) {
			if f.Op != 8 && f.Op != 9 {
				return
			}
			log.add(fmt.Sprintf("%d:%v %s", l.n, opcodes.Op(f.Op), strings.Join(groupsIn(f), " ")))
			if log.answer == nil || !log.answer(l, f) {
				grant(l, f)
			}
		}
		f(t, r, log)
	})
}

// groupsIn returns the groups that a client names.
func groupsIn(f frame) []string {
	var data struct {
		Groups []string `json:"groups"`
	}
	_ = json.Unmarshal(f.Data, &data)
	return data.Groups
}

// later calls f on a goroutine, and returns a channel for its error.
func later(f func() error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	synctest.Wait()
	return done
}

func TestSubscribeAndUnsubscribe(t *testing.T) {
	inGroups(t, func(t *testing.T, r *rig, log *groupLog) {
		ctx := context.Background()
		o := r.options(&journal{})
		o.Groups = []string{"h", "g"}
		c, a := r.client(o)
		defer closeClient(t, c)
		if err := c.Subscribe(ctx, "x", "y", "g"); err != nil {
			t.Fatal(err)
		}
		if err := c.Unsubscribe(ctx, "x", "h"); err != nil {
			t.Fatal(err)
		}
		if got := c.Groups(); !slices.Equal(got, []string{"g", "y"}) {
			t.Errorf("Groups = %v", got)
		}
		log.answer = func(l *line, f frame) bool {
			l.deliver(`{"op":%d,"id":%q,"data":{"error":{"code":"FORBIDDEN","group":"payroll","message":"no"}}}`, f.Op, f.ID)
			return true
		}
		var refused *client.GroupError
		err := c.Subscribe(ctx, "payroll")
		if !errors.As(err, &refused) || !errors.Is(err, client.ErrForbidden) || refused.Group != "payroll" {
			t.Errorf("refused: %v", err)
		}
		if err := c.Subscribe(ctx, "$x"); err == nil {
			t.Error("a reserved name was sent")
		}
		log.answer = func(*line, frame) bool { return true }
		late, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		wantErr(t, "no answer", c.Subscribe(late, "z"), client.ErrOutcomeUnknown)
		// What an operator changes counts, too.
		a.deliver(`{"op":8,"data":{"groups":["o"],"by":"operator"}}`)
		a.deliver(`{"op":9,"data":{"groups":["y"],"by":"operator"}}`)
		synctest.Wait()
		if got := c.Groups(); !slices.Equal(got, []string{"g", "o"}) {
			t.Errorf("Groups = %v", got)
		}
	})
}

func TestSubscribeToAnOldHub(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		c, _ := r.client(r.options(&journal{}))
		defer closeClient(t, c)
		wantErr(t, "an old hub", c.Subscribe(context.Background(), "x"), client.ErrNoGroups)
	})
}

// A client has all of its groups on the next connection: as many as it can name in IDENTIFY, the others before it says that
// it is connected. What arrives in between is not lost, and a change that was under way is repeated.
func TestGroupsAfterReconnect(t *testing.T) {
	inGroups(t, func(t *testing.T, r *rig, log *groupLog) {
		ctx := context.Background()
		var l journal
		c, a := r.client(r.options(&l))
		defer closeClient(t, c)
		var groups []string
		for i := range 600 {
			groups = append(groups, fmt.Sprintf("g%d", i))
		}
		if err := c.Subscribe(ctx, groups...); err != nil {
			t.Fatal(err)
		}
		if err := c.SetWeight(ctx, 7); err != nil {
			t.Fatal(err)
		}
		if err := c.SetMeta(ctx, map[string]string{"k": "v"}); err != nil {
			t.Fatal(err)
		}
		log.answer = func(l *line, _ frame) bool { return l.n == 1 }
		again := later(func() error { return c.Subscribe(ctx, "late") })
		var seen []string
		log.answer = func(l *line, f frame) bool {
			if seen == nil {
				l.deliver("%s", event(sender, "1", "early", "GLOBAL"))
			}
			seen = append(seen, groupsIn(f)...)
			return false
		}
		a.cut()
		b := <-r.opened
		if err := <-again; err != nil {
			t.Errorf("the change that was under way: %v", err)
		}
		synctest.Wait()
		var identify struct {
			Groups []string          `json:"groups"`
			Meta   map[string]string `json:"meta"`
			Weight int               `json:"weight"`
		}
		if err := json.Unmarshal(b.got[0].Data, &identify); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(append(identify.Groups, seen...), append(groups, "late")) || len(identify.Groups) != 31 {
			t.Errorf("IDENTIFY has %d groups, %d followed", len(identify.Groups), len(seen))
		}
		if identify.Weight != 7 || identify.Meta["k"] != "v" {
			t.Errorf("IDENTIFY has %+v", identify)
		}
		wantLog(t, "the handlers", l.String(), "+1 - +2 early")
	})
}

// In a move: the new connection has all groups before its FENCE. Changes that are asked for meanwhile wait until it sends;
// then a SUBSCRIBE goes there alone, and an UNSUBSCRIBE first to the old one.
func TestGroupsInAMove(t *testing.T) {
	inGroups(t, func(t *testing.T, r *rig, log *groupLog) {
		ctx := context.Background()
		var l journal
		var mu sync.Mutex
		fenced := ""
		r.fence = func(from, _ *line, _ string) bool {
			mu.Lock()
			defer mu.Unlock()
			if from.n == 2 && fenced == "" {
				fenced = log.String()
			}
			return true
		}
		c, a := r.client(r.options(&l))
		defer closeClient(t, c)
		var groups []string
		for i := range 40 {
			groups = append(groups, fmt.Sprintf("g%d", i))
		}
		if err := c.Subscribe(ctx, groups...); err != nil {
			t.Fatal(err)
		}
		log.all = nil
		open := ask(c) // keeps the old connection until it is answered
		var kept *line
		var held frame
		log.answer = func(l *line, f frame) bool {
			kept, held = l, f
			return true
		}
		a.drain(restart)
		time.Sleep(2 * time.Second) // the new connection waits for the answer to its SUBSCRIBE
		change := later(func() error { return c.Subscribe(ctx, "new") })
		mu.Lock()
		if fenced != "" {
			t.Errorf("a FENCE before the groups: %s", fenced)
		}
		mu.Unlock()
		log.answer = nil
		grant(kept, held)
		b := <-r.opened
		if err := <-change; err != nil {
			t.Fatal(err)
		}
		if err := c.Unsubscribe(ctx, "g3"); err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		wantLog(t, "before the FENCE", fenced, "2:SUBSCRIBE g31 g32 g33 g34 g35 g36 g37 g38 g39")
		mu.Unlock()
		wantLog(t, "the changes", strings.TrimPrefix(log.String(), fenced), " 2:SUBSCRIBE new 1:UNSUBSCRIBE g3 2:UNSUBSCRIBE g3")
		// The new connection is lost, so that the old one goes on: it gets what the new one had.
		log.all = nil
		b.cut()
		synctest.Wait()
		time.Sleep(100 * time.Millisecond) // on the virtual clock
		if got := log.String(); !strings.HasPrefix(got, "1:SUBSCRIBE ") || !strings.HasSuffix(got, " new") || strings.Contains(got, " g3 ") {
			t.Errorf("over the old connection: %s", got)
		}
		if got := c.Groups(); len(got) != 41 || !slices.Contains(got, "new") || slices.Contains(got, "g3") {
			t.Errorf("Groups = %v", got)
		}
		a.cut()
		<-open
	})
}
