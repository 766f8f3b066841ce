package client

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 30 * time.Second

// serve runs a server that handles connection n with the n-th function, and all later ones with the last.
func serve(t *testing.T, each ...func(ctx context.Context, c *websocket.Conn)) (url string) {
	t.Helper()
	var n atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer func() { _ = c.CloseNow() }()
		each[min(int(n.Add(1)), len(each))-1](r.Context(), c)
	}))
	t.Cleanup(s.Close)
	return "ws" + strings.TrimPrefix(s.URL, "http") + "/echo"
}

func say(ctx context.Context, c *websocket.Conn, s string) {
	_ = c.Write(ctx, websocket.MessageText, []byte(s))
}

func hear(ctx context.Context, c *websocket.Conn) string {
	_, b, _ := c.Read(ctx)
	return string(b)
}

// acknowledge answers the message with its ok and waits for the client's Close frame.
func acknowledge(ctx context.Context, c *websocket.Conn) {
	say(ctx, c, "ok "+strings.TrimPrefix(hear(ctx, c), "message "))
	hear(ctx, c)
}

// unresponsive never answers.
func unresponsive(ctx context.Context, c *websocket.Conn) {
	for {
		if _, _, err := c.Read(ctx); err != nil {
			return
		}
	}
}

func send(t *testing.T, o Options) (Result, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return Send(ctx, o)
}

func TestSendEndsWithTheOK(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"hello", "", "a\nb", "größe \U0001F600", strings.Repeat("x", 100_000)} {
		url := serve(t, func(ctx context.Context, c *websocket.Conn) {
			c.SetReadLimit(1 << 20)
			acknowledge(ctx, c)
		})
		if r, err := send(t, Options{URL: url, Text: text, Timeout: patience}); err != nil || r.Connections != 1 || r.Wait <= 0 {
			t.Errorf("%+v, %v", r, err)
		}
	}
}

func TestSendAnswersMessages(t *testing.T) {
	t.Parallel()
	got := make(chan string, 2)
	url := serve(t, func(ctx context.Context, c *websocket.Conn) {
		hear(ctx, c)
		say(ctx, c, "message a\nb")
		say(ctx, c, "message ")
		got <- hear(ctx, c)
		got <- hear(ctx, c)
		if err := c.Ping(c.CloseRead(ctx)); err != nil {
			got <- err.Error()
		}
		say(ctx, c, "ok x")
		<-c.CloseRead(ctx).Done()
	})
	for _, delay := range []time.Duration{0, time.Millisecond} {
		r, err := send(t, Options{URL: url, Text: "x", Timeout: patience, Delay: func() time.Duration { return delay }})
		if err != nil || r.Answered != 2 {
			t.Errorf("%+v, %v", r, err)
		}
		if a, b := <-got, <-got; a != "ok a\nb" && b != "ok a\nb" || a != "ok " && b != "ok " {
			t.Errorf("answered %q and %q", a, b)
		}
	}
}

