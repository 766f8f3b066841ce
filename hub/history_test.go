package hub

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mastersocket/mastersocket/auth"
	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/memory"
	"github.com/mastersocket/mastersocket/intent"
)

var withHistory = m{"features": []string{"history", "groups", "errors", "acks", "drain"}}

// keeps makes the groups that begin with "log" groups with history.
func keeps(messages int) func(*Options) {
	return func(o *Options) {
		p, err := intent.ParsePattern("log*")
		if err != nil {
			panic(err)
		}
		o.History = []HistoryRule{{
			Groups: intent.Patterns{p}, Limits: broker.Limits{Messages: messages, Age: time.Hour, Bytes: 1 << 30}, MaxGroups: 100,
		}}
	}
}

// historyOf returns what an answer says of a group's history.
func historyOf(answer m, group string) (epoch string, offset, recovering int) {
	all, _ := answer["history"].(m)
	h, _ := all[group].(m)
	epoch, _ = h["epoch"].(string)
	n, _ := h["offset"].(float64)
	r, ok := h["recovering"].(float64)
	if !ok {
		r = -1
	}
	return epoch, int(n), int(r)
}

// append sends a message to the group and returns the data of its ACK or ERROR. What comes before that is returned, too.
func (p *peer) append(group, id string, extra m) (data m, before []frame) {
	p.t.Helper()
	msg := event(id, to("GROUP", group))
	for k, v := range extra {
		msg[k] = v
	}
	p.send(msg)
	for {
		f := p.read()
		if (f.Op == 7 || f.Op == 6) && f.ID == id {
			data, _ = f.Data.(m)
			return data, before
		}
		before = append(before, f)
	}
}

// untilLive reads until the member is live in the group, and returns what came before.
func (p *peer) untilLive() (before []frame, live m) {
	p.t.Helper()
	for {
		f := p.read()
		if d, _ := f.Data.(m); f.Op == 11 && d["live"] == true {
			return before, d
		}
		before = append(before, f)
	}
}

// offsets returns the numbers of EVENTs, with a text for each HISTORY.
func offsets(frames []frame) string {
	var all []string
	for _, f := range frames {
		switch d, _ := f.Data.(m); {
		case f.Op == 0:
			all = append(all, fmt.Sprint(f.Offset))
		case f.Op == 11:
			text := fmt.Sprint("at ", d["offset"])
			if gap, _ := d["gap"].(m); gap != nil {
				text = fmt.Sprint(gap["reason"], " ", d["offset"])
				if gap["first"] != nil {
					text += fmt.Sprint(" first ", gap["first"])
				}
			}
			all = append(all, text)
		}
	}
	return strings.Join(all, ",")
}

// Every member sees the numbers, whatever its features and its instance, the sender included; the sender is told the number.
func TestNumbers(t *testing.T) {
	t.Parallel()
	bus := memory.NewBus()
	_, url := startHub(t, bus.Broker(), keeps(100))
	_, other := startHub(t, bus.Broker(), keeps(100))
	sender := identify(t, url, "log", withHistory)
	members := []*peer{identify(t, url, "log", nil), identify(t, url, "log", nil), identify(t, other, "log", nil), identify(t, other, "log", withHistory)}
	silent := identify(t, url, "log", m{"echo": false, "features": []string{"acks", "errors"}})
	for i := 1; i <= 3; i++ {
		ack, before := sender.append("log", fmt.Sprint("e", i), nil)
		if fmt.Sprint(ack) != fmt.Sprintf("map[nodes:1 offset:%d]", i) || offsets(before) != fmt.Sprint(i) {
			t.Errorf("message %d: ACK %v, behind %q", i, ack, offsets(before))
		}
	}
	if ack, before := silent.append("log", "mine", nil); fmt.Sprint(ack["offset"]) != "4" || offsets(before) != "1,2,3" {
		t.Errorf("without echo: %v, %q", ack, offsets(before))
	}
	for i, p := range append(members, sender) {
		n := 4
		if p == sender {
			n = 1
		}
		var got []frame
		for range n {
			got = append(got, p.read())
		}
		want := "1,2,3,4"
		if p == sender {
			want = "4"
		}
		if offsets(got) != want {
			t.Errorf("member %d got %q", i, offsets(got))
		}
	}
	if got := silent.fence(); len(got) > 0 {
		t.Errorf("without echo the sender got %+v", got)
	}
}

