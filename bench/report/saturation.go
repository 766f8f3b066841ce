//go:build linux

package report

import (
	"image/color"
	"math"
	"strconv"

	"github.com/mastersocket/mastersocket/bench/measure"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
)

// inFlight are the measures of saturation with 1,000 subscribers, by the number of messages in flight.
var inFlight = []struct {
	n       int
	measure string
}{{1, measure.Saturated1k1}, {8, measure.Saturated1k8}, {64, measure.Saturated1k64}}

// saturation draws deliveries per second over messages in flight, both on logarithmic scales, with a line for each
// server, and returns the number of lines.
func saturation(s Summary) (p *plot.Plot, lines int, err error) {
	p = newPlot("Deliveries per second at saturation, 1,000 subscribers")
	p.X.Label.Text, p.Y.Label.Text = "messages in flight", "deliveries/s"
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	p.Y.Tick.Marker = plot.TickerFunc(thousandTicks)
	p.Legend.Top, p.Legend.Left = true, true
	p.Add(plotter.NewGrid())
	var ticks []plot.Tick
	for _, f := range inFlight {
		ticks = append(ticks, plot.Tick{Value: float64(f.n), Label: strconv.Itoa(f.n)})
	}
	p.X.Tick.Marker = plot.ConstantTicks(ticks)
	for i, server := range s.Servers {
		var points plotter.XYs
		for _, f := range inFlight {
			if cell, ok := s.Get(server, f.measure, measure.PerSecond); ok {
				points = append(points, plotter.XY{X: float64(f.n), Y: cell.Median})
			}
		}
		if len(points) == 0 {
			continue
		}
		line, dots, err := plotter.NewLinePoints(points)
		if err != nil {
			return nil, 0, err
		}
		line.Color, dots.Color = lineColor(i), lineColor(i)
		line.Width, line.Dashes = vg.Points(1.5), plotutil.Dashes(i/len(plotutil.DarkColors))
		dots.Shape = plotutil.Shape(i)
		p.Add(line, dots)
		p.Legend.Add(server, line, dots)
		lines++
	}
	return p, lines, nil
}

func lineColor(i int) color.Color { return plotutil.DarkColors[i%len(plotutil.DarkColors)] }

// thousandTicks labels the powers of ten, and twice and five times each of them.
func thousandTicks(low, high float64) []plot.Tick {
	var ticks []plot.Tick
	for decade := math.Pow(10, math.Floor(math.Log10(low))); decade <= high; decade *= 10 {
		for _, factor := range []float64{1, 2, 5} {
			if v := decade * factor; v >= low && v <= high {
				ticks = append(ticks, plot.Tick{Value: v, Label: strconv.FormatFloat(v/1000, 'f', -1, 64) + "k"})
			}
		}
	}
	return ticks
}
