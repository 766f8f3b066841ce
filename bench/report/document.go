//go:build linux

package report

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/mastersocket/mastersocket/bench/measure"
)

// A Document is everything that one use of the tool found out. It is what is written as JSON.
type Document struct {
	Taken    time.Time         `json:"taken"`
	Command  []string          `json:"command"` // the flags that were given
	Machine  Machine           `json:"machine"`
	Rounds   int               `json:"rounds"`
	Versions map[string]string `json:"versions"`          // by server
	Skipped  map[string]string `json:"skipped,omitempty"` // by server: why
	Subjects []string          `json:"subjects"`          // the builds that are held to the targets
	Runs     []measure.Run     `json:"runs"`
	Cluster  []measure.Run     `json:"cluster,omitempty"`
}

// Write writes the document as JSON.
func (d *Document) Write(file string) error {
	b, err := json.MarshalIndent(d, "", " ")
	if err != nil {
		return fmt.Errorf("encoding the results: %w", err)
	}
	return os.WriteFile(file, append(b, '\n'), 0o644)
}

// Read reads what Write wrote.
func Read(file string) (*Document, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var d Document
	if err := json.Unmarshal(b, &d); err != nil {
		return nil, fmt.Errorf("reading %s: %w", file, err)
	}
	return &d, nil
}

// Failures returns how many runs failed.
func (d *Document) Failures() int {
	n := 0
	for _, runs := range [][]measure.Run{d.Runs, d.Cluster} {
		for _, r := range runs {
			if r.Error != "" {
				n++
			}
		}
	}
	return n
}

// section is a table with a heading.
type section struct {
	title string
	grid  Grid
}

func (d *Document) sections() []section {
	var all []section
	if len(d.Runs) > 0 {
		s := summarize(d.Runs)
		all = append(all, section{"All servers", serverTable(s, allColumns, d.Skipped)})
		for _, t := range []section{
			{"Other sizes and shapes", serverTable(s, shapeColumns, nil)},
			{"Over TLS", serverTable(s, tlsColumns, nil)},
			{"Latency, p50/p99/p99.9 in ms", serverTable(s, latencyColumns, nil)},
		} {
			if len(t.grid.Rows) > 0 {
				all = append(all, t)
			}
		}
		for _, subject := range d.Subjects {
			if slices.Contains(s.Servers, subject) {
				all = append(all, section{"Targets: " + subject, targetTable(s, subject)})
			}
		}
	}
	if len(d.Cluster) > 0 {
		all = append(all, section{"Several instances", clusterTable(summarize(d.Cluster))})
	}
	return all
}

// Print writes the tables for a terminal.
func (d *Document) Print(w io.Writer) error {
	for _, s := range d.sections() {
		fmt.Fprintf(w, "\n%s\n\n", s.title)
		if err := s.grid.Print(w); err != nil {
			return err
		}
	}
	return nil
}
