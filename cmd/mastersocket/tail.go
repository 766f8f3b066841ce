package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxTailLine bounds a line of the stream: a message of the largest size, escaped.
const maxTailLine = 64 << 20

// tailCmd prints the events to a group without joining it.
type tailCmd struct {
	adminAPI `embed:""`

	Group     string `short:"g" xor:"what" required:"" placeholder:"GROUP" help:"Print events to this group."`
	Global    bool   `xor:"what" required:"" help:"Print events to all clients."`
	Client    string `xor:"what" required:"" placeholder:"ID" help:"Print what this client sends and gets, whatever the target."`
	OfToken   string `name:"of-token" xor:"what" required:"" placeholder:"NAME" help:"Print what the clients with the token of this name send and get."`
	Event     string `short:"e" placeholder:"NAME" help:"Print only events of this name."`
	PerSecond int    `default:"50" placeholder:"N" help:"Print at most so many a second, from 1 to 500 (default: ${default}); others are counted."`
	Count     int    `short:"n" placeholder:"N" help:"End after so many messages."`
}

// Help is the longer help.
func (*tailCmd) Help() string {
	return `Prints a sample of the events to a group, of those to all clients, or of all messages from and to one client or the
clients of one token, on all instances. It joins no group and slows no client down: events beyond --per-second are left out,
and counted on standard error at the end.

text: time, event, data and sender; of clients also <- for what comes from one, or -> for what goes to it, with its name.
json: at and message, the whole envelope, and names.` + tokenHelp
}

// Run prints messages until it is told to end.
func (c *tailCmd) Run(s streams) error {
	if c.PerSecond < 1 || c.PerSecond > 500 || c.Count < 0 {
		return usageError{errors.New("want --per-second from 1 to 500 and --count of 0 or more")}
	}
	ctx, stop := interruptible()
	defer stop()
	a, err := c.open(ctx)
	if err != nil {
		return err
	}
	query := values("group", c.Group, "client", c.Client, "token", c.OfToken, "event", c.Event, "per_second", strconv.Itoa(c.PerSecond))
	if c.Global {
		query.Set("global", "true")
	}
	resp, err := a.send(ctx, call{method: http.MethodGet, path: "/v1/tail", query: query, accept: "text/event-stream"})
	if err != nil {
		return interruptedOr(ctx, err)
	}
	defer resp.Body.Close()
	printed := 0
	var counts tailCounts
	err = eachEvent(resp.Body, func(event string, data []byte) error {
		switch event {
		case "open":
			open, err := decode[struct {
				Missing []string `json:"missing"`
			}](data)
			if err != nil {
				return err
			}
			if len(open.Missing) > 0 {
				fmt.Fprintf(s.err, "mastersocket: not on %s: no answer, or a release that can't\n", visible(strings.Join(open.Missing, ", ")))
			}
			fmt.Fprintln(s.err, "mastersocket: watching")
		case "counts":
			counts, _ = decode[tailCounts](data) // the last ones stay if it can't be read
		case "message":
			text, err := c.format(data)
			if err != nil {
				return err
			}
			if _, err := s.out.Write(text); err != nil {
				return err
			}
			if printed++; printed == c.Count {
				return io.EOF
			}
		}
		return nil
	})
	if errors.Is(err, io.EOF) {
		return nil
	}
	if counts.LeftOut > 0 {
		fmt.Fprintf(s.err, "mastersocket: %d of %d events were left out\n", counts.LeftOut, counts.Seen)
	}
	switch {
	case ctx.Err() != nil && c.Count > 0:
		return errInterrupted
	case ctx.Err() != nil:
		return nil
	}
	return err
}

// errStreamEnded: the hub ended a stream.
var errStreamEnded = errors.New("the hub ended the stream")

// eachEvent calls f for the events of a stream until that returns an error, which eachEvent returns, or the stream ends.
func eachEvent(stream io.Reader, f func(event string, data []byte) error) error {
	lines := bufio.NewScanner(stream)
	lines.Buffer(make([]byte, 64<<10), maxTailLine)
	event := ""
	for lines.Scan() {
		line := lines.Bytes()
		if name, ok := bytes.CutPrefix(line, []byte("event: ")); ok {
			event = string(name)
		} else if data, ok := bytes.CutPrefix(line, []byte("data: ")); ok {
			if err := f(event, data); err != nil {
				return err
			}
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("the stream was interrupted: %w", err)
	}
	return errStreamEnded
}

// tailCounts is the data of an event counts of the stream.
type tailCounts struct {
	Seen    uint64 `json:"seen"`
	LeftOut uint64 `json:"left_out"`
}

// format returns the line that is printed of a message of the stream.
func (c *tailCmd) format(data []byte) ([]byte, error) {
	if c.Output == "json" {
		return append(compact(data), '\n'), nil
	}
	m, err := decode[struct {
		At      time.Time `json:"at"`
		Message struct {
			Event  string          `json:"event"`
			Data   json.RawMessage `json:"data"`
			Sender string          `json:"sender"`
		} `json:"message"`
		Sender     string `json:"sender_name"`
		Direction  string `json:"direction"`
		Client     string `json:"client"`
		ClientName string `json:"client_name"`
	}](data)
	if err != nil {
		return nil, err
	}
	event := m.Message.Event
	if event == "" || visible(event) != event || strings.ContainsAny(event, " \"") {
		event = strconv.Quote(event)
	}
	line := m.At.Local().Format("15:04:05.000") + " "
	if m.Direction != "" {
		arrow := map[string]string{"in": "<-", "out": "->"}[m.Direction]
		line += fmt.Sprintf("%s %s ", arrow, visible(strings.TrimSpace(m.ClientName+" "+m.Client)))
	}
	line += event
	if m.Message.Data != nil {
		line += " " + visible(string(compact(m.Message.Data)))
	}
	if m.Message.Sender != "" {
		line += " from " + visible(strings.TrimSpace(m.Sender+" "+m.Message.Sender))
	}
	return append([]byte(line), '\n'), nil
}