// Only EVENTs and REPLYs to the group are numbered, and a member offset is the hub's there and nowhere else.
func TestWhatIsNumbered(t *testing.T) {
	t.Parallel()
	h, url := startHub(t, memory.NewBus().Broker(), keeps(100))
	sender := identify(t, url, "senders", m{"features": []string{"history", "groups", "errors", "acks", "requests"}})
	p := identify(t, url, "log", m{"groups": []string{"plain"}})
	for i, tt := range []struct {
		message m
		want    uint64
	}{
		{event("1", to("GROUP", "log")), 1},
		{m{"op": 5, "id": "2", "intent": to("GROUP", "log")}, 2},
		{event("3", to("GLOBAL")), 0},
		{event("4", to("ANY", "log")), 0},
		{event("5", to("DIRECT", p.id)), 0},
		{event("6", to("GROUP", "plain")), 0},
		{m{"op": 0, "id": "7", "expect": m{"timeout_ms": 50}, "intent": to("GROUP", "log")}, 0},
		{m{"op": 0, "id": "8", "offset": 77, "intent": to("GROUP", "plain")}, 77},
		{event("9", m{"target": "GROUP", "identifier": "log", "except": []string{"others"}}), 0},
		{event("10", m{"target": "GROUP", "identifiers": []string{"log", "plain"}}), 0},
	} {
		sender.send(tt.message)
		if f := p.read(); f.Offset != tt.want || f.ID != fmt.Sprint(i+1) {
			t.Errorf("%v: got %+v", tt.message, f)
		}
	}
	sender.pong()
	severalTo := m{"target": "GROUP", "identifiers": []string{"plain", "log"}}
	for name, target := range map[string]any{"offset": to("GROUP", "log"), "Offset": to("GROUP", "log"), "OFFSET": severalTo} {
		sender.send(m{"op": 0, "id": "r", name: nil, "intent": target})
		for {
			f := sender.read()
			if d, _ := f.Data.(m); f.Op == 6 && d["code"] == "RESERVED_MEMBER" {
				break
			} else if f.Op != 7 && f.Op != 14 && f.Op != 0 {
				t.Fatalf("%s: %+v", name, f)
			}
		}
	}
	if s := h.Stats(); s.Drops[DropReservedMember] != 3 || s.History.Refused[RefusedReserved] != 3 {
		t.Errorf("counted %d drops, %v", s.Drops[DropReservedMember], s.History)
	}
}

// Messages to several groups are not numbered, and come behind numbered ones that their sender sent before.
func TestSeveralGroupsBehindNumbered(t *testing.T) {
	t.Parallel()
	_, url := startHub(t, memory.NewBus().Broker(), keeps(1000))
	sender, p := identify(t, url, "senders", m{"features": []string{"history"}}), identify(t, url, "log", nil)
	for i := range 100 {
		target := to("GROUP", "log")
		if i%3 == 2 {
			target = m{"target": "GROUP", "identifier": "log", "except": []string{"others"}}
		}
		sender.send(event(fmt.Sprint(i), target))
	}
	for i := range 100 {
		if f := p.read(); f.ID != fmt.Sprint(i) {
			t.Fatalf("message %s came in the place of %d", f.ID, i)
		}
	}
}

// A message that is to be appended once is, and its sender is told the number of the first.
func TestOnce(t *testing.T) {
	t.Parallel()
	_, url := startHub(t, memory.NewBus().Broker(), keeps(100))
	a, b := identify(t, url, "x", withHistory), identify(t, url, "log", withHistory)
	for i, want := range []string{"map[nodes:1 offset:1]", "map[duplicate:true nodes:1 offset:1]"} {
		if ack, _ := a.append("log", "\u0041", m{"once": true}); fmt.Sprint(ack) != want {
			t.Errorf("%d: %v", i, ack)
		}
	}
	if ack, _ := a.append("log", "A", nil); fmt.Sprint(ack["offset"]) != "2" {
		t.Errorf("without once: %v", ack)
	}
	if ack, _ := a.append("log2", "A", m{"once": true}); fmt.Sprint(ack["offset"]) != "1" {
		t.Errorf("in another group: %v", ack)
	}
	if got := offsets([]frame{b.read(), b.read()}); got != "1,2" {
		t.Errorf("the member got %q", got)
	}
}

