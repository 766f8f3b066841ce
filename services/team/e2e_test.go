package team

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/client"
	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/hubtest"
	"github.com/mastersocket/mastersocket/internal/redistest"
	"github.com/mastersocket/mastersocket/services/team/bridge"
	"github.com/mastersocket/mastersocket/services/team/rtm"
	"github.com/mastersocket/mastersocket/services/team/rtmtest"
	"github.com/mastersocket/mastersocket/services/team/teamtest"
)

// startBridge runs a bridge from the server to the hub at base until the test ends.
func startBridge(t *testing.T, server *rtmtest.Server, base string) *bridge.Bridge {
	t.Helper()
	b, err := bridge.New(bridge.Options{
		Global: server.URL(), To: "GROUP:team.{team_id}", MinBackoff: 5 * time.Millisecond, MaxBackoff: 100 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	o, err := b.HubOptions(client.Options{URL: base, Token: token, Group: "bridges"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	c, err := client.Connect(ctx, o)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx, c) }()
	t.Cleanup(func() {
		cancel()
		<-done
		_ = c.Close(context.Background())
	})
	return b
}

// exchange sends messages to teams of the server and checks that the client at the other end gets each team's messages
// once and in order.
func exchange(t *testing.T, server *rtmtest.Server, c *teamtest.Client, ids []rtm.ID, from, to int) {
	t.Helper()
	before := c.Received()
	text := func(id rtm.ID, k int) string {
		if k%3 == 0 {
			return fmt.Sprintf("props to %v, %d", id, k)
		}
		return fmt.Sprintf("%v, %d \"\u2028", id, k)
	}
	for k := from; k < to; k++ {
		for _, id := range ids {
			if !server.Message(id, text(id, k)) {
				t.Fatalf("team %v is not connected to the server", id)
			}
		}
	}
	eventually.True(t, "all messages arrive", func() bool { return c.Received()-before >= len(ids)*(to-from) })
	for _, id := range ids {
		var want []string
		for k := range to {
			want = append(want, text(id, k))
		}
		if got := c.Messages(id); !slices.Equal(got, want) {
			t.Fatalf("team %v got %d messages, %.200q; want %d", id, len(got), got, len(want))
		}
	}
}

func teamIDs(n int) []rtm.ID {
	var ids []rtm.ID
	for k := range n {
		if k%2 == 0 {
			ids = append(ids, rtm.IntID(int64(k)))
		} else {
			ids = append(ids, rtm.StringID(fmt.Sprintf("team %d/ä", k)))
		}
	}
	return ids
}

// The whole way: RTM server, bridge, one instance, another instance, RTM client.
func TestServerBridgeHubClient(t *testing.T) {
	inClusters(t, Options{Healthcheck: 100 * time.Millisecond}, func(t *testing.T, a, b *instance, _ func() *instance) {
		server := rtmtest.Start(t, rtmtest.Options{})
		startBridge(t, server, a.base)
		c := teamtest.Start(t, b.base, token)
		ids := teamIDs(40)
		if err := server.Await(t.Context(), server.GlobalOpen); err != nil {
			t.Fatal(err)
		}
		server.Join(ids...)
		if err := server.AwaitConnected(t.Context(), len(ids)); err != nil {
			t.Fatal(err)
		}
		eventually.True(t, "the client is connected to all teams", func() bool { return c.Connected() == len(ids) })
		exchange(t, server, c, ids, 0, 50)

		// The counts of the server, of the hub and of the client agree.
		eventually.True(t, "three counts agree", func() bool {
			page, err := a.Teams(t.Context(), "", MaxPage)
			if err != nil || len(page.Teams) != len(ids) {
				return false
			}
			for _, team := range page.Teams {
				sent := server.Sent(team.ID)
				if team.MessageCount != sent.MessageCount || team.PropsCount != sent.PropsCount || len(team.Claims) != 1 ||
					team.Claims[0].MessageCount != sent.MessageCount || team.Claims[0].PropsCount != sent.PropsCount || !team.Claims[0].Connected {
					return false
				}
			}
			return true
		})
		// False claims of a client show beside the hub's counts.
		c.Lie(func(s *rtm.Stat) { s.MessageCount *= 2 })
		eventually.True(t, "the lie is seen", func() bool {
			page, err := b.Teams(t.Context(), "", 1)
			return err == nil && len(page.Teams) == 1 && len(page.Teams[0].Claims) == 1 &&
				page.Teams[0].Claims[0].MessageCount == 2*page.Teams[0].MessageCount
		})

		server.LeaveOnTeam(ids[0])
		server.Leave(ids[1])
		eventually.True(t, "two teams have left", func() bool { return c.Connected() == len(ids)-2 })
		server.DropAll() // the bridge reconnects; the client notices nothing
		if err := server.AwaitConnected(t.Context(), len(ids)-2); err != nil {
			t.Fatal(err)
		}
		exchange(t, server, c, ids[2:], 50, 60)
		if n := b.metric("team_connections"); n != float64(len(ids)-2) {
			t.Errorf("%v connections", n)
		}
	})
}

// The same with the built program: two hubs with one Redis, and the bridge as a separate process.
func TestProgramsWithRedis(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	flags := []string{"--enable", "team", "--team-anonymous", "--team-healthcheck", "1s"}
	a := hubtest.Start(t, hubtest.Options{Name: "a", Redis: redis.URL(), Flags: flags})
	b := hubtest.Start(t, hubtest.Options{Name: "b", Redis: redis.URL(), Flags: flags})
	server := rtmtest.Start(t, rtmtest.Options{})
	run := exec.Command(hubtest.Binary(t), "bridge", "team", "--global", server.URL(), "--url", a.URL(), "--to", "GROUP:team.{team_id}")
	run.Env = append(os.Environ(), "MASTERSOCKET_TOKEN="+a.Token)
	run.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = run.Process.Signal(syscall.SIGTERM)
		_ = run.Wait()
	})
	c := teamtest.Start(t, "ws://"+b.HubAddr, "") // as the original protocol has it, without a token
	ids := teamIDs(20)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := server.Await(ctx, server.GlobalOpen); err != nil {
		t.Fatal(err)
	}
	server.Join(ids...)
	if err := server.AwaitConnected(ctx, len(ids)); err != nil {
		t.Fatal(err)
	}
	eventually.True(t, "the client is connected to all teams", func() bool { return c.Connected() == len(ids) })
	exchange(t, server, c, ids, 0, 20)
	_, text := b.Get("/metrics")
	m, err := hubtest.ParseMetrics(text)
	if err != nil || m.Sum("mastersocket_team_teams") != 20 || m.Sum("mastersocket_team_messages_total") != 400 {
		t.Errorf("teams %v, messages %v: %v", m.Sum("mastersocket_team_teams"), m.Sum("mastersocket_team_messages_total"), err)
	}
	eventually.True(t, "the admin API of the other instance shows it", func() bool {
		teams := listOverHTTP(t, a)
		return len(teams) == len(ids) && !slices.ContainsFunc(teams, func(team Team) bool {
			return team.MessageCount != 20 || team.PropsCount != 7 || team.Connection == nil || team.Connection.Node != "b" ||
				len(team.Claims) != 1 || team.Claims[0].MessageCount != 20 || team.Claims[0].PropsCount != 7
		})
	})
	b.Signal(syscall.SIGTERM)
	eventually.True(t, "the client is told goodbye", c.Goodbye)
}

// listOverHTTP lists the teams through the admin API.
func listOverHTTP(t *testing.T, s *hubtest.Server) []Team {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.AdminURL("/v1/teams"), nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header = teamtest.Bearer(s.Token)
	request.Close = true // an idle connection would look like a leak
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var list struct {
		Teams []Team `json:"teams"`
	}
	if err := json.NewDecoder(response.Body).Decode(&list); err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("GET /v1/teams: %s, %v", response.Status, err)
	}
	return list.Teams
}