func TestSendConnectsAgain(t *testing.T) {
	t.Parallel()
	again := make(chan string, 1)
	url := serve(t, unresponsive,
		func(ctx context.Context, c *websocket.Conn) {
			hear(ctx, c)
			_ = c.Close(websocket.StatusServiceRestart, "SERVER_RESTART")
		},
		func(ctx context.Context, c *websocket.Conn) { _ = c.CloseNow() },
		func(ctx context.Context, c *websocket.Conn) {
			s := hear(ctx, c)
			again <- s
			say(ctx, c, "ok "+strings.TrimPrefix(s, "message "))
			hear(ctx, c)
		})
	r, err := send(t, Options{URL: url, Text: "x", Timeout: 50 * time.Millisecond, Tries: 100})
	if err != nil || r.Connections < 4 || <-again != "message x" {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestSendGivesUp(t *testing.T) {
	t.Parallel()
	closing := func(code websocket.StatusCode, reason string) func(context.Context, *websocket.Conn) {
		return func(ctx context.Context, c *websocket.Conn) {
			hear(ctx, c)
			_ = c.Close(code, reason)
		}
	}
	saying := func(s string) func(context.Context, *websocket.Conn) {
		return func(ctx context.Context, c *websocket.Conn) {
			hear(ctx, c)
			say(ctx, c, s)
			hear(ctx, c)
		}
	}
	var closed wsutil.ClosedError
	for name, tc := range map[string]struct {
		server      func(context.Context, *websocket.Conn)
		is          func(error) bool
		connections int
	}{
		"late":      {unresponsive, func(err error) bool { return errors.Is(err, errLate) }, 2},
		"closed":    {closing(websocket.StatusTryAgainLater, "TRY_AGAIN_LATER"), func(err error) bool { return errors.As(err, &closed) && closed.Reason == "TRY_AGAIN_LATER" }, 2},
		"too big":   {closing(websocket.StatusMessageTooBig, ""), func(err error) bool { return errors.As(err, new(wsutil.ClosedError)) }, 1},
		"wrong ok":  {saying("ok y"), func(err error) bool { return errors.Is(err, ErrProtocol) }, 1},
		"no frame":  {saying("hello"), func(err error) bool { return errors.Is(err, ErrProtocol) }, 1},
		"empty":     {saying(""), func(err error) bool { return errors.Is(err, ErrProtocol) }, 1},
		"cut short": {func(ctx context.Context, c *websocket.Conn) { hear(ctx, c); _ = c.CloseNow() }, func(err error) bool { return errors.Is(err, io.EOF) }, 2},
		"binary": {func(ctx context.Context, c *websocket.Conn) {
			hear(ctx, c)
			_ = c.Write(ctx, websocket.MessageBinary, []byte("ok x"))
			hear(ctx, c)
		}, func(err error) bool { return errors.Is(err, ErrProtocol) }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			timeout := patience
			if name == "late" {
				timeout = 20 * time.Millisecond
			}
			r, err := send(t, Options{URL: serve(t, tc.server), Text: "x", Timeout: timeout, Tries: 2})
			if err == nil || !tc.is(err) || r.Connections != tc.connections {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
}

func TestSendWithoutServer(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.NotFoundHandler())
	url := "ws" + strings.TrimPrefix(s.URL, "http")
	var status ws.StatusError
	if _, err := send(t, Options{URL: url, Text: "x"}); !errors.As(err, &status) || status != http.StatusNotFound {
		t.Error(err)
	}
	s.Close()
	if _, err := send(t, Options{URL: url, Text: "x", Tries: 1}); err == nil {
		t.Error("sent without a server")
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	if _, err := Send(ctx, Options{URL: url}); err == nil || !strings.Contains(err.Error(), "enough") {
		t.Error(err)
	}
}

func TestSendEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	_, err := Send(ctx, Options{URL: serve(t, unresponsive), Text: "x", On: func(e Event) bool {
		if e == Sent {
			cancel()
		}
		return false
	}})
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// A connection that On cuts ends with a RST, and the message is sent again.
func TestSendCut(t *testing.T) {
	t.Parallel()
	for _, at := range []Event{Sent, Given} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 2)
		go func() {
			for range 2 {
				nc, err := l.Accept()
				if err != nil {
					return
				}
				ended <- converse(nc, at == Given)
			}
		}()
		cuts := 0
		r, err := send(t, Options{URL: "ws://" + l.Addr().String() + "/echo", Text: "x", Timeout: patience, On: func(e Event) bool {
			if e != at || cuts > 0 {
				return false
			}
			cuts++
			return true
		}})
		if err != nil || r.Connections != 2 {
			t.Errorf("%+v, %v", r, err)
		}
		if err := <-ended; err == nil || !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
			t.Errorf("the first connection ended with %v, want a reset", err)
		}
		if err := <-ended; err != nil {
			t.Errorf("the second connection: %v", err)
		}
		_ = l.Close()
	}
}

// converse serves one connection: it may give the client a message, and waits for the answer or for the Close frame.
func converse(nc net.Conn, give bool) error {
	defer func() { _ = nc.Close() }()
	br := bufio.NewReader(nc)
	rw := struct {
		io.Reader
		io.Writer
	}{br, nc}
	if _, err := ws.Upgrade(rw); err != nil {
		return err
	}
	if _, err := wsutil.ReadClientText(rw); err != nil {
		return err
	}
	if give {
		if err := wsutil.WriteServerText(rw, []byte("message y")); err != nil {
			return err
		}
		if _, err := wsutil.ReadClientText(rw); err != nil {
			return err
		}
	}
	if err := wsutil.WriteServerText(rw, []byte("ok x")); err != nil {
		return err
	}
	_, err := wsutil.ReadClientText(rw)
	if errors.As(err, new(wsutil.ClosedError)) {
		return nil
	}
	return err
}