// A member that joins with a position gets what came behind it, once, before what is live.
func TestRecover(t *testing.T) {
	t.Parallel()
	bus := memory.NewBus()
	_, url := startHub(t, bus.Broker(), keeps(5))
	_, other := startHub(t, bus.Broker(), keeps(5))
	sender := identify(t, url, "x", withHistory)
	for i := range 8 {
		sender.append("log", fmt.Sprint(i), nil)
	}
	p := identify(t, other, "y", withHistory)
	answer, _ := p.change(8, "s", m{"groups": []string{"log"}})
	epoch, offset, recovering := historyOf(answer, "log")
	if epoch == "" || offset != 8 || recovering != -1 {
		t.Fatalf("the answer is %v", answer)
	}
	for name, tt := range map[string]struct {
		recover    m
		recovering int
		want       string
	}{
		"nothing":       {m{"epoch": epoch, "offset": 8}, 0, ""},
		"some":          {m{"epoch": epoch, "offset": 5}, 3, "6,7,8"},
		"all":           {m{"offset": 0}, 5, "4,5,6,7,8"},
		"trimmed":       {m{"epoch": epoch, "offset": 1}, 5, "TRIMMED 3 first 4,4,5,6,7,8"},
		"ahead":         {m{"epoch": epoch, "offset": 20}, 0, "EPOCH 8"},
		"another epoch": {m{"epoch": "nonesuch", "offset": 6}, 2, "EPOCH 3"},
		"without epoch": {m{"offset": 6}, 2, "7,8"},
	} {
		for _, by := range []string{"IDENTIFY", "SUBSCRIBE"} {
			q := connect(t, other)
			data := m{"token": testToken, "group": "z", "features": withHistory["features"]}
			ask := m{"groups": []string{"log"}, "recover": m{"log": tt.recover}}
			var answer frame
			if by == "IDENTIFY" {
				data["groups"], data["recover"] = ask["groups"], ask["recover"]
				q.send(m{"op": 1, "data": data})
				answer = q.read()
			} else {
				q.send(m{"op": 1, "data": data})
				q.read()
				q.send(m{"op": 8, "id": "s", "data": ask})
				answer = q.read()
			}
			d, _ := answer.Data.(m)
			if e, offset, recovering := historyOf(d, "log"); e != epoch || offset != 8 || recovering != tt.recovering {
				t.Errorf("%s by %s: answer %v", name, by, d)
			}
			before, live := q.untilLive()
			if got := offsets(before); got != tt.want && !(tt.want == "EPOCH 3" && strings.HasPrefix(got, "EPOCH")) {
				t.Errorf("%s by %s: got %q", name, by, got)
			}
			if live["epoch"] != epoch || fmt.Sprint(live["offset"]) != "8" || live["group"] != "log" {
				t.Errorf("%s by %s: live %v", name, by, live)
			}
			_ = q.conn.CloseNow()
		}
	}
	sender.append("log", "last", nil)
	if f := p.read(); f.Offset != 9 {
		t.Errorf("live: %+v", f)
	}
	// A member that asks again is read from there again.
	p.send(m{"op": 8, "id": "again", "data": m{"recover": m{"log": m{"epoch": epoch, "offset": 7}}}})
	before, _ := p.untilLive()
	if got := offsets(before); got != "8,9" {
		t.Errorf("a member that recovers: %q", got)
	}
}

// What a token may not recover is refused, as are groups that the change does not join.
func TestRecoverRefused(t *testing.T) {
	t.Parallel()
	table := tokenTable(t, `- {name: limited, sha256: `+auth.Hash(testToken)+`, groups: "*", send: "*", recover: ["log.a*", plain]}`)
	_, url := startHub(t, memory.NewBus().Broker(), func(o *Options) {
		keeps(10)(o)
		o.Tokens = auth.NewStore(table)
	})
	p := identify(t, url, "z", withHistory)
	for group, want := range map[string]string{"log.a1": "", "log.b": "FORBIDDEN log.b", "plain": ""} {
		answer, _ := p.change(8, "s", m{"groups": []string{group}, "recover": m{group: m{"offset": 0}}})
		if got := refusalOf(answer); got != want {
			t.Errorf("%s: %v", group, answer)
		}
		if group == "plain" && fmt.Sprint(answer["history"]) != "map[]" {
			t.Errorf("a group without history: %v", answer)
		}
	}
	if answer, _ := p.change(8, "s", m{"groups": []string{"log.a2"}, "recover": m{"log.a3": m{"offset": 0}}}); refusalOf(answer) != "FORBIDDEN log.a3" {
		t.Errorf("a group that is not joined: %v", answer)
	}
	q := connect(t, url)
	q.send(m{"op": 1, "data": m{"token": testToken, "group": "log.b", "features": withHistory["features"], "recover": m{"log.b": m{"offset": 0}}}})
	q.wantDisconnect("IDENTIFY", "IDENTIFY_FAILED", 4004)
	old := identify(t, url, "log.b", m{"recover": 7, "features": []string{"groups"}})
	if answer, _ := old.change(8, "s", m{"groups": []string{"log.a1"}, "recover": []string{"x"}}); answer["history"] != nil || answer["error"] != nil {
		t.Errorf("without the feature: %v", answer)
	}
}

