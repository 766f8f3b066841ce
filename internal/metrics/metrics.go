// Package metrics publishes counts as Prometheus metrics. Counts are read when a scrape asks for them.
package metrics

import (
	"bytes"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Bounds of scrapes.
const (
	maxScrapes   = 4               // that gather values at the same time
	maxWait      = time.Second     // for a place among them; then a scrape gets 503
	writeTimeout = 5 * time.Second // of a response
)

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

// Handler serves the registry's metrics. A scrape occupies one of few places while its values are gathered, not while they
// are written: callers that read slowly keep no others out.
func Handler(r *prometheus.Registry) http.Handler {
	gather := promhttp.HandlerFor(r, promhttp.HandlerOpts{})
	places := make(chan struct{}, maxScrapes)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		wait := time.NewTimer(maxWait)
		defer wait.Stop()
		select {
		case places <- struct{}{}:
		case <-wait.C:
			w.Header().Set("Retry-After", "1")
			http.Error(w, "too many concurrent scrapes", http.StatusServiceUnavailable)
			return
		}
		b := response{header: w.Header(), status: http.StatusOK}
		func() {
			defer func() { <-places }()
			gather.ServeHTTP(&b, r)
		}()
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout)) // a recorder of a test has none
		w.WriteHeader(b.status)
		_, _ = w.Write(b.body.Bytes()) // fails only if the connection is gone
	})
}

// response holds a response in memory.
type response struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header implements http.ResponseWriter.
func (r *response) Header() http.Header { return r.header }

// WriteHeader implements http.ResponseWriter.
func (r *response) WriteHeader(status int) { r.status = status }

// Write implements http.ResponseWriter.
func (r *response) Write(b []byte) (int, error) { return r.body.Write(b) }
