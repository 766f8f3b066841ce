package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/admin"
	"github.com/mastersocket/mastersocket/internal/hubtest"
)

// TestListingCostsLoopsLittle lists many clients in pages of 500 and counts the turns of the loops that took longer than
// a millisecond meanwhile. MASTERSOCKET_LIST_CLIENTS says how many clients there are; it is then also checked that hardly
// any turn did: a loop that another process takes the core from in the middle of a turn is late through no fault of its own.
func TestListingCostsLoopsLittle(t *testing.T) {
	t.Parallel()
	clients, measure := 600, false
	if s := os.Getenv("MASTERSOCKET_LIST_CLIENTS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		clients, measure = n, true
	}
	s := hubtest.Start(t, hubtest.Options{Flags: []string{"--ping-interval", "1h"}})
	connectMany(t, s, clients)
	o := operator{t, "http://" + s.AdminAddr, s.Token}
	before := turnsOf(o)
	begin := time.Now()
	listed, pages, slowest := 0, 0, time.Duration(0)
	for cursor := ""; ; {
		asked := time.Now()
		var page admin.ClientList
		if code := o.do(http.MethodGet, "/v1/clients?limit=500&cursor="+url.QueryEscape(cursor), "", &page); code != 200 {
			t.Fatalf("got %d", code)
		}
		slowest = max(slowest, time.Since(asked))
		listed += len(page.Clients)
		pages++
		if page.Next == nil {
			break
		}
		cursor = *page.Next
	}
	took, after := time.Since(begin), turnsOf(o)
	turns, over := after.all-before.all, after.all-after.short-(before.all-before.short)
	t.Logf("%d clients in %d pages: %v, the slowest page %v; %d turns of the loops meanwhile, %.1f µs on average, %d longer than 1 ms",
		listed, pages, took.Round(time.Millisecond), slowest.Round(time.Microsecond), turns,
		(after.seconds-before.seconds)/float64(turns)*1e6, over)
	if listed != clients {
		t.Errorf("%d clients are listed, want %d", listed, clients)
	}
	if most := 64; turns < clients/most {
		t.Errorf("%d turns, want at least %d: a loop described more than %d clients in one", turns, clients/most, most)
	}
	if measure && over > turns/100 {
		t.Errorf("%d of %d turns were longer than 1 ms", over, turns)
	}
}

// turns are the turns of all loops.
type turns struct {
	all, short int // short ones take a millisecond at most
	seconds    float64
}

func turnsOf(o operator) (sum turns) {
	for loop := 0; ; loop++ {
		label := fmt.Sprintf(`{loop="%d"}`, loop)
		all := o.metric("mastersocket_loop_turn_seconds_count" + label)
		if all == "" {
			return sum
		}
		n, _ := strconv.Atoi(all)
		short, _ := strconv.Atoi(o.metric(fmt.Sprintf(`mastersocket_loop_turn_seconds_bucket{loop="%d",le="0.001"}`, loop)))
		seconds, _ := strconv.ParseFloat(o.metric("mastersocket_loop_turn_seconds_sum"+label), 64)
		sum.all, sum.short, sum.seconds = sum.all+n, sum.short+short, sum.seconds+seconds
	}
}

// upgrade asks for a WebSocket.
const upgrade = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"

// connectMany connects clients that do nothing more. Each costs the test a descriptor, and no goroutine.
func connectMany(t *testing.T, s *hubtest.Server, n int) {
	t.Helper()
	answer := make([]byte, 4096)
	for i := range n {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+i%8))}} // one address has ports for fewer
		c, err := d.DialContext(context.Background(), "tcp", s.HubAddr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		identify := fmt.Sprintf(`{"op":1,"data":{"token":%q,"group":"g%d","groups":["all"],"name":"svc-%d","version":"1.0",`+
			`"meta":{"zone":"europe-west-1"}}}`, s.Token, i%50, i)
		if _, err := c.Write(append([]byte(upgrade), textFrame(identify)...)); err != nil {
			t.Fatal(err)
		}
		for got := ""; !strings.Contains(got, `"ping"`); { // the answers to the handshake and to IDENTIFY
			k, err := c.Read(answer)
			if err != nil {
				t.Fatalf("client %d: %v after %q", i, err, got)
			}
			got += string(answer[:k])
		}
	}
}
