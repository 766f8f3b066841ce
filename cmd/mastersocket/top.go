package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/term"
)

// topCmd shows what is busiest.
type topCmd struct {
	adminAPI `embed:""`

	Sort   string        `enum:"messages_in,bytes_in,messages_out,bytes_out" default:"messages_in" help:"The rate that counts (${enum}; default: ${default})."`
	Window string        `enum:"10s,5m" default:"10s" help:"Its window (${enum}; default: ${default})."`
	Limit  int           `short:"n" default:"10" placeholder:"N" help:"Print so many clients, groups and tokens each, from 1 to 100 (default: ${default}). In a terminal, as many as fit."`
	Every  time.Duration `default:"2s" placeholder:"TIME" help:"In a terminal: ask so often (default: ${default})."`
	Once   bool          `help:"Print once, also in a terminal."`
}

// Help is the longer help.
func (*topCmd) Help() string {
	return `Shows the clients, groups and tokens of all instances with the highest rates of messages.

In a terminal it stays, and takes keys: c clients, g groups, t tokens, i instances; 1 to 4 sort by messages in, bytes in,
messages out, bytes out; w changes the window; j and k, or the arrows, select a client, and K disconnects it; q ends.
Elsewhere, and with --once, it prints what is busiest and ends. json: the answer of the admin API.` + tokenHelp
}

// topRates are rates a second.
type topRates struct {
	In       float64 `json:"messages_in"`
	InBytes  float64 `json:"bytes_in"`
	Out      float64 `json:"messages_out"`
	OutBytes float64 `json:"bytes_out"`
}

// topEntry is a client, a group or a token.
type topEntry struct {
	ID        string   `json:"id"`
	Node      string   `json:"node"`
	Name      string   `json:"name"`
	Token     string   `json:"token"`
	Connected bool     `json:"connected"`
	Short     topRates `json:"rates_10s"`
	Long      topRates `json:"rates_5m"`
}

// topAnswer is the answer of the API.
type topAnswer struct {
	Clients []topEntry `json:"clients"`
	Groups  []topEntry `json:"groups"`
	Tokens  []topEntry `json:"tokens"`
	Missing []string   `json:"missing"`
}

// Run prints what is busiest, once or until it is told to end.
func (c *topCmd) Run(s streams) error {
	if c.Limit < 1 || c.Limit > 100 || c.Every < 100*time.Millisecond {
		return usageError{fmt.Errorf("want --limit from 1 to 100 and --every of 100ms or more")}
	}
	ctx, stop := interruptible()
	defer stop()
	a, err := c.open(ctx)
	if err != nil {
		return err
	}
	in, out := terminalOf(s)
	if in == nil || c.Once || c.Output == "json" {
		return interruptedOr(ctx, c.once(ctx, a, s))
	}
	return c.live(ctx, a, in, out)
}

// terminalOf returns the terminal that a command reads and writes; nil where it has none.
func terminalOf(s streams) (in, out *os.File) {
	in, _ = s.in.(*os.File)
	out, _ = s.out.(*os.File)
	if in == nil || out == nil || !term.IsTerminal(int(in.Fd())) || !term.IsTerminal(int(out.Fd())) {
		return nil, nil
	}
	return in, out
}

// ask asks for what is busiest.
func ask(ctx context.Context, a *api, sort, window string, limit int) (json.RawMessage, error) {
	return a.call(ctx, call{method: http.MethodGet, path: "/v1/top", query: values("sort", sort, "window", window, "limit", strconv.Itoa(limit))})
}

func (c *topCmd) once(ctx context.Context, a *api, s streams) error {
	b, err := ask(ctx, a, c.Sort, c.Window, c.Limit)
	if err != nil {
		return err
	}
	if c.Output == "json" {
		return printLine(s.out, b)
	}
	answer, err := decode[topAnswer](b)
	if err != nil {
		return err
	}
	warnMissing(s.err, answer.Missing)
	v := topView{sort: c.Sort, window: c.Window, answer: answer, selected: -1}
	for i, kind := range []string{"clients", "groups", "tokens"} {
		if i > 0 {
			fmt.Fprintln(s.out)
		}
		v.kind = kind
		if err := v.table(s.out, c.Limit); err != nil {
			return err
		}
	}
	return nil
}