// Members that come back while messages are sent at full rate get every number once, in order, and become live.
func TestRecoverAtFullRate(t *testing.T) {
	t.Parallel()
	bus := memory.NewBus()
	_, url := startHub(t, bus.Broker(), keeps(100_000))
	_, other := startHub(t, bus.Broker(), keeps(100_000))
	const senders, each = 3, 600
	var work sync.WaitGroup
	for i := range senders {
		s := identify(t, []string{url, other}[i%2], "senders", nil)
		work.Go(func() {
			for n := range each {
				s.send(event(fmt.Sprint(n), to("GROUP", "log")))
			}
		})
	}
	for i := range 8 {
		at := []string{url, other}[i%2]
		work.Go(func() {
			position := m{"offset": 0}
			last := 0
			for last < senders*each {
				p := identify(t, at, "y", withHistory)
				p.send(m{"op": 8, "id": "s", "data": m{"groups": []string{"log"}, "recover": m{"log": position}}})
				isLive := false
				for n := 0; last < senders*each && !(isLive && n > 200); {
					f := p.read()
					d, _ := f.Data.(m)
					switch {
					case f.Op == 11 && d["gap"] != nil:
						t.Errorf("a gap: %v", d)
					case f.Op == 11:
						isLive = isLive || d["live"] == true
						position["epoch"] = d["epoch"]
					case f.Op == 0:
						n++
						if int(f.Offset) != last+1 {
							t.Errorf("%d behind %d", f.Offset, last)
							return
						}
						last = int(f.Offset)
						position["offset"] = last
					}
				}
				_ = p.conn.CloseNow()
			}
		})
	}
	work.Wait()
}

// A sender that goes on to other messages waits: who gets both gets them in their order.
func TestOrderOverMixes(t *testing.T) {
	t.Parallel()
	bus := memory.NewBus()
	_, url := startHub(t, bus.Broker(), keeps(1000))
	_, other := startHub(t, bus.Broker(), keeps(1000))
	var members []*peer
	for i := range 6 {
		members = append(members, identify(t, []string{url, other}[i%2], "log", m{"groups": []string{"log2", "plain"}}))
	}
	sender := identify(t, url, "log", m{"features": []string{"groups"}, "groups": []string{"log2", "plain"}})
	members = append(members, sender)
	const n = 140
	for i := range n {
		id := fmt.Sprint(i)
		switch i % 7 {
		case 0, 1, 2:
			sender.send(event(id, to("GROUP", "log")))
		case 3:
			sender.send(event(id, to("GROUP", "plain")))
		case 4:
			sender.send(event(id, to("GROUP", "log2")))
		case 5:
			sender.send(event(id, to("GLOBAL")))
		case 6:
			for _, p := range members {
				sender.send(event(id, to("DIRECT", p.id)))
			}
		}
	}
	for i, p := range members {
		for k := range n {
			if f := p.read(); f.ID != fmt.Sprint(k) {
				t.Fatalf("member %d: got %s, want %d", i, f.ID, k)
			}
		}
	}
	// UNSUBSCRIBE waits, too: the own message comes before the answer.
	sender.send(event("own", to("GROUP", "log2")))
	if _, before := sender.change(9, "u", m{"groups": []string{"log2"}}); len(before) != 1 || before[0].ID != "own" {
		t.Errorf("before the answer to UNSUBSCRIBE came %+v", before)
	}
}
