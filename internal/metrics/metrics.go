// Package metrics publishes counts as Prometheus metrics. Counts are read when a scrape asks for them.
package metrics

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// maxScrapes bounds how many scrapes are answered at the same time; a further one gets 503.
const maxScrapes = 4

// Desc describes a metric whose values a [Collector] writes.
func Desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

// Writer takes the values of one scrape.
type Writer chan<- prometheus.Metric

// Counter writes the value of a counter.
func (w Writer) Counter(d *prometheus.Desc, v uint64, labels ...string) {
	w <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
}

// Gauge writes the value of a gauge.
func (w Writer) Gauge(d *prometheus.Desc, v float64, labels ...string) {
	w <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

// Flag writes a gauge that is 1 or 0.
func (w Writer) Flag(d *prometheus.Desc, on bool, labels ...string) {
	v := 0.0
	if on {
		v = 1
	}
	w.Gauge(d, v, labels...)
}

// Collector writes all values of a scrape. Several goroutines may call it at once.
type Collector func(Writer)

// Describe implements prometheus.Collector.
func (c Collector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

// Collect implements prometheus.Collector.
func (c Collector) Collect(ch chan<- prometheus.Metric) { c(ch) }

// NewRegistry returns a registry with c and with the metrics of the Go runtime and of the process.
func NewRegistry(c Collector) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(c, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// Handler serves the registry's metrics.
func Handler(r *prometheus.Registry) http.Handler {
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes})
}