// topView is what the terminal shows. Its methods do no I/O but on the writer that they are given.
type topView struct {
	kind         string // clients, groups, tokens or instances
	sort, window string
	selected     int  // place of a client; -1 for none
	asking       bool // whether the selected client is to be disconnected
	note         string
	answer       topAnswer
	nodes        []node
}

// topSorts are the rates in the order of their keys.
var topSorts = []string{"messages_in", "bytes_in", "messages_out", "bytes_out"}

// topKinds are the lists by their keys.
var topKinds = map[byte]string{'c': "clients", 'g': "groups", 't': "tokens", 'i': "instances"}

// topAction is what a key asks for beyond a change of the view.
type topAction int

const (
	topNothing topAction = iota
	topEnd
	topKick // the selected client
)

// key handles what was typed: one key, or the sequence of an arrow.
func (v *topView) key(typed string) topAction {
	if v.asking {
		v.asking = false
		if typed == "y" {
			return topKick
		}
		v.note = "nothing was done"
		return topNothing
	}
	v.note = ""
	switch typed {
	case "q", "\x03", "\x04", "\x1b":
		return topEnd
	case "w":
		v.window = map[string]string{"10s": "5m", "5m": "10s"}[v.window]
	case "1", "2", "3", "4":
		v.sort = topSorts[typed[0]-'1']
	case "j", "\x1b[B":
		v.selected = min(v.selected+1, len(v.answer.Clients)-1)
	case "k", "\x1b[A":
		v.selected = max(v.selected-1, 0)
	case "K":
		if c := v.client(); c == nil {
			v.note = "select a client with j and k first"
		} else {
			v.asking, v.note = true, fmt.Sprintf("disconnect %s %s? y for yes", c.Name, c.ID)
		}
	default:
		if len(typed) == 1 && topKinds[typed[0]] != "" {
			v.kind = topKinds[typed[0]]
		}
	}
	return topNothing
}

// client returns the selected client; nil for none.
func (v *topView) client() *topEntry {
	if v.kind != "clients" || v.selected < 0 || v.selected >= len(v.answer.Clients) {
		return nil
	}
	return &v.answer.Clients[v.selected]
}

// take takes a new answer. The selection stays with its client.
func (v *topView) take(answer topAnswer) {
	c := v.client()
	v.answer = answer
	if c != nil {
		v.selected = slices.IndexFunc(answer.Clients, func(e topEntry) bool { return e.ID == c.ID })
		v.asking = v.asking && v.selected >= 0
	}
}

// table prints the list.
func (v *topView) table(w io.Writer, limit int) error {
	if v.kind == "instances" {
		t := newTable(w, "INSTANCE", "STATE", "CLIENTS", "GROUPS", "UNSENT", "LAG", "UP")
		for _, n := range v.nodes[:min(len(v.nodes), limit)] {
			clients := 0
			for _, count := range n.Connections {
				clients += count
			}
			t.row(n.Name, n.state(), clients, n.Groups, bytesText(n.QueueBytes), time.Duration(n.Lag*float64(time.Second)).Round(time.Microsecond), since(n.Started))
		}
		return t.flush()
	}
	figures := []string{"MSG/S IN", "BYTES/S IN", "MSG/S OUT", "BYTES/S OUT"}
	for i, s := range topSorts {
		if s == v.sort {
			figures[i] += "*"
		}
	}
	rates := func(e *topEntry) []any {
		r := e.Short
		if v.window == "5m" {
			r = e.Long
		}
		return []any{rateText(r.In), bytesText(uint64(r.InBytes)), rateText(r.Out), bytesText(uint64(r.OutBytes))}
	}
	if v.kind != "clients" {
		list, head := v.answer.Groups, "GROUP"
		if v.kind == "tokens" {
			list, head = v.answer.Tokens, "TOKEN"
		}
		t := newTable(w, append(figures, head)...)
		for i := range list[:min(len(list), limit)] {
			t.row(append(rates(&list[i]), list[i].Name)...)
		}
		return t.flush()
	}
	t := newTable(w, append(figures, "CLIENT", "ID", "INSTANCE", "TOKEN")...)
	for i := range v.answer.Clients[:min(len(v.answer.Clients), limit)] {
		e := &v.answer.Clients[i]
		name := e.Name
		if !e.Connected {
			name += " (gone)"
		}
		t.row(append(rates(e), name, e.ID, e.Node, e.Token)...)
	}
	return t.flush()
}

