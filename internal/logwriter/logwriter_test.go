package logwriter

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAllLinesInOrder(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	w := New(&out)
	want := ""
	for i := range 1000 {
		line := fmt.Sprintln("line", i)
		want += line
		if n, err := io.WriteString(w, line); n != len(line) || err != nil {
			t.Fatal(n, err)
		}
	}
	if !w.Close(time.Minute) || out.String() != want {
		t.Errorf("got %d bytes, want %d", out.Len(), len(want))
	}
}

func TestStuckReaderBlocksNobody(t *testing.T) {
	t.Parallel()
	r, pipe := io.Pipe() // without a reader
	w := New(pipe)
	line := []byte(strings.Repeat("x", 1023) + "\n")
	const lines = 4 * maxBytes / 1024
	for range lines {
		if _, err := w.Write(line); err != nil {
			t.Fatal(err)
		}
	}
	if w.Close(time.Millisecond) {
		t.Error("closed though nothing reads")
	}
	got := make(chan int)
	go func() { // a reader comes
		b, err := io.ReadAll(r)
		if err != nil {
			t.Error(err)
		}
		got <- bytes.Count(b, []byte("\n"))
	}()
	<-w.done
	_ = pipe.Close()
	if n := <-got; n == 0 || n >= lines {
		t.Errorf("%d of %d lines got through, want those that fit", n, lines)
	}
}

func TestDroppedLinesAreCounted(t *testing.T) {
	t.Parallel()
	r, pipe := io.Pipe()
	w := New(pipe)
	line := []byte(strings.Repeat("x", 1023) + "\n")
	for range 2 * maxBytes / 1024 {
		_, _ = w.Write(line)
	}
	lines := make(chan string, 1)
	go func() {
		b, _ := io.ReadAll(io.LimitReader(r, 1<<30))
		lines <- string(b)
	}()
	for { // until there is room again
		w.mu.Lock()
		room := w.waiting.Len() == 0
		w.mu.Unlock()
		if room {
			break
		}
		_, _ = w.Write(nil)
	}
	_, _ = io.WriteString(w, "last\n")
	if !w.Close(time.Minute) {
		t.Error("not closed")
	}
	_ = pipe.Close()
	if got := <-lines; !strings.Contains(got, " log lines were dropped here") || !strings.HasSuffix(got, "last\n") {
		t.Errorf("the log ends with %q", got[max(len(got)-200, 0):])
	}
}
