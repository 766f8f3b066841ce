//go:build linux

package report

import (
	"fmt"
	"image/color"
	"path/filepath"

	"github.com/mastersocket/mastersocket/bench/measure"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
)

// A chart is a picture of one metric: horizontal bars, one group for each server and one bar for each series.
type chart struct {
	file   string
	title  string
	axis   string
	metric string
	series []series
	format func(float64) string
}

// series is one measure in a chart. The name is left out where it is the only one.
type series struct{ name, measure string }

// charts are those of the document.
var charts = []chart{
	{
		"idle.svg", "Memory of the server for each idle subscribed client, 10,000 clients", "bytes (RSS)", measure.Bytes,
		[]series{{"", measure.Idle}}, whole,
	},
	{
		"fanout.svg", "CPU of the server for each delivery at a fixed rate", "µs", measure.CPU,
		[]series{{"1,000 subscribers, 20 messages/s", measure.Fanout1k}, {"10,000 subscribers, 5 messages/s", measure.Fanout10k}},
		tenths,
	},
	{
		"direct.svg", "Messages from one client to another, 500 in flight", "messages/s", measure.PerSecond,
		[]series{{"", measure.Direct}}, thousands,
	},
	{
		"setup.svg", "Connections set up and subscribed", "connections/s", measure.PerSecond,
		[]series{{"", measure.Setup}}, thousands,
	},
	{
		"latency.svg", "Latency, 1,000 subscribers, 50 messages/s: 99th percentile", "ms", measure.P99,
		[]series{{"", measure.LatencyFixed}}, precise,
	},
}

var palette = []color.Color{
	color.RGBA{0x1f, 0x77, 0xb4, 0xff}, color.RGBA{0xff, 0x7f, 0x0e, 0xff}, color.RGBA{0x2c, 0xa0, 0x2c, 0xff},
}

const (
	chartWidth = 20 * vg.Centimeter
	barHeight  = 14 // points
)

// Charts writes all charts that the summary has figures for into a folder and returns their names.
func Charts(s Summary, dir string) ([]string, error) {
	var files []string
	for _, c := range charts {
		p, rows, err := c.draw(s)
		if err != nil {
			return nil, fmt.Errorf("drawing %s: %w", c.file, err)
		}
		if p == nil {
			continue
		}
		height := vg.Points(float64(barHeight*(rows*len(c.series)+rows/2) + 80))
		if err := p.Save(chartWidth, height, filepath.Join(dir, c.file)); err != nil {
			return nil, fmt.Errorf("writing %s: %w", c.file, err)
		}
		files = append(files, c.file)
	}
	p, err := saturation(s)
	if err != nil || p == nil {
		return files, err
	}
	const file = "saturation.svg"
	if err := p.Save(chartWidth, 13*vg.Centimeter, filepath.Join(dir, file)); err != nil {
		return nil, fmt.Errorf("writing %s: %w", file, err)
	}
	return append(files, file), nil
}

// measured returns the servers with a figure in every series, the first at the top, which is the last of an axis.
func (c chart) measured(s Summary) []string {
	var servers []string
	for i := len(s.Servers) - 1; i >= 0; i-- {
		complete := true
		for _, series := range c.series {
			_, ok := s.Get(s.Servers[i], series.measure, c.metric)
			complete = complete && ok
		}
		if complete {
			servers = append(servers, s.Servers[i])
		}
	}
	return servers
}

// draw returns nil if there is nothing to draw, and the number of servers.
func (c chart) draw(s Summary) (*plot.Plot, int, error) {
	servers := c.measured(s)
	if len(servers) == 0 {
		return nil, 0, nil
	}
	p := plot.New()
	p.Title.Text, p.X.Label.Text = c.title, c.axis
	p.X.Min = 0
	p.NominalY(servers...)
	p.Legend.Top = false
	p.Legend.XOffs = -vg.Centimeter
	for i := range c.series {
		offset := vg.Points(barHeight) * vg.Length(float64(len(c.series)-1)/2-float64(i))
		if err := c.bars(p, s, servers, i, offset); err != nil {
			return nil, 0, err
		}
	}
	p.X.Max *= 1.12 // room for the figures behind the bars
	return p, len(servers), nil
}

// bars adds the bars of one series, with their figures.
func (c chart) bars(p *plot.Plot, s Summary, servers []string, i int, offset vg.Length) error {
	series := c.series[i]
	values := make(plotter.Values, len(servers))
	at := plotter.XYLabels{XYs: make(plotter.XYs, len(servers)), Labels: make([]string, len(servers))}
	for j, server := range servers {
		cell, _ := s.Get(server, series.measure, c.metric)
		values[j] = cell.Median
		at.XYs[j] = plotter.XY{X: cell.Median, Y: float64(j)}
		at.Labels[j] = c.format(cell.Median)
	}
	bars, err := plotter.NewBarChart(values, vg.Points(barHeight-2))
	if err != nil {
		return err
	}
	bars.Horizontal, bars.Offset, bars.Color = true, offset, palette[i%len(palette)]
	bars.LineStyle.Width = 0
	labels, err := plotter.NewLabels(at)
	if err != nil {
		return err
	}
	labels.Offset = vg.Point{X: vg.Points(3), Y: offset}
	for j := range labels.TextStyle {
		labels.TextStyle[j].YAlign = text.YCenter
	}
	p.Add(bars, labels)
	if series.name != "" {
		p.Legend.Add(series.name, bars)
	}
	return nil
}