// rateText writes a rate with few digits.
func rateText(r float64) string {
	if r > 0 && r < 10 {
		return strconv.FormatFloat(r, 'f', 1, 64)
	}
	return strconv.FormatFloat(r, 'f', 0, 64)
}

// render returns a screen of that size.
func (v *topView) render(width, height int) string {
	var b strings.Builder
	state := ""
	if len(v.answer.Missing) > 0 {
		state = " · no answer of " + visible(strings.Join(v.answer.Missing, ", "))
	}
	lines := []string{fmt.Sprintf("%s by %s over %s%s", v.kind, v.sort, v.window, state), visible(v.note)}
	_ = v.table(&b, max(height-4, 1)) // a strings.Builder takes all
	table := strings.Split(strings.TrimRight(b.String(), "\n"), "\n")
	lines = append(lines, table...)
	for len(lines) < height-1 {
		lines = append(lines, "")
	}
	lines = append(lines[:max(height-1, 0)], "c clients  g groups  t tokens  i instances  1-4 sort  w window  j/k select  K kick  q end")
	var screen strings.Builder
	screen.WriteString("\x1b[H")
	for i, line := range lines {
		if cut := []rune(line); len(cut) > width {
			line = string(cut[:width])
		}
		if i == v.selected+3 && v.client() != nil { // below title, note and head
			line = "\x1b[7m" + line + "\x1b[0m"
		}
		screen.WriteString(line + "\x1b[K")
		if i < len(lines)-1 {
			screen.WriteString("\r\n")
		}
	}
	return screen.String()
}

// live shows what is busiest until it is told to end.
func (c *topCmd) live(ctx context.Context, a *api, in, out *os.File) error {
	before, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return fmt.Errorf("read keys: %w", err)
	}
	defer func() {
		_, _ = io.WriteString(out, "\x1b[?25h\x1b[?1049l")
		_ = term.Restore(int(in.Fd()), before)
	}()
	if _, err := io.WriteString(out, "\x1b[?1049h\x1b[?25l\x1b[2J"); err != nil {
		return err
	}
	keys := make(chan string)
	go func() { // until the process ends: a read of a terminal can't be broken off
		defer close(keys)
		b := make([]byte, 16)
		for {
			n, err := in.Read(b)
			if err != nil {
				return
			}
			keys <- string(b[:n])
		}
	}()
	v := topView{kind: "clients", sort: c.Sort, window: c.Window, selected: -1}
	tick := time.NewTicker(c.Every)
	defer tick.Stop()
	for {
		width, height, err := term.GetSize(int(out.Fd()))
		if err != nil {
			width, height = 80, 24
		}
		c.refresh(ctx, a, &v, min(max(height-4, 1), 100))
		if _, err := io.WriteString(out, v.render(width, height)); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case typed, ok := <-keys:
			if !ok {
				return nil
			}
			switch v.key(typed) {
			case topEnd:
				return nil
			case topKick:
				id := v.client().ID
				v.note = id + " disconnected"
				if _, err := a.call(ctx, call{method: http.MethodDelete, path: "/v1/clients/" + url.PathEscape(id)}); err != nil {
					v.note = err.Error()
				}
			}
		}
	}
}

// refresh asks for what the view shows.
func (c *topCmd) refresh(ctx context.Context, a *api, v *topView, limit int) {
	fail := func(err error) { v.note = strings.ReplaceAll(err.Error(), "\n", "; ") }
	if v.kind == "instances" {
		list, err := a.page(ctx, "/v1/nodes", "nodes", nil)
		if err != nil {
			fail(err)
			return
		}
		v.nodes, v.answer.Missing = nil, list.missing
		for _, b := range list.entries {
			if n, err := decode[node](b); err == nil {
				v.nodes = append(v.nodes, n)
			}
		}
		return
	}
	b, err := ask(ctx, a, v.sort, v.window, limit)
	if err != nil {
		fail(err)
		return
	}
	answer, err := decode[topAnswer](b)
	if err != nil {
		fail(err)
		return
	}
	v.take(answer)
}
