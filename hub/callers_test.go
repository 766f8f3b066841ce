package hub

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/broker/memory"
)

func TestCallersShareLimits(t *testing.T) {
	t.Parallel()
	tokens := auth.NewStore(tokenTable(t, `
- {name: own, sha256: `+auth.Hash("own")+`, groups: "*", send: "*", rate: 0.001, burst: 2}
- {name: all, sha256: `+auth.Hash("all")+`, groups: "*", send: "*", total_rate: 0.001}`))
	h, _ := startHub(t, memory.NewBus().Broker(), func(o *Options) { o.Tokens = tokens })
	for token, most := range map[string]int{"own": 2, "all": 1} {
		grant, _ := tokens.Authenticate(token)
		for i := range most + 2 {

			_, err := h.Publish(inspectCtx(t), h.Caller(Credential{Grant: grant}), []byte(`{"op":0,"intent":{"target":"GLOBAL"}}`))
			if want := i >= most; errors.Is(err, ErrRateLimited) != want {
				t.Errorf("%s: message %d: %v", token, i, err)
			}
		}
		if _, err := h.Publish(inspectCtx(t), h.Caller(Credential{Grant: grant, Subject: "other"}), []byte(`{"op":0,"intent":{"target":"GLOBAL"}}`)); err != nil {
			t.Errorf("%s: another holder: %v", token, err)
		}
	}
}

func TestCallersAreForgotten(t *testing.T) {
	t.Parallel()
	h, _ := startHub(t, memory.NewBus().Broker(), nil)
	grant := rights(t, `"*"`)
	now := time.Now()
	for i := range 100 {
		h.callers.of(h, Credential{Grant: grant, Subject: fmt.Sprint(i)}, now)
	}
	first := h.callers.of(h, Credential{Grant: grant, Subject: "0"}, now.Add(callerIdle/2))
	if again := h.callers.of(h, Credential{Grant: grant, Subject: "0"}, now.Add(callerIdle)); again != first {
		t.Error("a caller that is used was forgotten")
	}
	if n, m := len(h.callers.known), len(h.holders.all); n != 1 || m != 1 {
		t.Errorf("%d callers and %d holders are known", n, m)
	}
	h.callers.of(h, Credential{Grant: grant, Subject: "0", Expires: now.Add(time.Hour)}, now.Add(callerIdle))
	h.callers.of(h, Credential{Grant: grant, Subject: "1"}, now.Add(3*callerIdle))
	if n, m := len(h.callers.known), len(h.holders.all); n != 1 || m != 1 {
		t.Errorf("%d callers and %d holders are known", n, m)
	}
	for i := range maxCallers + 10 {
		h.callers.of(h, Credential{Grant: grant, Subject: fmt.Sprint(i)}, now)
	}
	if n, m := len(h.callers.known), len(h.holders.all); n != maxCallers || m != maxCallers {
		t.Errorf("%d callers and %d holders are known", n, m)
	}
}

// TestReceiptsOfManyMessages: other instances are asked about many messages at a time, and each has its own receipt.
func TestReceiptsOfManyMessages(t *testing.T) {
	t.Parallel()
	const messages = 600
	bus := memory.NewBus()
	var hubs [3]*Hub
	var urls [3]string
	for i := range hubs {
		hubs[i], urls[i] = startHub(t, bus.Broker(), func(o *Options) { o.NodeName = fmt.Sprint("node-", i) })
	}
	members := 0
	for i := range urls {
		for range i + 1 {
			members++
			p := identify(t, urls[i], "g", nil)
			go func() {
				for {
					if _, _, err := p.conn.Read(p.ctx); err != nil {
						return
					}
				}
			}()
		}
	}
	wantMembers(t, hubs[0], "g", members)
	c := hubs[0].Caller(Credential{Grant: rights(t, `"*"`)})
	var done sync.WaitGroup
	for i := range messages {
		done.Go(func() {
			target, want := "GROUP", members
			if i%2 == 1 {
				target, want = "ANY", 1
			}
			r, err := hubs[0].Publish(inspectCtx(t), c, fmt.Appendf(nil, `{"op":0,"id":"m-%d","intent":{"target":%q,"identifier":"g"}}`, i, target))
			if err != nil || r.ID != fmt.Sprint("m-", i) || r.Clients == nil || *r.Clients != want || r.Instances == nil || len(r.Dropped) > 0 {
				t.Errorf("%d: got %+v, %v", i, r, err)
			}
		})
	}
	done.Wait()
}
