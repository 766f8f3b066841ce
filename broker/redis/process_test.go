package redis

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/mastersocket/mastersocket/broker"
	"github.com/mastersocket/mastersocket/broker/brokertest"
	"github.com/mastersocket/mastersocket/internal/eventually"
	"github.com/mastersocket/mastersocket/internal/figure"
	"github.com/mastersocket/mastersocket/internal/redistest"
)

// childEnv makes the test binary run as an instance of its own: "url prefix node".
const childEnv = "BROKER_TEST_CHILD"

func TestMain(m *testing.M) {
	if spec := os.Getenv(childEnv); spec != "" {
		runChild(spec)
	}
	goleak.VerifyTestMain(m)
}

// runChild joins with a member of group g and publishes numbered messages until it is killed.
func runChild(spec string) {
	f := strings.Fields(spec)
	id, _ := strconv.ParseUint(f[2], 10, 32)
	b, err := New(Options{URL: f[0], Prefix: f[1]})
	if err == nil {
		err = b.Start(context.Background(), broker.Node{ID: broker.NodeID(id), Name: "child"}, printer{brokertest.NewRecorder()})
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	b.SetMembers("g", 1)
	b.SetMembers("", 1)
	subscribed := make(chan error)
	b.Subscribe("g", func(err error) { subscribed <- err })
	if err := <-subscribed; err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("ready")
	sender := uuid.New()
	tick := time.NewTicker(pace)
	for seq := range uint64(1 << 40) {
		b.Publish(&broker.Message{Kind: broker.KindGlobal, Sender: sender, Seq: seq}, nil)
		<-tick.C
	}
}

// printer prints the payloads of what is delivered to a child.
type printer struct{ *brokertest.Recorder }

func (printer) Deliver(m *broker.Message) {
	if len(m.Payload) > 0 {
		fmt.Printf("got %s\n", m.Payload)
	}
}

// childProcess is an instance in a process of its own.
type childProcess struct {
	*os.Process
	lines chan string // of its output, behind "ready"
}

// child starts an instance in a process of its own.
func child(t *testing.T, o Options, id broker.NodeID) childProcess {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %d", childEnv, o.URL, o.Prefix, id))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	in := bufio.NewScanner(out)
	if !in.Scan() || in.Text() != "ready" {
		t.Fatalf("child: %q, %v", in.Text(), in.Err())
	}
	lines := make(chan string, 1000)
	go func() { // ends with the process
		defer close(lines)
		for in.Scan() {
			lines <- in.Text()
		}
	}()
	return childProcess{cmd.Process, lines}
}

func has(in *brokertest.Instance, id broker.NodeID) bool {
	for _, n := range in.Nodes() {
		if n.ID == id {
			return true
		}
	}
	return false
}

// gone waits until in knows neither the instance nor its members, and says how long that took.
func gone(t *testing.T, in *brokertest.Instance, id broker.NodeID) time.Duration {
	t.Helper()
	began := time.Now()
	eventually.True(t, "the instance to be gone", func() bool {
		_, g := in.Draw([]byte("g"), 0, 0)
		_, all := in.Draw(nil, 0, 0)
		return !has(in, id) && !g && !all
	})
	return time.Since(began)
}

// risen checks that what in got of the child is in order and without duplicates.
func risen(t *testing.T, in *brokertest.Instance) uint64 {
	t.Helper()
	got := in.Deliveries()
	for i := range got {
		if i > 0 && got[i].Seq != got[i-1].Seq+1 {
			t.Fatalf("got %d after %d", got[i].Seq, got[i-1].Seq)
		}
	}
	return got[len(got)-1].Seq
}

// TestCrash kills an instance: it is gone within 5 s, with its members.
func TestCrash(t *testing.T) { // not parallel: it takes times
	s := redistest.Start(t)
	o := Options{URL: s.URL(), Prefix: uuid.NewString()}
	in := redisCluster(t, 2, o)
	id := in[0].ID ^ 0x5A5A5A5A
	p := child(t, o, id)
	for _, n := range in {
		eventually.True(t, "the child's member", func() bool { node, ok := n.Draw([]byte("g"), 0, 0); return ok && node == id })
		n.Await(t, "messages", func() bool { return len(n.Got) > 100 })
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	for _, n := range in {
		if took := gone(t, n, id); took > figure.Bound(5*time.Second) {
			t.Errorf("gone after %v", took)
		} else {
			t.Logf("gone after %v", took)
		}
		risen(t, n)
		if st := statsOf(n); st.LostNodes != 1 || st.Missed != 0 {
			t.Errorf("stats: %+v", st)
		}
	}
}

// TestPausedInstance stops an instance until its lease has ended, and once more while Redis restarts. It comes back,
// and nothing that it published comes twice.
func TestPausedInstance(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	o := Options{URL: s.URL(), Prefix: uuid.NewString()}
	in := redisCluster(t, 1, o)[0]
	id := in.ID ^ 0x5A5A5A5A
	p := child(t, o, id)
	in.Await(t, "messages", func() bool { return len(in.Got) > 100 })
	for round := range 2 {
		_ = p.Signal(syscall.SIGSTOP)
		if took := gone(t, in, id); took > figure.Bound(5*time.Second) {
			t.Errorf("gone after %v", took)
		}
		if round == 1 {
			s.Restart()
			awaitState(t, []*brokertest.Instance{in}, true)
		}
		before := risen(t, in)
		_ = p.Signal(syscall.SIGCONT)
		eventually.True(t, "the instance to be back", func() bool { node, ok := in.Draw([]byte("g"), 0, 0); return ok && node == id })
		in.Await(t, "messages", func() bool { return in.Got[len(in.Got)-1].Seq > before+1000 })
		risen(t, in)
	}
	if st := statsOf(in); st.Missed != 0 {
		t.Errorf("stats: %+v", st)
	}
}

// TestPausedInstanceWasRefused pauses an instance until the others take it for dead. Messages for it are refused then,
// though Redis counts its connections, and it does not deliver them when it goes on.
func TestPausedInstanceWasRefused(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	o := Options{URL: s.URL(), Prefix: uuid.NewString()}
	in := redisCluster(t, 1, o)[0]
	id := in.ID ^ 0x5A5A5A5A
	p := child(t, o, id)
	message := func(kind broker.Kind, payload string) *broker.Message {
		m := &broker.Message{Kind: kind, Group: []byte("g"), Payload: []byte(payload)}
		if kind >= broker.KindDirect {
			m.To = id
		}
		return m
	}
	kinds := []broker.Kind{
		broker.KindGlobal, broker.KindGroup, broker.KindDirect, broker.KindAny, broker.KindReturned, broker.KindPresence,
	}
	for _, kind := range kinds {
		if n, err := in.Outcome(t, message(kind, "before")); n != 1 || err != nil {
			t.Errorf("kind %d before: %d instances, %v", kind, n, err)
		}
		if line := <-p.lines; line != "got before" {
			t.Fatalf("child: %q", line)
		}
	}
	_ = p.Signal(syscall.SIGSTOP)
	gone(t, in, id)
	if n := s.Do("PUBSUB", "NUMSUB", o.Prefix+":node:"+nodeHex(id)); !strings.HasSuffix(strings.TrimSpace(n), "1") {
		t.Errorf("Redis has given up the paused instance: the test shows nothing: %q", n)
	}
	for _, kind := range kinds {
		if n, err := in.Outcome(t, message(kind, "meanwhile")); n != 0 || err != nil {
			t.Errorf("kind %d to a paused instance: %d instances, %v", kind, n, err)
		}
	}
	_ = p.Signal(syscall.SIGCONT)
	eventually.True(t, "the instance to be back", func() bool { node, ok := in.Draw([]byte("g"), 0, 0); return ok && node == id })
	for _, kind := range kinds {
		if n, err := in.Outcome(t, message(kind, "after")); n != 1 || err != nil {
			t.Errorf("kind %d after: %d instances, %v", kind, n, err)
		}
		if line := <-p.lines; line != "got after" {
			t.Fatalf("child: %q", line)
		}
	}
}

// TestLeaseTaken gives an instance's lease to another process: the instance must stop, and comes back when the lease is
// free.
func TestLeaseTaken(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	o := quick(s.URL())
	in := redisCluster(t, 1, o)[0]
	awaitState(t, []*brokertest.Instance{in}, true)
	key := o.Prefix + ":lease:" + nodeHex(in.ID)
	s.Do("SET", key, formatRun(1)+"{}", "PX", "2000")
	awaitState(t, []*brokertest.Instance{in}, false)
	if got := in.State().Err; !strings.Contains(got, broker.ErrNodeIDTaken.Error()) {
		t.Errorf("reason: %q", got)
	}
	if got := s.Do("GET", key); !strings.HasPrefix(got, formatRun(1)) {
		t.Errorf("the lease was overwritten with %q", got)
	}
	awaitState(t, []*brokertest.Instance{in}, true)
}
