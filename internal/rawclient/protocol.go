package rawclient

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Ops of envelopes.
const (
	OpEvent      = 0
	OpIdentify   = 1
	OpDisconnect = 2
	OpPING       = 3
	OpPONG       = 4
	OpReply      = 5
	OpError      = 6
	OpAck        = 7
)

// Envelope is a message of the hub.
type Envelope struct {
	Op     *int            `json:"op"`
	ID     string          `json:"id"`
	Event  string          `json:"event"`
	Data   json.RawMessage `json:"data"`
	Intent json.RawMessage `json:"intent"`
	Sender string          `json:"sender"`
	Raw    []byte          `json:"-"` // the message as it arrived
}

// Is reports whether the envelope has the given op.
func (e Envelope) Is(op int) bool { return e.Op != nil && *e.Op == op }

// String returns the message as it arrived, truncated to 300 bytes.
func (e Envelope) String() string { return fmt.Sprintf("%.300s", e.Raw) }

// Send sends a message: as a text frame on a WebSocket, unframed over TCP.
func (c *Conn) Send(message string) error {
	if c.ws {
		return c.Write(Text(message).Bytes())
	}
	return c.Write([]byte(message))
}

// SendClose begins the closing handshake. End then does not answer the server's close frame.
func (c *Conn) SendClose(code int, reason string) error {
	return c.WriteClosing(Closing(code, reason).Bytes())
}

// WriteClosing writes bytes that contain a close frame, which may be malformed; see SendClose.
func (c *Conn) WriteClosing(b []byte) error {
	c.closed = true
	return c.Write(b)
}

// Receive reads the hub's next message. On a WebSocket it answers pings. The connection's end is an error: io.EOF, ErrReset,
// ErrTimeout, or a *ClosedError for a close frame.
func (c *Conn) Receive() (Envelope, error) {
	if !c.ws {
		return c.receiveLine()
	}
	for {
		op, p, err := c.ReadMessage()
		switch {
		case err != nil:
			return Envelope{}, err
		case op == OpText:
			return parseEnvelope(p)
		case op == OpBinary:
			return Envelope{}, violation("binary message %.80q", p)
		case op == OpPing:
			if err := c.Write(Control(OpPong, string(p)).Bytes()); err != nil {
				return Envelope{}, err
			}
		case op == OpClose:
			return Envelope{}, closedError(p)
		}
	}
}

// receiveLine reads one JSON value and the newline behind it. The value may contain newlines, since the hub forwards data
// byte for byte.
func (c *Conn) receiveLine() (Envelope, error) {
	c.arm()
	var text []byte
	for {
		part, err := c.br.ReadSlice('\n')
		text = append(text, part...)
		switch {
		case err == nil:
			if value := text[:len(text)-1]; json.Valid(value) {
				return parseEnvelope(value)
			}
		case err == io.EOF && len(text) > 0:
			return Envelope{}, violation("the connection ended within %.80q", text)
		case translate(err) == ErrTimeout && len(text) > 0:
			return Envelope{}, violation("no JSON value: %.80q", text)
		case !errors.Is(err, bufio.ErrBufferFull) || len(text) > maxFrame:
			return Envelope{}, translate(err)
		}
	}
}

func parseEnvelope(p []byte) (Envelope, error) {
	e := Envelope{Raw: p}
	if err := json.Unmarshal(p, &e); err != nil {
		return e, violation("message %.200q is no envelope: %v", p, err)
	}
	if e.Op == nil {
		return e, violation("message %.200q has no op", p)
	}
	return e, nil
}

// ClosedError is the server's close frame.
type ClosedError struct {
	Code   int // 1005 if the frame had none
	Reason string
}

// Error returns the code and the reason.
func (e *ClosedError) Error() string { return fmt.Sprintf("closed with %d %q", e.Code, e.Reason) }

func closedError(p []byte) error {
	if len(p) < 2 {
		return &ClosedError{Code: 1005}
	}
	return &ClosedError{Code: int(binary.BigEndian.Uint16(p)), Reason: string(p[2:])}
}

// Identify identifies and returns the client's id. more is appended to the data of IDENTIFY: empty, or further members with
// a leading comma.
func (c *Conn) Identify(token, group, more string) (id string, err error) {
	err = c.Send(fmt.Sprintf(`{"op":1,"data":{"token":%s,"group":%s%s}}`, quote(token), quote(group), more))
	if err != nil {
		return "", fmt.Errorf("identify: %w", err)
	}
	e, err := c.Receive()
	if err != nil {
		return "", fmt.Errorf("identify: %w", err)
	}
	var data struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(e.Data, &data); !e.Is(OpIdentify) || err != nil || data.ID == "" {
		return "", fmt.Errorf("identify: answered with %v", e)
	}
	return data.ID, nil
}

func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string can always be encoded
	}
	return string(b)
}

// Quiet sends a PING and expects its PONG to be the next message. The hub answers in order, so that nothing was on its way
// to this client.
func (c *Conn) Quiet() error {
	if err := c.Send(`{"op":3}`); err != nil {
		return fmt.Errorf("ping: %w", err)
	}
	e, err := c.Receive()
	switch {
	case err != nil:
		return fmt.Errorf("wait for pong: %w", err)
	case !e.Is(OpPONG):
		return fmt.Errorf("wait for pong: got %v", e)
	}
	return nil
}

// End describes how the hub ended a connection.
type End struct {
	Before    []Envelope // messages before the DISCONNECT
	Said      string     // the DISCONNECT's data; empty if there was none
	Code      int        // of the close frame: 0 if there was none, 1005 if it had none
	Reason    string     // of the close frame
	Transport error      // io.EOF after an orderly close, ErrReset, or ErrTimeout if it stayed open
}

// String returns the end in one line.
func (e End) String() string {
	return fmt.Sprintf("%d messages, DISCONNECT %q, close %d %q, then %v", len(e.Before), e.Said, e.Code, e.Reason, e.Transport)
}

// End reads until the hub has ended the connection. It answers the close frame unless SendClose was called. A message behind
// DISCONNECT, a frame behind the close frame, and anything that ReadFrame refuses is an error.
func (c *Conn) End() (End, error) {
	var end End
	disconnected := false
	for {
		e, err := c.Receive()
		var closed *ClosedError
		switch {
		case errors.As(err, &closed):
			end.Code, end.Reason = closed.Code, closed.Reason
			if !c.closed {
				// The peer may already be gone.
				_ = c.Write(echoClose(closed).Bytes())
			}
			continue
		case err == io.EOF, errors.Is(err, ErrReset), errors.Is(err, ErrTimeout):
			end.Transport = err
			return end, nil
		case err != nil:
			return end, err
		case disconnected:
			return end, violation("message %v behind DISCONNECT", e)
		case !e.Is(OpDisconnect):
			end.Before = append(end.Before, e)
			continue
		}
		disconnected = true
		if err := json.Unmarshal(e.Data, &end.Said); err != nil || end.Said == "" {
			return end, violation("DISCONNECT %v gives no reason", e)
		}
	}
}

func echoClose(e *ClosedError) Frame {
	if e.Code == 1005 {
		return Control(OpClose, "")
	}
	return Closing(e.Code, "")
}
