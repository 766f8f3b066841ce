//go:build linux

package report

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Grid is a table as text.
type Grid struct {
	Head []string
	Rows [][]string
}

// serverTable returns a table of all servers that have a figure in it, without the columns that none has a figure for.
func serverTable(s Summary, columns []Column, skipped map[string]string) Grid {
	g := Grid{Head: []string{"server"}}
	var used []Column
	for _, c := range columns {
		for _, server := range s.Servers {
			if c.text(s, server) != "–" {
				used = append(used, c)
				g.Head = append(g.Head, c.Title)
				break
			}
		}
	}
	for _, server := range s.Servers {
		row, has := []string{server}, false
		for _, c := range used {
			cell := c.text(s, server)
			row = append(row, cell)
			has = has || cell != "–"
		}
		if has {
			g.Rows = append(g.Rows, row)
		}
	}
	for _, name := range sortedKeys(skipped) {
		g.Rows = append(g.Rows, []string{name, "skipped: " + skipped[name]})
	}
	return g
}

// Print writes the table for a terminal.
func (g Grid) Print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, strings.Join(g.Head, "\t"))
	for _, row := range g.Rows {
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	return t.Flush()
}
