//go:build linux

package report

import (
	"bytes"
	"fmt"
	"image/color"
	"os"
	"path/filepath"

	"github.com/mastersocket/mastersocket/bench/measure"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// A chart is a picture of one metric of one measure: a horizontal bar for each server.
type chart struct {
	file    string
	title   string
	axis    string
	measure string
	metric  string
	format  func(float64) string
}

// charts are those of the document.
var charts = []chart{
	{"idle.svg", "Memory of the server per idle subscribed client, 10,000 clients", "bytes", measure.Idle, measure.Bytes, whole},
	{"fanout-1k.svg", "CPU of the server per delivery: 1,000 subscribers, 20 messages/s", "µs", measure.Fanout1k, measure.CPU, tenths},
	{"fanout-10k.svg", "CPU of the server per delivery: 10,000 subscribers, 5 messages/s", "µs", measure.Fanout10k, measure.CPU, tenths},
	{"direct.svg", "Messages from one client to another, 500 in flight", "messages/s", measure.Direct, measure.PerSecond, thousands},
	{"setup.svg", "Connections set up and subscribed", "connections/s", measure.Setup, measure.PerSecond, thousands},
	{"latency.svg", "Latency, 99th percentile: 1,000 subscribers, 50 messages/s", "ms", measure.LatencyFixed, measure.P99, precise},
}

var barColor = color.RGBA{0x1f, 0x77, 0xb4, 0xff}

const (
	chartWidth  = 20 * vg.Centimeter
	lineHeight  = 13 * vg.Centimeter // of a chart with lines
	barHeight   = 22                 // points, with the gap
	headHeight  = 90                 // points, for title and axis
	chartMargin = 4 * vg.Millimeter
)

// renderCharts writes all charts that the summary has figures for into a folder and returns their names.
func renderCharts(s Summary, dir string) ([]string, error) {
	var files []string
	for _, c := range charts {
		p, bars, err := c.draw(s)
		if err != nil {
			return nil, fmt.Errorf("drawing %s: %w", c.file, err)
		}
		if bars == 0 {
			continue
		}
		if err := save(p, vg.Points(float64(barHeight*bars+headHeight)), filepath.Join(dir, c.file)); err != nil {
			return nil, err
		}
		files = append(files, c.file)
	}
	p, lines, err := saturation(s)
	if err != nil || lines == 0 {
		return files, err
	}
	const file = "saturation.svg"
	return append(files, file), save(p, lineHeight, filepath.Join(dir, file))
}

// save writes a chart with a margin, without which long names are cut, and with fonts that a reader may have.
func save(p *plot.Plot, height vg.Length, file string) error {
	c := vgsvg.New(chartWidth, height)
	all := draw.New(c)
	all.SetColor(color.White)
	all.Fill(all.Rectangle.Path())
	p.Draw(draw.Crop(all, chartMargin, -chartMargin, chartMargin, -chartMargin))
	var b bytes.Buffer
	if _, err := c.WriteTo(&b); err != nil {
		return fmt.Errorf("drawing %s: %w", file, err)
	}
	svg := bytes.ReplaceAll(b.Bytes(), []byte("font-family:Liberation Sans;"), []byte("font-family:Liberation Sans,Arial,sans-serif;"))
	return os.WriteFile(file, svg, 0o644)
}

// newPlot returns an empty plot in the style of all charts.
func newPlot(title string) *plot.Plot {
	p := plot.New()
	p.Title.Text = title
	p.Title.Padding = vg.Points(10)
	for _, style := range []*text.Style{
		&p.Title.TextStyle, &p.X.Label.TextStyle, &p.Y.Label.TextStyle, &p.X.Tick.Label, &p.Y.Tick.Label, &p.Legend.TextStyle,
	} {
		style.Font.Variant = "Sans"
	}
	return p
}

// draw returns the chart and the number of its bars.
func (c chart) draw(s Summary) (*plot.Plot, int, error) {
	var (
		names  []string
		values plotter.Values
		labels plotter.XYLabels
	)
	// The first server is to be at the top, which is the end of the axis.
	for i := len(s.Servers) - 1; i >= 0; i-- {
		cell, ok := s.Get(s.Servers[i], c.measure, c.metric)
		if !ok {
			continue
		}
		labels.XYs = append(labels.XYs, plotter.XY{X: cell.Median, Y: float64(len(names))})
		labels.Labels = append(labels.Labels, c.format(cell.Median))
		names = append(names, s.Servers[i])
		values = append(values, cell.Median)
	}
	if len(names) == 0 {
		return nil, 0, nil
	}
	p := newPlot(c.title)
	p.X.Label.Text = c.axis
	bars, err := plotter.NewBarChart(values, vg.Points(barHeight*0.7))
	if err != nil {
		return nil, 0, err
	}
	bars.Horizontal, bars.Color, bars.LineStyle.Width = true, barColor, 0
	figures, err := plotter.NewLabels(labels)
	if err != nil {
		return nil, 0, err
	}
	figures.Offset.X = vg.Points(3)
	for i := range figures.TextStyle {
		figures.TextStyle[i].YAlign = text.YCenter
		figures.TextStyle[i].Font.Variant = "Sans"
	}
	p.Add(bars, figures)
	p.NominalY(names...)
	p.X.Min = 0
	p.X.Max *= 1.1 // room for the figures behind the bars
	return p, len(names), nil
}
